//! A way to quantize, as the search for the smallest good model sees it.

use std::collections::BTreeMap;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_quantize::dynamic::Dynamic;
use onnxfit_quantize::qdq::Qdq;
use onnxfit_quantize::ranges::Range;
use onnxfit_quantize::{Choice, Layer, QuantizeError};

use crate::Error;

/// Builds models in which each layer has a level of its own.
pub(crate) trait Method {
    /// What may be quantized, in the order of the model.
    fn layers(&self) -> &[Layer];

    /// The model with each layer at its level.
    fn build(&self, choice: &Choice) -> Result<Built, Error>;
}

/// A model that was built.
pub(crate) struct Built {
    /// The model; its weights are in it, or where they were.
    pub(crate) model: GraphModel,
    /// Where its weights are that are in neither place.
    pub(crate) source: Option<Box<dyn TensorSource>>,
    /// What was done, as lines for a reader.
    pub(crate) notes: Vec<String>,
}

/// Static quantization.
pub(crate) struct Static<'a> {
    pub(crate) qdq: Qdq<'a>,
    pub(crate) ranges: BTreeMap<String, Range>,
}

impl Method for Static<'_> {
    fn layers(&self) -> &[Layer] {
        self.qdq.layers()
    }

    fn build(&self, choice: &Choice) -> Result<Built, Error> {
        let outcome = self.qdq.build(choice, &self.ranges).map_err(quantize_error)?;
        Ok(Built { model: outcome.model, source: None, notes: Vec::new() })
    }
}

impl Method for Dynamic<'_> {
    fn layers(&self) -> &[Layer] {
        Dynamic::layers(self)
    }

    fn build(&self, choice: &Choice) -> Result<Built, Error> {
        let model = Dynamic::build(self, choice).map_err(quantize_error)?;
        Ok(Built { model, source: None, notes: Vec::new() })
    }
}

pub(crate) fn quantize_error(error: QuantizeError) -> Error {
    Error::Rewrite { message: error.to_string(), hint: None }
}
