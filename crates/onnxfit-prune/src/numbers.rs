//! Weights as numbers and back.

use bytes::Bytes as Buffer;
use half::{bf16, f16};
use onnxfit_onnx::DataType;

/// The numbers of a float tensor, or of an 8-bit one; `None` for other types.
pub fn decode(bytes: &[u8], data_type: DataType) -> Option<Vec<f32>> {
    Some(match data_type {
        DataType::Float => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DataType::Double => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        DataType::Float16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        DataType::Bfloat16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        DataType::Int8 => bytes.iter().map(|b| f32::from(*b as i8)).collect(),
        DataType::Uint8 => bytes.iter().map(|b| f32::from(*b)).collect(),
        _ => return None,
    })
}

/// The bytes of a float tensor with these numbers; `None` for other types.
pub fn encode(numbers: &[f32], data_type: DataType) -> Option<Buffer> {
    Some(match data_type {
        DataType::Float => numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>().into(),
        DataType::Double => numbers.iter().flat_map(|n| f64::from(*n).to_le_bytes()).collect::<Vec<u8>>().into(),
        DataType::Float16 => numbers.iter().flat_map(|n| f16::from_f32(*n).to_le_bytes()).collect::<Vec<u8>>().into(),
        DataType::Bfloat16 => numbers.iter().flat_map(|n| bf16::from_f32(*n).to_le_bytes()).collect::<Vec<u8>>().into(),
        _ => return None,
    })
}

/// The sum over each index of an axis.
pub(crate) fn axis_sums(numbers: &[f32], dims: &[usize], axis: usize) -> Vec<f64> {
    let row: usize = dims[axis + 1..].iter().product();
    let n = dims[axis];
    let mut sums = vec![0.0; n];
    if row == 0 || n == 0 {
        return sums;
    }
    for (place, numbers) in numbers.chunks_exact(row).enumerate() {
        sums[place % n] += numbers.iter().map(|number| f64::from(*number)).sum::<f64>();
    }
    sums
}

/// The shape of a tensor as sizes.
pub(crate) fn sizes(dims: &[i64]) -> Vec<usize> {
    dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect()
}
