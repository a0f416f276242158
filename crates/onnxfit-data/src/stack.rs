//! Samples beside each other in one tensor.

use onnxfit_runtime::{ElementType, Tensor, Tensors};

use crate::source::Field;

/// A batch from samples, each with a vector of bytes for each field.
pub(crate) fn stack(fields: &[Field], samples: &[Vec<Vec<u8>>]) -> Result<Tensors, onnxfit_runtime::TensorError> {
    let mut tensors = Tensors::new();
    for (at, field) in fields.iter().enumerate() {
        let mut bytes = Vec::with_capacity(field.sample_bytes() as usize * samples.len());
        samples.iter().filter_map(|sample| sample.get(at)).for_each(|values| bytes.extend_from_slice(values));
        let mut shape = vec![samples.len() as u64];
        shape.extend(&field.shape);
        tensors.insert(&field.name, Tensor::from_bytes(field.element_type, shape, bytes)?);
    }
    Ok(tensors)
}

/// How many values of a sample are no numbers.
pub(crate) fn n_not_numbers(field: &Field, bytes: &[u8]) -> u64 {
    let n_bad = match field.element_type {
        ElementType::Float => bytes.as_chunks::<4>().0.iter().filter(|b| f32::from_le_bytes(**b).is_nan()).count(),
        ElementType::Double => bytes.as_chunks::<8>().0.iter().filter(|b| f64::from_le_bytes(**b).is_nan()).count(),
        // The sign aside, everything above infinity.
        ElementType::Float16 => count_above(bytes, 0x7c00),
        ElementType::Bfloat16 => count_above(bytes, 0x7f80),
        _ => 0,
    };
    n_bad as u64
}

fn count_above(bytes: &[u8], infinity: u16) -> usize {
    bytes.as_chunks::<2>().0.iter().filter(|b| u16::from_le_bytes(**b) & 0x7fff > infinity).count()
}
