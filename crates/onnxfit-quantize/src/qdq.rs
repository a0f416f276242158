//! Static quantization: `QuantizeLinear` and `DequantizeLinear` around what shall run on integers.
//!
//! The pairs stand where ONNX Runtime's own fusions look for them
//! (`qdq_selector_action_transformer.cc`, 1.31), and only there: a node that no integer kernel runs
//! keeps its float inputs. What a node needs is in `operators/`, one file a family.

mod emit;
mod operators;
mod parameters;
mod plan;

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Graph, Model, NodeId};
use onnxfit_onnx::TensorSource;

use crate::layer::{Choice, Layer, Level};
use crate::ranges::Range;
use crate::{IntType, QuantizeError, Symmetry};

use operators::{Role, Roles, roles};

/// How values and weights become integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QdqOptions {
    /// The type of values.
    pub activation: IntType,
    /// Whether their ranges are symmetric.
    pub activation_symmetry: Symmetry,
    /// The type of weights.
    pub weight: IntType,
    /// A scale for each channel of a weight.
    pub per_channel: bool,
    /// Weights use one bit less, for processors without VNNI.
    pub reduce_range: bool,
    /// Nodes that stay as they are.
    pub excluded: BTreeSet<String>,
}

impl Default for QdqOptions {
    fn default() -> Self {
        Self {
            activation: IntType::Uint8,
            activation_symmetry: Symmetry::Asymmetric,
            weight: IntType::Int8,
            per_channel: true,
            reduce_range: false,
            excluded: BTreeSet::new(),
        }
    }
}

/// A model that is ready to be quantized: see [`crate::prepare`].
pub struct Qdq<'a> {
    model: &'a Model,
    source: &'a dyn TensorSource,
    options: QdqOptions,
    /// What every node that could be quantized needs.
    roles: BTreeMap<NodeId, Roles>,
    /// By node that is a layer: its place in `layers`.
    layer_of: BTreeMap<NodeId, usize>,
    layers: Vec<Layer>,
}

/// A quantized model.
#[derive(Clone, Debug)]
pub struct QdqOutcome {
    /// The model.
    pub model: Model,
    /// Nodes that compute on integers once ONNX Runtime has fused them, by operator.
    pub integer_nodes: BTreeMap<String, usize>,
    /// Values that are integers in between.
    pub n_values: usize,
}

impl<'a> Qdq<'a> {
    /// Looks at what may be quantized.
    pub fn new(model: &'a Model, source: &'a dyn TensorSource, options: QdqOptions) -> Self {
        let graph = &model.graph;
        let names = layer_names(graph);
        let (mut all, mut layer_of, mut layers) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let is_wide = options.activation.bits() > 8;
        for (id, node) in graph.nodes() {
            if options.excluded.contains(&node.name) || options.excluded.contains(&names[&id]) {
                continue;
            }
            // No kernel of values that only pass computes on 16-bit integers.
            let Some(roles) = roles(model, node).filter(|roles| roles.is_layer || !is_wide) else { continue };
            if roles.is_layer {
                layer_of.insert(id, layers.len());
                let n_weights = roles.weight(node).and_then(|weight| graph.constant_tensor(weight));
                layers.push(Layer {
                    name: names[&id].clone(),
                    op_type: node.op_type.clone(),
                    n_weights: n_weights.and_then(|tensor| tensor.n_elements().ok()).unwrap_or(0),
                    levels: vec![Level::Int8, Level::Float],
                });
            }
            all.insert(id, roles);
        }
        Self { model, source, options, roles: all, layer_of, layers }
    }

    /// The nodes that may be quantized on their own.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How values and weights become integers.
    pub fn options(&self) -> &QdqOptions {
        &self.options
    }

    /// The values whose ranges are needed.
    pub fn values(&self) -> BTreeSet<String> {
        let graph = &self.model.graph;
        let mut values = BTreeSet::new();
        for (id, roles) in &self.roles {
            let node = graph.node(*id);
            let inputs = roles.inputs.iter().zip(&node.inputs);
            let activations = inputs.filter(|(role, _)| **role == Role::Activation).filter_map(|(_, value)| *value);
            let outputs = node.outputs.iter().flatten().copied().filter(|_| roles.makes_values());
            let tails = outputs.flat_map(|value| [value, plan::behind_clip(graph, value).unwrap_or(value)]);
            for value in activations.chain(tails) {
                if graph.constant_tensor(value).is_none() {
                    values.insert(graph.value(value).name.clone());
                }
            }
        }
        values
    }

    /// The model with these layers quantized, and what is between them.
    pub fn build(&self, choice: &Choice, ranges: &BTreeMap<String, Range>) -> Result<QdqOutcome, QuantizeError> {
        let plan = plan::plan(self, choice, ranges);
        emit::emit(self, &plan)
    }
}

/// A name for each node: its own if no other has it, else that of its first output.
pub(crate) fn layer_names(graph: &Graph) -> BTreeMap<NodeId, String> {
    let mut n_named: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *n_named.entry(node.name.as_str()).or_default() += 1;
    }
    let name = |(id, node): (NodeId, &onnxfit_graph::Node)| {
        let own = !node.name.is_empty() && n_named[node.name.as_str()] == 1;
        let output = node.outputs.iter().flatten().next().map(|value| graph.value(*value).name.clone());
        (id, if own { node.name.clone() } else { output.unwrap_or_default() })
    };
    graph.nodes().map(name).collect()
}
