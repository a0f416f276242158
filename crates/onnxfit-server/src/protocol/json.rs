//! Requests and answers as JSON, with raw tensors behind it where that was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use onnxfit::runtime::{ElementType, Tensor, Tensors};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Question, datatype, numbers, raw};
use crate::refusal::Refusal;

type Parameters = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// How the outputs are to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    all_binary: bool,
    binary: BTreeMap<String, bool>,
}

/// A question from a body whose first `header_bytes` are JSON; all of it if that is `None`.
pub(crate) fn read(body: &[u8], header_bytes: Option<usize>) -> Result<(Question, Form), Refusal> {
    let at = header_bytes.unwrap_or(body.len());
    let Some((header, mut rest)) = body.split_at_checked(at) else {
        let have = body.len();
        return Err(Refusal::bad(format!("the header says {at} bytes of JSON, but the body has {have}")));
    };
    let body: Body<'_> = serde_json::from_slice(header)
        .map_err(|error| Refusal::bad(format!("the request is no inference request in JSON: {error}")))?;
    let mut inputs = Tensors::new();
    for input in &body.inputs {
        let name = &input.name;
        let refuse = |reason: String| Refusal::bad(format!("input `{name}`: {reason}"));
        let element_type = datatype::element_type(&input.datatype)
            .ok_or_else(|| refuse(format!("there is no datatype `{}`", input.datatype)))?;
        if inputs.get(name).is_some() {
            return Err(refuse("it is given twice".to_owned()));
        }
        let binary = input.parameters.get("binary_data_size").map(|size| {
            size.as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| refuse("`binary_data_size` is no number of bytes".to_owned()))
        });
        let tensor = match (binary.transpose()?, input.data) {
            (Some(size), None) => {
                let (bytes, after) = rest.split_at_checked(size).ok_or_else(|| {
                    refuse(format!("it says {size} bytes of binary data, but {} are left", rest.len()))
                })?;
                rest = after;
                raw::read(name, element_type, input.shape.clone(), bytes)?
            }
            (None, Some(data)) => numbers::read(name, element_type, input.shape.clone(), data)?,
            (Some(_), Some(_)) => return Err(refuse("it has both `data` and binary data".to_owned())),
            (None, None) => {
                let shared = input.parameters.contains_key("shared_memory_region");
                let why = if shared { "shared memory is not supported" } else { "it has no `data`" };
                return Err(refuse(why.to_owned()));
            }
        };
        inputs.insert(name.clone(), tensor);
    }
    if !rest.is_empty() {
        return Err(Refusal::bad(format!("{} bytes behind the request belong to no input", rest.len())));
    }
    let is_true = |parameters: &Parameters, key: &str| parameters.get(key).and_then(Value::as_bool);
    let mut form =
        Form { all_binary: is_true(&body.parameters, "binary_data_output").unwrap_or(false), binary: BTreeMap::new() };
    for output in &body.outputs {
        if output.parameters.get("classification").is_some_and(|count| count.as_u64() != Some(0)) {
            return Err(Refusal::bad(format!("output `{}`: classification is not supported", output.name)));
        }
        if let Some(binary) = is_true(&output.parameters, "binary_data") {
            form.binary.insert(output.name.clone(), binary);
        }
    }
    let timeout = body.parameters.get("timeout").and_then(Value::as_u64).map(Duration::from_micros);
    let outputs = body.outputs.into_iter().map(|output| output.name).collect();
    Ok((Question { id: body.id, inputs, outputs, timeout, trace_parent: None }, form))
}

#[derive(Serialize)]
struct AnswerOutput<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [u64],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// The answer's body; with the length of its JSON if raw tensors follow.
pub(crate) fn write(
    model: &str,
    id: &str,
    outputs: &Tensors,
    form: &Form,
) -> Result<(Vec<u8>, Option<usize>), Refusal> {
    let mut headers = Vec::new();
    let mut behind = Vec::new();
    for (name, tensor) in outputs.iter() {
        let refuse = |reason: &str| Refusal::bad(format!("output `{name}`: {reason}"));
        let datatype = datatype::datatype(tensor.element_type())
            .ok_or_else(|| refuse("the protocol has no name for its element type"))?;
        let is_binary = form.binary.get(name).copied().unwrap_or(form.all_binary);
        let (parameters, data) = if is_binary {
            let bytes = raw::write(tensor);
            let size = bytes.len();
            behind.push(bytes);
            (Some(json!({ "binary_data_size": size })), None)
        } else {
            let data = values(tensor).ok_or_else(|| refuse("FP16 and BF16 travel as binary data only"))?;
            (None, Some(data))
        };
        headers.push(AnswerOutput { name, datatype, shape: tensor.shape(), parameters, data });
    }
    let mut answer = json!({ "model_name": model, "model_version": "1", "outputs": headers });
    if !id.is_empty() {
        answer["id"] = id.into();
    }
    let mut body = serde_json::to_vec(&answer).map_err(|error| Refusal::bad(error.to_string()))?;
    let header_bytes = (!behind.is_empty()).then_some(body.len());
    body.reserve_exact(behind.iter().map(|bytes| bytes.len()).sum());
    behind.iter().for_each(|bytes| body.extend_from_slice(bytes));
    Ok((body, header_bytes))
}

/// A tensor's elements, flat; what JSON has no number for is `null`.
fn values(tensor: &Tensor) -> Option<Value> {
    if let Some(texts) = tensor.strings() {
        return Some(texts.into());
    }
    let bytes = tensor.bytes()?;
    let each = |width: usize, read: &dyn Fn(&[u8]) -> Value| -> Value { bytes.chunks_exact(width).map(read).collect() };
    macro_rules! number {
        ($kind:ty) => {
            each(size_of::<$kind>(), &|bytes| {
                bytes.try_into().map(<$kind>::from_le_bytes).map_or(Value::Null, Value::from)
            })
        };
    }
    Some(match tensor.element_type() {
        ElementType::Bool => each(1, &|bytes| Value::from(bytes != [0])),
        // Written with the digits of a float, not with those of the double it becomes.
        ElementType::Float => each(4, &|bytes| {
            let shortest = bytes.try_into().map(f32::from_le_bytes).map(|value| value.to_string());
            shortest.ok().and_then(|text| text.parse::<f64>().ok()).map_or(Value::Null, Value::from)
        }),
        ElementType::Double => number!(f64),
        ElementType::Uint8 => number!(u8),
        ElementType::Int8 => number!(i8),
        ElementType::Uint16 => number!(u16),
        ElementType::Int16 => number!(i16),
        ElementType::Uint32 => number!(u32),
        ElementType::Int32 => number!(i32),
        ElementType::Uint64 => number!(u64),
        ElementType::Int64 => number!(i64),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
