//! Weights that are converted when they are written, so that a model larger than memory converts.

use std::sync::Arc;

use bytes::Bytes as Buffer;
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{TensorError, TensorSource};

use super::convert::{HalfType, convert_mapped};

/// Where a tensor that waits for its conversion seems to lie; no path of a real model contains a
/// colon in front of a number.
const LOCATION: &str = "onnxfit-convert:";

/// The originals of tensors that wait for their conversion.
#[derive(Clone, Debug, Default)]
pub struct Conversions {
    originals: Vec<(Arc<TensorProto>, HalfType)>,
    clamped: Vec<(String, u64)>,
}

impl Conversions {
    /// How many tensors wait.
    pub fn len(&self) -> usize {
        self.originals.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.originals.is_empty()
    }

    pub(super) fn note_clamped(&mut self, name: &str, n_clamped: u64) {
        if n_clamped > 0 {
            self.clamped.push((name.to_owned(), n_clamped));
        }
    }

    pub(super) fn clamped(&self) -> &[(String, u64)] {
        &self.clamped
    }

    pub(super) fn postpone(
        &mut self,
        result: &mut TensorProto,
        original: &Arc<TensorProto>,
        target: HalfType,
        weights: &dyn TensorSource,
    ) -> Result<(), TensorError> {
        let length = result.size_bytes()?.get();
        match weights.check(original) {
            Ok(()) => {
                result.set_external(&format!("{LOCATION}{}", self.originals.len()), 0, length);
                self.originals.push((original.clone(), target));
                Ok(())
            }
            // Not under the old name: were the float file to appear, its bytes would be taken for
            // half-width ones.
            Err(TensorError::Absent { .. }) => {
                let location = original.external_location()?.map_or("weights".to_owned(), |external| external.location);
                let offset = original.external_location()?.map_or(0, |external| external.offset / 2);
                result.set_external(&format!("{location}.{}", target.data_type()), offset, length);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn original(&self, tensor: &TensorProto) -> Result<Option<&(Arc<TensorProto>, HalfType)>, TensorError> {
        let external = tensor.external_location()?;
        let index = external.and_then(|external| external.location.strip_prefix(LOCATION)?.parse::<usize>().ok());
        Ok(index.and_then(|index| self.originals.get(index)))
    }
}

/// The weights of a converted model: those that wait are converted one at a time, the others come
/// from the model's own source.
pub struct ConvertingSource<'a> {
    weights: &'a dyn TensorSource,
    conversions: &'a Conversions,
}

impl<'a> ConvertingSource<'a> {
    /// The weights of a model that was converted from one with these `weights`.
    pub fn new(weights: &'a dyn TensorSource, conversions: &'a Conversions) -> Self {
        Self { weights, conversions }
    }
}

impl TensorSource for ConvertingSource<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        match self.conversions.original(tensor)? {
            Some((original, target)) => {
                let wide = self.weights.tensor_bytes(original)?;
                // Nobody looks at the wide one again.
                Ok(convert_mapped(&wide, *target))
            }
            None => self.weights.tensor_bytes(tensor),
        }
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        match self.conversions.original(tensor)? {
            Some((original, _)) => self.weights.check(original),
            None => self.weights.check(tensor),
        }
    }

    fn belongs_inline(&self, tensor: &TensorProto) -> bool {
        match self.conversions.original(tensor) {
            Ok(Some((original, _))) => original.is_inline(),
            _ => self.weights.belongs_inline(tensor),
        }
    }
}
