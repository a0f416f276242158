//! What small constants hold.

use std::hash::{DefaultHasher, Hash, Hasher};

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

/// Where a folded tensor lies that is too big to be of interest: nowhere. Its type and shape hold.
pub const FOLDED_LOCATION: &str = "onnxfit:folded";
/// How a tensor was made that is like no other.
const UNKNOWN_MAKING: u64 = 0;

/// The whole numbers of an `int32` or `int64` tensor.
pub(crate) fn ints(tensor: &TensorProto) -> Option<Vec<i64>> {
    let bytes = tensor.inline_bytes().ok()??;
    match tensor.element_type().ok()? {
        DataType::Int64 => Some(bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(array(chunk))).collect()),
        DataType::Int32 => {
            Some(bytes.chunks_exact(4).map(|chunk| i64::from(i32::from_le_bytes(array(chunk)))).collect())
        }
        _ => None,
    }
}

/// All elements as whole numbers, for every integer type and `bool`.
pub(crate) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let element = tensor.element_type().ok()?;
    let bytes = tensor.inline_bytes().ok()??;
    Some(match element {
        DataType::Int64 | DataType::Uint64 => {
            bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(array(chunk))).collect()
        }
        DataType::Int32 => bytes.chunks_exact(4).map(|chunk| i64::from(i32::from_le_bytes(array(chunk)))).collect(),
        DataType::Uint32 => bytes.chunks_exact(4).map(|chunk| i64::from(u32::from_le_bytes(array(chunk)))).collect(),
        DataType::Int16 => bytes.chunks_exact(2).map(|chunk| i64::from(i16::from_le_bytes(array(chunk)))).collect(),
        DataType::Uint16 => bytes.chunks_exact(2).map(|chunk| i64::from(u16::from_le_bytes(array(chunk)))).collect(),
        DataType::Int8 => bytes.iter().map(|byte| i64::from(*byte as i8)).collect(),
        DataType::Uint8 | DataType::Bool => bytes.iter().map(|byte| i64::from(*byte)).collect(),
        _ => return None,
    })
}

/// All elements as numbers, for the floating types that appear in small constants.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f64>> {
    let element = tensor.element_type().ok()?;
    let bytes = tensor.inline_bytes().ok()??;
    Some(match element {
        DataType::Float => bytes.chunks_exact(4).map(|chunk| f64::from(f32::from_le_bytes(array(chunk)))).collect(),
        DataType::Double => bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(array(chunk))).collect(),
        DataType::Float16 => {
            bytes.chunks_exact(2).map(|chunk| f64::from(half_to_float(u16::from_le_bytes(array(chunk))))).collect()
        }
        DataType::Bfloat16 => bytes
            .chunks_exact(2)
            .map(|chunk| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(array(chunk))) << 16)))
            .collect(),
        _ => return None,
    })
}

/// The first element of a floating tensor.
pub(crate) fn first_float(tensor: &TensorProto) -> Option<f64> {
    if tensor.n_elements().ok()? > 1 << 16 {
        return None;
    }
    floats(tensor)?.first().copied()
}

/// The first element of any number tensor.
pub(crate) fn first_number(tensor: &TensorProto) -> Option<f64> {
    first_float(tensor).or_else(|| integers(tensor)?.first().map(|value| *value as f64))
}

/// How many elements dimensions hold; no overflow, whatever a broken file says.
pub(crate) fn count(dims: &[i64]) -> i64 {
    dims.iter().fold(1i64, |total, dim| total.saturating_mul(*dim))
}

fn array<const N: usize>(chunk: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(chunk);
    bytes
}

/// IEEE half precision to single.
pub(crate) fn half_to_float(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

/// Single precision to IEEE half, to nearest even.
pub(crate) fn float_to_half(value: f32) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if value.is_nan() {
        return sign | 0x7e00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    if magnitude < 2f32.powi(-14) {
        return sign | (magnitude * 2f32.powi(24)).round_ties_even() as u16;
    }
    let exponent = magnitude.log2().floor() as i32;
    let exponent = if magnitude < 2f32.powi(exponent) { exponent - 1 } else { exponent };
    let fraction = (magnitude * 2f32.powi(10 - exponent)).round_ties_even() as u32;
    // A fraction rounded up to 2048 carries into the exponent by itself.
    sign | ((exponent + 14) as u32 * 1024 + fraction) as u16
}

/// A number that is equal for tensors of equal contents: where they lie for external ones, samples
/// of the bytes for inline ones, how they were made for folded ones, else the name.
pub(crate) fn identity(tensor: &TensorProto) -> u64 {
    let mut hasher = DefaultHasher::new();
    tensor.dims.hash(&mut hasher);
    match (tensor.external_location(), tensor.inline_bytes()) {
        (Ok(Some(place)), _) if place.location != FOLDED_LOCATION || place.offset != UNKNOWN_MAKING => {
            (place.location, place.offset, place.length).hash(&mut hasher)
        }
        (_, Ok(Some(raw))) => samples(&raw).for_each(|sample| sample.hash(&mut hasher)),
        _ => tensor.name().hash(&mut hasher),
    }
    hasher.finish()
}

/// Up to 64 evenly spread pieces of a buffer: enough to tell weights apart without reading them.
fn samples(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    const PIECE_BYTES: usize = 64;
    let step = (raw.len() / 64).max(PIECE_BYTES);
    raw.chunks(step).map(|piece| &piece[..piece.len().min(PIECE_BYTES)])
}

/// A tensor of known type and shape whose content nobody needs, and nobody can compare.
pub(crate) fn placeholder(name: &str, element: DataType, dims: &[i64]) -> TensorProto {
    made(name, element, dims, UNKNOWN_MAKING)
}

/// A tensor of known type and shape, equal to every other that was made likewise: `making` is a
/// number that says how and from what.
pub(crate) fn made(name: &str, element: DataType, dims: &[i64], making: u64) -> TensorProto {
    let mut tensor = TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(element.number()),
        dims: dims.to_vec(),
        ..TensorProto::default()
    };
    let bytes = tensor.size_bytes().map_or(0, |bytes| bytes.get());
    tensor.set_external(FOLDED_LOCATION, making, bytes);
    tensor
}
