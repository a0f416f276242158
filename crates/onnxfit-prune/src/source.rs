//! Weights that are cut when they are read, so that a model larger than memory can be pruned.

use std::sync::Arc;

use bytes::Bytes as Buffer;
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{TensorError, TensorSource};

/// Where a tensor that waits to be cut seems to lie; no path of a real model has a colon in front
/// of a number.
const LOCATION: &str = "onnxfit-prune:";

/// Indices that stay, of one axis.
pub(crate) type Selection = (usize, Vec<usize>);

/// The integer that stands for zero in a quantized weight: one, or one for each index of an axis.
#[derive(Clone, Debug)]
pub(crate) struct ZeroPoint {
    pub(crate) tensor: Arc<TensorProto>,
    pub(crate) axis: usize,
}

/// A tensor that waits.
#[derive(Clone, Debug)]
struct Waiting {
    original: Arc<TensorProto>,
    /// What stays, by axis.
    kept: Vec<Selection>,
    /// What becomes zero, by axis, counted in the original.
    zeroed: Vec<Selection>,
    /// What stands for zero, where that is not zero itself.
    zero_point: Option<ZeroPoint>,
    /// Other bytes altogether.
    replaced: Option<Buffer>,
}

/// Tensors that wait to be cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    waiting: Vec<Waiting>,
}

impl Cuts {
    /// Whether a tensor waits to be cut.
    pub fn waits(&self, tensor: &TensorProto) -> Result<bool, TensorError> {
        Ok(self.of(tensor)?.is_some())
    }

    fn of(&self, tensor: &TensorProto) -> Result<Option<&Waiting>, TensorError> {
        let external = tensor.external_location()?;
        let index = external.and_then(|external| external.location.strip_prefix(LOCATION)?.parse::<usize>().ok());
        Ok(index.and_then(|index| self.waiting.get(index)))
    }

    /// Lets `result` be `original` without what is cut; its shape is set too.
    pub(crate) fn postpone(
        &mut self,
        result: &mut TensorProto,
        original: &Arc<TensorProto>,
        kept: Vec<Selection>,
        zeroed: Vec<Selection>,
        zero_point: Option<ZeroPoint>,
    ) {
        for (axis, indices) in &kept {
            result.dims[*axis] = indices.len() as i64;
        }
        let length = result.size_bytes().map_or(0, |bytes| bytes.get());
        result.set_external(&format!("{LOCATION}{}", self.waiting.len()), 0, length);
        // A tensor that was cut before is cut further.
        self.waiting.push(Waiting { original: original.clone(), kept, zeroed, zero_point, replaced: None });
    }

    /// Gives a waiting tensor other bytes: what a refit found.
    pub fn replace(&mut self, tensor: &mut TensorProto, bytes: Buffer) {
        let original = Arc::new(tensor.clone());
        tensor.set_external(&format!("{LOCATION}{}", self.waiting.len()), 0, bytes.len() as u64);
        let (kept, zeroed) = (Vec::new(), Vec::new());
        self.waiting.push(Waiting { original, kept, zeroed, zero_point: None, replaced: Some(bytes) });
    }

    fn read(&self, waiting: &Waiting, weights: &dyn TensorSource, depth: usize) -> Result<Buffer, TensorError> {
        if let Some(bytes) = &waiting.replaced {
            return Ok(bytes.clone());
        }
        let original = &waiting.original;
        // An original that waits itself was made by an earlier cut; there are few of those.
        let bytes = match self.of(original)? {
            Some(inner) if depth < N_CUTS_MAX => self.read(inner, weights, depth + 1)?,
            _ => weights.tensor_bytes(original)?,
        };
        let width = usize::try_from(original.element_type()?.bits() / 8).unwrap_or(1).max(1);
        let mut dims: Vec<usize> = original.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
        let mut bytes = bytes;
        let zero = Zero::read(waiting.zero_point.as_ref(), &dims, width, weights)?;
        for (axis, indices) in &waiting.zeroed {
            let mut changed = bytes.to_vec();
            let (row, n_outer) = row_of(&dims, *axis, width);
            for outer in 0..n_outer {
                for index in indices {
                    let start = (outer * dims[*axis] + index) * row;
                    zero.fill(&mut changed[start..start + row], start);
                }
            }
            bytes = changed.into();
        }
        for (axis, indices) in &waiting.kept {
            let (row, n_outer) = row_of(&dims, *axis, width);
            let mut left = Vec::with_capacity(n_outer * indices.len() * row);
            for outer in 0..n_outer {
                for index in indices {
                    let start = (outer * dims[*axis] + index) * row;
                    left.extend_from_slice(&bytes[start..start + row]);
                }
            }
            dims[*axis] = indices.len();
            bytes = left.into();
        }
        Ok(bytes)
    }
}

