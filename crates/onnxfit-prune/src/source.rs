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

/// A tensor that waits.
#[derive(Clone, Debug)]
struct Waiting {
    original: Arc<TensorProto>,
    /// What stays, by axis.
    kept: Vec<Selection>,
    /// What becomes zero, by axis, counted in the original.
    zeroed: Vec<Selection>,
    /// Other bytes altogether.
    replaced: Option<Buffer>,
}

/// Tensors that wait to be cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    waiting: Vec<Waiting>,
}

impl Cuts {
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
    ) {
        for (axis, indices) in &kept {
            result.dims[*axis] = indices.len() as i64;
        }
        let length = result.size_bytes().map_or(0, |bytes| bytes.get());
        result.set_external(&format!("{LOCATION}{}", self.waiting.len()), 0, length);
        // A tensor that was cut before is cut further.
        self.waiting.push(Waiting { original: original.clone(), kept, zeroed, replaced: None });
    }

    /// Gives a waiting tensor other bytes: what a refit found.
    pub fn replace(&mut self, tensor: &mut TensorProto, bytes: Buffer) {
        let original = Arc::new(tensor.clone());
        tensor.set_external(&format!("{LOCATION}{}", self.waiting.len()), 0, bytes.len() as u64);
        self.waiting.push(Waiting { original, kept: Vec::new(), zeroed: Vec::new(), replaced: Some(bytes) });
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
        for (axis, indices) in &waiting.zeroed {
            let mut changed = bytes.to_vec();
            let (row, n_outer) = row_of(&dims, *axis, width);
            for outer in 0..n_outer {
                for index in indices {
                    let start = (outer * dims[*axis] + index) * row;
                    changed[start..start + row].fill(0);
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
