//! Facts of tensors that the file itself holds.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::expr::Expr;
use crate::fact::{Fact, Kind, N_ELEMENTS_MAX, RANK_MAX, Value};
use crate::scalar::Scalar;

/// Floating-point constants longer than this are weights, never sizes.
const N_FLOATS_MAX: usize = 256;

/// What a tensor in the file is; its content only if it is small and inline.
pub(crate) fn fact_of_tensor(tensor: &TensorProto) -> Fact {
    let is_shape = tensor.dims.len() <= RANK_MAX && tensor.dims.iter().all(|dim| *dim >= 0);
    Fact {
        kind: Kind::Tensor,
        element_type: tensor.element_type().ok(),
        shape: is_shape.then(|| tensor.dims.iter().map(|dim| Expr::constant(*dim)).collect()),
        value: decode(tensor).map(|scalars| Value::Elements(scalars.into_iter().map(Some).collect())),
    }
}

fn decode(tensor: &TensorProto) -> Option<Vec<Scalar>> {
    use DataType::*;
    let element_type = tensor.element_type().ok()?;
    let n_elements = usize::try_from(tensor.n_elements().ok()?).ok()?;
    let n_max = if element_type.is_float() { N_FLOATS_MAX } else { N_ELEMENTS_MAX };
    if n_elements > n_max || element_type == String {
        return None;
    }
    let bytes = tensor.inline_bytes().ok()??;
    Some(match element_type {
        Float => words(&bytes, |word| Scalar::Float(f64::from(f32::from_le_bytes(word)))),
        Double => words(&bytes, |word| Scalar::Float(f64::from_le_bytes(word))),
        Int64 => words(&bytes, |word| Scalar::int(i64::from_le_bytes(word))),
        Int32 => words(&bytes, |word| Scalar::int(i32::from_le_bytes(word).into())),
        Int16 => words(&bytes, |word| Scalar::int(i16::from_le_bytes(word).into())),
        Int8 => words(&bytes, |word| Scalar::int(i8::from_le_bytes(word).into())),
        Uint64 => {
            let numbers: Result<Vec<i64>, _> =
                words(&bytes, u64::from_le_bytes).into_iter().map(i64::try_from).collect();
            numbers.ok()?.into_iter().map(Scalar::int).collect()
        }
        Uint32 => words(&bytes, |word| Scalar::int(u32::from_le_bytes(word).into())),
        Uint16 => words(&bytes, |word| Scalar::int(u16::from_le_bytes(word).into())),
        Uint8 => words(&bytes, |word: [u8; 1]| Scalar::int(word[0].into())),
        Bool => words(&bytes, |word: [u8; 1]| Scalar::truth(word[0] != 0)),
        _ => return None,
    })
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| read(*chunk)).collect()
}
