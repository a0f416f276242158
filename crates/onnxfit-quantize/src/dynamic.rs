//! Dynamic quantization: weights are integers, values become integers when they are there.
//!
//! Standard operators where they are (`DynamicQuantizeLinear`, `MatMulInteger`, `ConvInteger`),
//! which ONNX Runtime fuses on loading (`matmul_integer_to_float.cc`,
//! `dynamic_quantize_matmul_fusion.cc`, 1.31), and its own for LSTM. Bodies of control flow
//! included, weights from around them too. All of these kernels are the CPU provider's.

mod convolution;
mod lookup;
mod product;
mod recurrent;
mod scope;

use std::collections::BTreeSet;

use onnxfit_graph::{Graph, Model, NodeId, Patch};
use onnxfit_onnx::TensorSource;

use crate::QuantizeError;
use crate::constants::sweep;
use crate::layer::{Choice, Layer, Level, level_of};
use crate::qdq::layer_names;

use scope::{Scope, Site};

/// How weights become integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicOptions {
    /// A scale for each channel of a weight.
    pub per_channel: bool,
    /// Weights use one bit less, for processors without VNNI.
    pub reduce_range: bool,
    /// Nodes that stay as they are.
    pub excluded: BTreeSet<String>,
}

impl Default for DynamicOptions {
    fn default() -> Self {
        Self { per_channel: true, reduce_range: false, excluded: BTreeSet::new() }
    }
}

/// A model that is ready to be quantized: see [`crate::prepare`].
pub struct Dynamic<'a> {
    model: &'a Model,
    source: &'a dyn TensorSource,
    options: DynamicOptions,
    layers: Vec<Layer>,
}

/// An operator, and how one of its nodes is quantized: `None` where it cannot be.
type Rule = (&'static str, fn(&Scope<'_>, NodeId) -> Option<Site>);

const RULES: &[Rule] = &[
    ("MatMul", product::product),
    ("Gemm", product::with_bias),
    ("Conv", convolution::convolution),
    ("LSTM", recurrent::lstm),
    ("Gather", lookup::gather),
];

impl<'a> Dynamic<'a> {
    /// Looks at what may be quantized.
    pub fn new(model: &'a Model, source: &'a dyn TensorSource, options: DynamicOptions) -> Self {
        let mut dynamic = Self { model, source, options, layers: Vec::new() };
        let scope = Scope::of(model, source, &dynamic.options);
        let mut layers = Vec::new();
        dynamic.find(&scope, "", &mut layers);
        dynamic.layers = layers;
        dynamic
    }

    /// The nodes that may be quantized on their own.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The model with these layers quantized.
    pub fn build(&self, choice: &Choice) -> Result<Model, QuantizeError> {
        let mut model = self.model.clone();
        let scope = Scope::of(self.model, self.source, &self.options);
        let mut uses_own_domain = false;
        let patch = self.patch(&scope, "", choice, &mut uses_own_domain)?;
        model.graph.apply(&patch)?;
        if uses_own_domain {
            model.import_opset("com.microsoft", 1);
        }
        sweep(&mut model)?;
        Ok(model)
    }

    fn find(&self, scope: &Scope<'_>, prefix: &str, layers: &mut Vec<Layer>) {
        let names = layer_names(scope.graph);
        for (id, node) in scope.graph.nodes() {
            let name = format!("{prefix}{}", names[&id]);
            if let Some(site) = self.site(scope, id, &name) {
                layers.push(Layer {
                    name: name.clone(),
                    op_type: node.op_type.clone(),
                    n_weights: site.n_weights,
                    levels: vec![Level::Int8, Level::Float],
                });
            }
            for (attribute, _, body) in bodies(scope.graph, id) {
                self.find(&scope.inside(body), &format!("{name}/{attribute}/"), layers);
            }
        }
    }

    fn site(&self, scope: &Scope<'_>, id: NodeId, name: &str) -> Option<Site> {
        let node = scope.graph.node(id);
        let is_excluded = self.options.excluded.contains(name) || self.options.excluded.contains(&node.name);
        if is_excluded || !node.domain.is_empty() {
            return None;
        }
        let (_, rule) = RULES.iter().find(|(op_type, _)| *op_type == node.op_type)?;
        rule(scope, id)
    }

    fn patch(
        &self,
        scope: &Scope<'_>,
        prefix: &str,
        choice: &Choice,
        uses_own_domain: &mut bool,
    ) -> Result<Patch, QuantizeError> {
        let names = layer_names(scope.graph);
        let mut writer = scope::Writer::new(scope, "quantize-dynamic");
        for (id, _) in scope.graph.nodes() {
            let name = format!("{prefix}{}", names[&id]);
            if level_of(choice, &name) == Level::Int8
                && let Some(site) = self.site(scope, id, &name)
            {
                (site.write)(&mut writer, id)?;
            }
            for (attribute, index, body) in bodies(scope.graph, id) {
                let prefix = format!("{name}/{attribute}/");
                let inner = self.patch(&scope.inside(body), &prefix, choice, uses_own_domain)?;
                if !inner.is_empty() {
                    writer.patch.subgraph(id, attribute, index, inner);
                }
            }
        }
        *uses_own_domain |= writer.uses_own_domain;
        Ok(writer.patch)
    }
}

/// The bodies of a node: attribute, place in it, body.
pub(crate) fn bodies(graph: &Graph, id: NodeId) -> Vec<(&str, usize, &Graph)> {
    let mut found: Vec<(&str, usize, &Graph)> = Vec::new();
    for (attribute, body) in graph.node(id).subgraphs() {
        let index = found.iter().filter(|(name, ..)| *name == attribute).count();
        found.push((attribute, index, body));
    }
    found
}