/// What is written where a weight becomes zero.
struct Zero {
    /// One element after another; empty for plain zeros.
    points: Buffer,
    width: usize,
    /// Bytes from one index of the points' axis to the next.
    stride: usize,
}

impl Zero {
    fn read(
        point: Option<&ZeroPoint>,
        dims: &[usize],
        width: usize,
        weights: &dyn TensorSource,
    ) -> Result<Self, TensorError> {
        let plain = Self { points: Buffer::new(), width, stride: width };
        let Some(point) = point else { return Ok(plain) };
        let points = weights.tensor_bytes(&point.tensor)?;
        let stride = dims.iter().skip(point.axis + 1).product::<usize>() * width;
        // Points of blocks, or of another shape than the axis, are left to plain zeros.
        let fits = points.len() == width || dims.get(point.axis).is_some_and(|size| points.len() == size * width);
        Ok(if fits && stride > 0 { Self { points, width, stride } } else { plain })
    }

    /// Fills what begins at an offset of the tensor.
    fn fill(&self, target: &mut [u8], start: usize) {
        if self.points.is_empty() {
            target.fill(0);
            return;
        }
        let n_points = self.points.len() / self.width;
        for (index, element) in target.chunks_exact_mut(self.width).enumerate() {
            let at = (start + index * self.width) / self.stride % n_points * self.width;
            element.copy_from_slice(&self.points[at..at + self.width]);
        }
    }
}

/// Cuts of cuts.
const N_CUTS_MAX: usize = 64;

/// Bytes of one index of an axis, and how many times the axis is gone through.
fn row_of(dims: &[usize], axis: usize, width: usize) -> (usize, usize) {
    let row = dims[axis + 1..].iter().product::<usize>() * width;
    (row, dims[..axis].iter().product())
}

/// The weights of a pruned model: those that wait are cut one at a time, the others come from the
/// model's own source.
pub struct CuttingSource<'a> {
    weights: &'a dyn TensorSource,
    cuts: &'a Cuts,
}

impl<'a> CuttingSource<'a> {
    /// The weights of a model that was pruned from one with these `weights`.
    pub fn new(weights: &'a dyn TensorSource, cuts: &'a Cuts) -> Self {
        Self { weights, cuts }
    }
}

impl TensorSource for CuttingSource<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        match self.cuts.of(tensor)? {
            Some(waiting) => self.cuts.read(waiting, self.weights, 0),
            None => self.weights.tensor_bytes(tensor),
        }
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        match self.cuts.of(tensor)? {
            Some(waiting) if waiting.replaced.is_none() && self.cuts.of(&waiting.original)?.is_none() => {
                self.weights.check(&waiting.original)
            }
            Some(_) => Ok(()),
            None => self.weights.check(tensor),
        }
    }
}

#[cfg(test)]
mod tests {
    use onnxfit_onnx::{DataType, WeightStore};

    use super::*;

    #[test]
    fn a_quantized_weight_becomes_what_stands_for_zero() {
        let bytes: Vec<u8> = (1..=12).collect();
        let weight = Arc::new(TensorProto::from_raw("w", DataType::Uint8, &[2, 3, 2], bytes));
        let points = Arc::new(TensorProto::from_raw("p", DataType::Uint8, &[3], vec![100, 101, 102]));
        let zeroed = |zeroed: Selection, point: Option<ZeroPoint>| {
            let (mut cuts, mut made) = (Cuts::default(), (*weight).clone());
            cuts.postpone(&mut made, &weight, Vec::new(), vec![zeroed], point);
            let store = WeightStore::new(".");
            CuttingSource::new(&store, &cuts).tensor_bytes(&made).unwrap().to_vec()
        };
        let by_axis = Some(ZeroPoint { tensor: points, axis: 1 });
        assert_eq!(zeroed((0, vec![1]), by_axis.clone())[6..], [100, 100, 101, 101, 102, 102]);
        assert_eq!(zeroed((1, vec![2]), by_axis), [1, 2, 3, 4, 102, 102, 7, 8, 9, 10, 102, 102]);
        assert_eq!(zeroed((2, vec![0]), None), [0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12]);
    }
}
