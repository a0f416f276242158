//! A small tensor whose elements are known.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::rewrite::content;

/// More elements are not followed: nothing that decides a shape is that big.
pub(super) const N_ELEMENTS_MAX: usize = 1 << 14;

/// The elements, widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Whole numbers and truth values.
    Ints(Vec<i64>),
    /// Floating-point numbers.
    Floats(Vec<f64>),
}

/// A tensor of known content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) elem: DataType,
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

impl Value {
    pub(super) fn of(tensor: &TensorProto) -> Option<Self> {
        let elem = tensor.element_type().ok()?;
        if tensor.n_elements().ok()? > N_ELEMENTS_MAX as u64 {
            return None;
        }
        let dims = tensor.dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().ok()?;
        let data = match content::integers(tensor) {
            Some(values) => Data::Ints(values),
            None => Data::Floats(content::floats(tensor)?),
        };
        Some(Self { elem, dims, data })
    }

    pub(super) fn ints(elem: DataType, dims: Vec<usize>, values: Vec<i64>) -> Self {
        Self { elem, dims, data: Data::Ints(values) }
    }

    pub(super) fn n_elements(&self) -> usize {
        volume(&self.dims)
    }

    /// The whole numbers in it.
    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            Data::Floats(_) => None,
        }
    }

    /// The same elements under other dimensions.
    pub(super) fn shaped(&self, dims: Vec<usize>) -> Option<Self> {
        (volume(&dims) == self.n_elements()).then(|| Self { dims, ..self.clone() })
    }

    /// Elements picked by position.
    pub(super) fn pick(&self, dims: Vec<usize>, positions: &[usize]) -> Option<Self> {
        let data = match &self.data {
            Data::Ints(values) => {
                Data::Ints(positions.iter().map(|at| values.get(*at).copied()).collect::<Option<_>>()?)
            }
            Data::Floats(values) => {
                Data::Floats(positions.iter().map(|at| values.get(*at).copied()).collect::<Option<_>>()?)
            }
        };
        Some(Self { elem: self.elem, dims, data })
    }

    pub(super) fn to_tensor(&self) -> TensorProto {
        let dims: Vec<i64> = self.dims.iter().map(|dim| *dim as i64).collect();
        let raw: Vec<u8> = match &self.data {
            Data::Ints(values) => values.iter().flat_map(|value| int_bytes(*value, self.elem)).collect(),
            Data::Floats(values) => values.iter().flat_map(|value| float_bytes(*value, self.elem)).collect(),
        };
        TensorProto::from_raw("", self.elem, &dims, raw)
    }
}

fn int_bytes(value: i64, elem: DataType) -> Vec<u8> {
    let width = (elem.bits() / 8).max(1) as usize;
    value.to_le_bytes()[..width.min(8)].to_vec()
}

fn float_bytes(value: f64, elem: DataType) -> Vec<u8> {
    match elem {
        DataType::Double => value.to_le_bytes().to_vec(),
        DataType::Float16 => content::float_to_half(value as f32).to_le_bytes().to_vec(),
        DataType::Bfloat16 => ((value as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec(),
        _ => (value as f32).to_le_bytes().to_vec(),
    }
}

/// How many elements dimensions hold; no overflow, whatever a broken file says.
pub(super) fn volume(dims: &[usize]) -> usize {
    dims.iter().fold(1usize, |total, dim| total.saturating_mul(*dim))
}

/// The element positions of one shape, seen through broadcasting to another.
pub(super) fn broadcast_positions(dims: &[usize], to: &[usize]) -> Vec<usize> {
    let n: usize = volume(to);
    let offset = to.len() - dims.len().min(to.len());
    let mut strides = vec![0; to.len()];
    let mut stride = 1usize;
    for (axis, dim) in dims.iter().enumerate().rev() {
        strides[axis + offset] = if *dim == 1 { 0 } else { stride };
        stride = stride.saturating_mul(*dim);
    }
    let mut positions = Vec::with_capacity(n);
    let mut index = vec![0; to.len()];
    for _ in 0..n {
        positions.push(index.iter().zip(&strides).map(|(at, stride)| at * stride).sum());
        for axis in (0..to.len()).rev() {
            index[axis] += 1;
            if index[axis] < to[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    positions
}

/// The common shape of operands.
pub(super) fn broadcast_dims(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max()?;
    let mut result = vec![1; rank];
    for shape in shapes {
        for (at, dim) in shape.iter().enumerate() {
            let slot = &mut result[rank - shape.len() + at];
            match (*slot, *dim) {
                (_, 1) => {}
                (1, dim) => *slot = dim,
                (have, dim) if have == dim => {}
                _ => return None,
            }
        }
    }
    (volume(&result) <= N_ELEMENTS_MAX).then_some(result)
}
