//! Numbers of a JSON request, nested or flat, straight into a tensor's bytes.
//!
//! No tree is built in between, so that memory grows with what arrives and not with how it nests;
//! the nesting itself is bounded by the parser.

use std::fmt;

use onnxfit::runtime::{ElementType, Tensor};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// A tensor from the `data` of a JSON request.
pub(crate) fn read(name: &str, element_type: ElementType, shape: Vec<u64>, data: &RawValue) -> Result<Tensor, Refusal> {
    let refuse = |reason: String| Refusal::bad(format!("input `{name}`: {reason}"));
    if matches!(element_type, ElementType::Float16 | ElementType::Bfloat16) {
        return Err(refuse("FP16 and BF16 travel as binary data only".to_owned()));
    }
    let mut sink = Sink { element_type, bytes: Vec::new(), texts: Vec::new() };
    let mut json = serde_json::Deserializer::from_str(data.get());
    Elements(&mut sink).deserialize(&mut json).map_err(|error| refuse(format!("its data cannot be read: {error}")))?;
    let tensor = match element_type {
        ElementType::String => Tensor::from_strings(shape, sink.texts),
        element_type => Tensor::from_bytes(element_type, shape, sink.bytes),
    };
    tensor.map_err(|error| refuse(error.to_string()))
}

struct Sink {
    element_type: ElementType,
    bytes: Vec<u8>,
    texts: Vec<String>,
}

enum Number {
    Whole(i128),
    Real(f64),
}

impl Sink {
    fn push(&mut self, number: &Number) -> Result<(), String> {
        use ElementType as E;
        let kind = self.element_type;
        let whole = |low: i128, high: i128| match number {
            Number::Whole(value) if (low..=high).contains(value) => Ok(*value),
            Number::Whole(value) => Err(format!("{value} is outside the range of {kind}")),
            Number::Real(value) if value.fract() == 0.0 && (low as f64..=high as f64).contains(value) => {
                Ok(*value as i128)
            }
            Number::Real(value) => Err(format!("{value} is no {kind}")),
        };
        let real = match number {
            Number::Whole(value) => *value as f64,
            Number::Real(value) => *value,
        };
        let bytes = &mut self.bytes;
        match kind {
            E::Float => bytes.extend((real as f32).to_le_bytes()),
            E::Double => bytes.extend(real.to_le_bytes()),
            E::Bool => bytes.push(whole(0, 1)? as u8),
            E::Uint8 => bytes.push(whole(0, u8::MAX.into())? as u8),
            E::Int8 => bytes.push(whole(i8::MIN.into(), i8::MAX.into())? as i8 as u8),
            E::Uint16 => bytes.extend((whole(0, u16::MAX.into())? as u16).to_le_bytes()),
            E::Int16 => bytes.extend((whole(i16::MIN.into(), i16::MAX.into())? as i16).to_le_bytes()),
            E::Uint32 => bytes.extend((whole(0, u32::MAX.into())? as u32).to_le_bytes()),
            E::Int32 => bytes.extend((whole(i32::MIN.into(), i32::MAX.into())? as i32).to_le_bytes()),
            E::Uint64 => bytes.extend((whole(0, u64::MAX.into())? as u64).to_le_bytes()),
            E::Int64 => bytes.extend((whole(i64::MIN.into(), i64::MAX.into())? as i64).to_le_bytes()),
            E::String => return Err("a BYTES element is a text".to_owned()),
            _ => return Err(format!("{kind} cannot be written as JSON")),
        }
        Ok(())
    }
}

struct Elements<'a>(&'a mut Sink);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers or texts, nested or flat")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Elements(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(&Number::Whole(value.into())).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(&Number::Whole(value.into())).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(&Number::Whole(value.into())).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(&Number::Real(value)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.0.element_type != ElementType::String {
            return Err(E::custom(format!("a text where a {} is expected", self.0.element_type)));
        }
        self.0.texts.push(value.to_owned());
        Ok(())
    }
}
