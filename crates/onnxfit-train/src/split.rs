//! Cutting a batch into parts.

use onnxfit_runtime::Tensor;

use crate::error::TrainError;

/// How many samples a tensor holds along an axis.
pub(crate) fn n_samples(name: &str, tensor: &Tensor, axis: usize) -> Result<u64, TrainError> {
    let dim = tensor.shape().get(axis).copied();
    dim.ok_or_else(|| TrainError::Batch(format!("`{name}` of shape {:?} has no axis {axis}", tensor.shape())))
}

/// Samples `start..end` of a tensor along an axis.
pub(crate) fn part(name: &str, tensor: &Tensor, axis: usize, start: u64, end: u64) -> Result<Tensor, TrainError> {
    let refuse = |reason: String| TrainError::Batch(format!("`{name}` {reason}"));
    if axis == 0 {
        return tensor.rows(start..end).ok_or_else(|| refuse(format!("has no samples {start}..{end}")));
    }
    let bytes = tensor.bytes().ok_or_else(|| refuse("is text".to_owned()))?;
    let bits = tensor.element_type().bits();
    if !bits.is_multiple_of(8) {
        return Err(refuse("has elements of less than a byte".to_owned()));
    }
    let shape = tensor.shape();
    let n_samples = shape[axis];
    if start > end || end > n_samples {
        return Err(refuse(format!("has no samples {start}..{end}")));
    }
    let block = (shape[axis + 1..].iter().product::<u64>() * bits / 8) as usize;
    let n_outer = shape[..axis].iter().product::<u64>() as usize;
    let mut cut = Vec::with_capacity(n_outer * (end - start) as usize * block);
    for outer in 0..n_outer {
        let from = outer * n_samples as usize * block;
        cut.extend_from_slice(&bytes[from + start as usize * block..from + end as usize * block]);
    }
    let mut shape = shape.to_vec();
    shape[axis] = end - start;
    Tensor::from_bytes(tensor.element_type(), shape, cut).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_along_an_inner_axis() {
        let tensor = Tensor::from_i64(vec![2, 3, 1], &[1, 2, 3, 4, 5, 6]).unwrap();
        let middle = part("x", &tensor, 1, 1, 3).unwrap();
        assert_eq!(middle, Tensor::from_i64(vec![2, 2, 1], &[2, 3, 5, 6]).unwrap());
        assert!(part("x", &tensor, 1, 2, 4).is_err());
    }
}
