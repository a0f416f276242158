//! A whole tensor of integers with its parameters: one pair, one a channel, or one a block.

use onnxfit_onnx::proto::TensorProto;

use super::{IntType, Params, Symmetry, pack_nibbles};
use crate::QuantizeError;

/// What shares a scale and a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// The tensor.
    Tensor,
    /// Each index along an axis.
    Channel {
        /// The axis.
        axis: usize,
    },
    /// Each run of `size` elements along an axis, at each place of the other axes; the last run
    /// may be shorter.
    Block {
        /// The axis.
        axis: usize,
        /// Elements of a run.
        size: usize,
    },
}

/// A quantized tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The type of the integers.
    pub int_type: IntType,
    /// The shape.
    pub dims: Vec<usize>,
    /// The integers, row-major, not packed.
    pub integers: Vec<i32>,
    /// The parameters, row-major over [`Self::params_dims`].
    pub params: Vec<Params>,
    /// The shape of scales and zero points, as `DequantizeLinear` wants them.
    pub params_dims: Vec<usize>,
    /// Who shares parameters.
    pub granularity: Granularity,
}

/// Quantizes a tensor by the extremes of what shares parameters.
///
/// # Errors
/// If shape, axis and length do not go together.
pub fn quantize_tensor(
    numbers: &[f32],
    dims: &[usize],
    int_type: IntType,
    granularity: Granularity,
    symmetry: Symmetry,
    reduce: bool,
) -> Result<Quantized, QuantizeError> {
    let layout = Layout::new(numbers.len(), dims, granularity)?;
    let mut extremes = vec![(0.0f32, 0.0f32); layout.n_params()];
    for (index, number) in numbers.iter().enumerate() {
        let (lowest, highest) = &mut extremes[layout.param_of(index)];
        *lowest = lowest.min(*number);
        *highest = highest.max(*number);
    }
    let used = int_type.used_range(symmetry, reduce);
    let params = extremes.iter().map(|(lowest, highest)| Params::of_range(*lowest, *highest, used, symmetry));
    Ok(layout.quantize(numbers, dims, int_type, granularity, params.collect(), used))
}

/// Quantizes a tensor with parameters that are known, within `used` integers.
///
/// # Errors
/// If shape, axis and lengths do not go together.
pub fn quantize_tensor_with(
    numbers: &[f32],
    dims: &[usize],
    int_type: IntType,
    granularity: Granularity,
    params: Vec<Params>,
    used: (i32, i32),
) -> Result<Quantized, QuantizeError> {
    let layout = Layout::new(numbers.len(), dims, granularity)?;
    if params.len() != layout.n_params() {
        return Err(QuantizeError::WrongLength { have: params.len(), dims: layout.params_dims });
    }
    Ok(layout.quantize(numbers, dims, int_type, granularity, params, used))
}

impl Quantized {
    /// The numbers that the integers stand for.
    pub fn dequantized(&self) -> Vec<f32> {
        let Ok(layout) = Layout::new(self.integers.len(), &self.dims, self.granularity) else { return Vec::new() };
        let number = |(index, integer): (usize, &i32)| self.params[layout.param_of(index)].dequantize(*integer);
        self.integers.iter().enumerate().map(number).collect()
    }

    /// The integers as a tensor of a file.
    pub fn to_tensor(&self, name: &str) -> TensorProto {
        TensorProto::from_raw(name, self.int_type.data_type(), &to_i64(&self.dims), raw(self.int_type, &self.integers))
    }

    /// The scales as a tensor of a file.
    pub fn scales_tensor(&self, name: &str) -> TensorProto {
        let scales: Vec<f32> = self.params.iter().map(|params| params.scale).collect();
        TensorProto::from_f32(name, &to_i64(&self.params_dims), &scales)
    }

    /// The zero points as a tensor of a file.
    pub fn zero_points_tensor(&self, name: &str) -> TensorProto {
        let zero_points: Vec<i32> = self.params.iter().map(|params| params.zero_point).collect();
        let raw = raw(self.int_type, &zero_points);
        TensorProto::from_raw(name, self.int_type.data_type(), &to_i64(&self.params_dims), raw)
    }
}

/// Integers as a file keeps them.
pub(crate) fn raw(int_type: IntType, integers: &[i32]) -> Vec<u8> {
    match int_type.bits() {
        4 => pack_nibbles(integers.iter().copied()),
        8 => integers.iter().map(|integer| *integer as u8).collect(),
        _ => integers.iter().flat_map(|integer| (*integer as u16).to_le_bytes()).collect(),
    }
}

fn to_i64(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect()
}

/// Which parameters belong to which element.
struct Layout {
    /// Elements per step of the axis.
    inner: usize,
    /// Length of the axis.
    length: usize,
    /// Elements of a block along the axis.
    block: usize,
    /// Blocks along the axis; 0 where all other axes share.
    n_blocks: usize,
    shares_other_axes: bool,
    params_dims: Vec<usize>,
}

impl Layout {
    fn new(n_elements: usize, dims: &[usize], granularity: Granularity) -> Result<Self, QuantizeError> {
        let n = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        if n != Some(n_elements) {
            return Err(QuantizeError::WrongLength { have: n_elements, dims: dims.to_vec() });
        }
        let (axis, block, shares_other_axes) = match granularity {
            Granularity::Tensor => {
                let length = n_elements.max(1);
                let params_dims = Vec::new();
                return Ok(Self { inner: 1, length, block: length, n_blocks: 1, shares_other_axes: true, params_dims });
            }
            Granularity::Channel { axis } => (axis, 1, true),
            Granularity::Block { size: 0, .. } => return Err(QuantizeError::EmptyBlock),
            Granularity::Block { axis, size } => (axis, size, false),
        };
        let length = *dims.get(axis).ok_or_else(|| QuantizeError::NoAxis { axis, dims: dims.to_vec() })?;
        let n_blocks = length.div_ceil(block);
        let mut params_dims = if shares_other_axes { vec![length] } else { dims.to_vec() };
        if !shares_other_axes {
            params_dims[axis] = n_blocks;
        }
        let inner = dims[axis + 1..].iter().product::<usize>().max(1);
        Ok(Self { inner, length: length.max(1), block, n_blocks, shares_other_axes, params_dims })
    }

    fn n_params(&self) -> usize {
        self.params_dims.iter().product()
    }

    fn param_of(&self, index: usize) -> usize {
        let block = index / self.inner % self.length / self.block;
        if self.shares_other_axes {
            return block;
        }
        let outer = index / self.inner / self.length;
        (outer * self.n_blocks + block) * self.inner + index % self.inner
    }

    fn quantize(
        self,
        numbers: &[f32],
        dims: &[usize],
        int_type: IntType,
        granularity: Granularity,
        params: Vec<Params>,
        used: (i32, i32),
    ) -> Quantized {
        let integer = |(index, number): (usize, &f32)| params[self.param_of(index)].quantize(*number, used);
        let integers = numbers.iter().enumerate().map(integer).collect();
        Quantized { int_type, dims: dims.to_vec(), integers, params, params_dims: self.params_dims, granularity }
    }
}
