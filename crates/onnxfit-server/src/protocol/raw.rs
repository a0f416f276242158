//! Tensors as raw bytes: the binary extension of HTTP, and gRPC's `raw_input_contents`.
//!
//! Little-endian and packed; a text is preceded by its length in four bytes.

use onnxfit::runtime::{ElementType, Tensor};

use crate::refusal::Refusal;

/// A tensor from its raw bytes.
pub(crate) fn read(name: &str, element_type: ElementType, shape: Vec<u64>, bytes: &[u8]) -> Result<Tensor, Refusal> {
    let tensor = match element_type {
        ElementType::String => Tensor::from_strings(shape, texts(name, bytes)?),
        ElementType::Bool if bytes.iter().any(|byte| *byte > 1) => {
            return Err(Refusal::bad(format!("input `{name}`: a BOOL is 0 or 1")));
        }
        element_type => Tensor::from_bytes(element_type, shape, bytes.to_vec()),
    };
    tensor.map_err(|error| Refusal::bad(format!("input `{name}`: {error}")))
}

/// A tensor's raw bytes.
pub(crate) fn write(tensor: &Tensor) -> std::borrow::Cow<'_, [u8]> {
    match (tensor.bytes(), tensor.strings()) {
        (Some(bytes), _) => bytes.into(),
        (None, texts) => {
            let mut bytes = Vec::new();
            for text in texts.unwrap_or_default() {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes.into()
        }
    }
}

fn texts(name: &str, mut bytes: &[u8]) -> Result<Vec<String>, Refusal> {
    let cut_off = || Refusal::bad(format!("input `{name}`: a BYTES element is cut off"));
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut_off)?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| {
            Refusal::bad(format!("input `{name}`: a BYTES element is no UTF-8, which ONNX strings are"))
        })?;
        texts.push(text);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(texts) } else { Err(cut_off()) }
}
