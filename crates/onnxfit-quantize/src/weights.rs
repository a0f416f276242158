//! Weight-only quantization: weights are integers at rest, and computation stays in float.
//!
//! What reads a weight decides how it is kept. A matrix product gets `MatMulNBits` (blocks of the
//! reduced axis, dequantized inside of the kernel), a table is looked up as integers and only the
//! rows that were found are scaled, and everything else reads a `DequantizeLinear`, whose result is
//! a copy in float for as long as its reader runs. Weights are taken from wherever they are
//! (initializers, `Constant` nodes, around bodies, shared), read one at a time and written one at a
//! time, so a model larger than memory converts.

mod compensate;
mod emit;
mod pack;
mod pieces;
mod site;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use onnxfit_graph::Model;
use onnxfit_onnx::TensorSource;

pub use compensate::Hessian;
pub use pieces::{PieceSource, Pieces};

use crate::QuantizeError;
use crate::layer::{Choice, Layer, Level};
use site::{Site, sites};

/// How weights are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightOptions {
    /// The level that is tried first for weights that may have it.
    pub smallest: Level,
    /// Weights with fewer elements stay as they are.
    pub n_elements_min: u64,
    /// What shares a scale in a product's weight, along the reduced axis: 16, 32, 64, …
    pub block_size: usize,
    /// Whether what was made is kept, for the next try: as much as the small model takes.
    pub keep: bool,
}

impl Default for WeightOptions {
    fn default() -> Self {
        Self { smallest: Level::Int8, n_elements_min: 512, block_size: 32, keep: false }
    }
}

/// A model whose weights may get fewer bits.
pub struct WeightOnly<'a> {
    model: &'a Model,
    options: WeightOptions,
    sites: Vec<Site>,
    layers: Vec<Layer>,
    factors: BTreeMap<String, Arc<compensate::Factor>>,
    jobs: RefCell<BTreeMap<(usize, Level), Arc<pieces::Job>>>,
}

/// A model with smaller weights, and where they come from.
#[derive(Clone, Debug)]
pub struct WeightOutcome {
    /// The model; its new tensors wait in `pieces`.
    pub model: Model,
    /// What the new tensors hold.
    pub pieces: Pieces,
    /// The largest copy that a run makes of a weight, in bytes of float.
    pub transient_bytes: u64,
}

impl<'a> WeightOnly<'a> {
    /// Looks at what may be quantized.
    pub fn new(model: &'a Model, source: &dyn TensorSource, options: WeightOptions) -> Self {
        let sites = sites(model, source, &options);
        let layers = sites.iter().map(|site| site.layer(&options)).collect();
        Self { model, options, sites, layers, factors: BTreeMap::new(), jobs: RefCell::default() }
    }

    /// The weights that may be quantized, each on its own.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// By layer: the value that is multiplied with the weight, where errors can be compensated.
    pub fn multiplied(&self) -> BTreeMap<String, String> {
        self.sites.iter().filter_map(|site| Some((site.name.clone(), site.multiplied.clone()?))).collect()
    }

    /// The rows of a product's weight: how many numbers each of its inputs has.
    pub fn n_inputs(&self, layer: &str) -> Option<usize> {
        self.sites.iter().find(|site| site.name == layer).and_then(Site::n_inputs)
    }

    /// What was seen of a layer's input: from now on its rounding errors are compensated. Says
    /// whether that can be done; without it the weight is rounded to the nearest.
    pub fn compensate(&mut self, layer: &str, hessian: &Hessian) -> bool {
        let Some(factor) = hessian.factor().filter(|_| self.n_inputs(layer) == Some(hessian.n())) else { return false };
        self.factors.insert(layer.to_owned(), Arc::new(factor));
        self.jobs.borrow_mut().clear();
        true
    }

    /// The model with each layer at its level; a layer that is not named stays as it is.
    ///
    /// # Errors
    /// If the graph does not take the change, or a weight has no shape.
    pub fn build(&self, choice: &Choice) -> Result<WeightOutcome, QuantizeError> {
        emit::emit(self, choice)
    }
}

impl WeightOutcome {
    /// The model with its new tensors made, and in it; those that did not change stay where they are.
    ///
    /// # Errors
    /// If a weight cannot be read.
    pub fn filled(&self, weights: &dyn TensorSource) -> Result<Model, QuantizeError> {
        let mut proto = self.model.to_proto();
        if let Some(graph) = &mut proto.graph {
            self.pieces.fill(graph, &self.pieces.source(weights))?;
        }
        Ok(Model::from_proto(&proto)?)
    }
}

#[cfg(test)]
mod tests;
