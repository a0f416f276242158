//! Which weights there are, and who reads them.

use std::sync::Arc;

use onnxfit_graph::{Graph, Model, Node, NodeId, ValueId};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, TensorSource};

use super::WeightOptions;
use crate::layer::{Layer, Level};

/// A weight.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Its name in choices: the tensor's, with the bodies around it.
    pub(super) name: String,
    /// The way to its graph: node, attribute and place of each body.
    pub(super) path: Vec<Step>,
    pub(super) value: ValueId,
    pub(super) tensor: Arc<TensorProto>,
    pub(super) dims: Vec<usize>,
    pub(super) kind: Kind,
    op_type: String,
    /// The value that a product multiplies with the weight, in the main graph.
    pub(super) multiplied: Option<String>,
}

/// From a graph to a body of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) node: NodeId,
    pub(super) attribute: String,
    pub(super) index: usize,
}

/// How a weight is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By matrix products alone: `[K, N]`, or `[N, K]` if `is_turned`.
    Product { is_turned: bool },
    /// By look-ups of rows alone.
    Table,
    /// By others, who want it whole; a scale for each index of an axis.
    Whole { axis: usize },
}

impl Site {
    pub(super) fn layer(&self, options: &WeightOptions) -> Layer {
        let all = [Level::Int4, Level::Int8, Level::Half, Level::Float];
        let smallest = if matches!(self.kind, Kind::Product { .. }) { options.smallest } else { Level::Int8 };
        let smallest = smallest.max(options.smallest);
        Layer {
            name: self.name.clone(),
            op_type: self.op_type.clone(),
            n_weights: self.dims.iter().product::<usize>() as u64,
            levels: all.into_iter().filter(|level| *level >= smallest).collect(),
        }
    }

    pub(super) fn n_inputs(&self) -> Option<usize> {
        self.product().map(|(n_inputs, _)| n_inputs)
    }

    /// K and N of a product's weight.
    pub(super) fn product(&self) -> Option<(usize, usize)> {
        match (self.kind, self.dims.as_slice()) {
            (Kind::Product { is_turned: false }, [k, n]) | (Kind::Product { is_turned: true }, [n, k]) => {
                Some((*k, *n))
            }
            _ => None,
        }
    }
}

/// The weights of a model and its bodies, in the order of the graphs.
pub(super) fn sites(model: &Model, source: &dyn TensorSource, options: &WeightOptions) -> Vec<Site> {
    let mut found = Vec::new();
    collect(&model.graph, &mut Vec::new(), "", source, options, &mut found);
    found
}

fn collect(
    graph: &Graph,
    path: &mut Vec<Step>,
    prefix: &str,
    source: &dyn TensorSource,
    options: &WeightOptions,
    found: &mut Vec<Site>,
) {
    for (id, value) in graph.values() {
        let Some(tensor) = graph.constant_tensor(id).filter(|_| !value.is_output && !value.is_captured) else {
            continue;
        };
        let Some((kind, op_type)) = kind(graph, id, tensor) else { continue };
        let is_large = tensor.n_elements().is_ok_and(|n| n >= options.n_elements_min);
        let is_float = tensor.element_type() == Ok(DataType::Float);
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let Some(dims) = dims.filter(|_| is_large && is_float && source.check(tensor).is_ok()) else { continue };
        found.push(Site {
            name: format!("{prefix}{}", value.name),
            path: path.clone(),
            value: id,
            tensor: tensor.clone(),
            dims,
            kind,
            op_type,
            multiplied: path.is_empty().then(|| multiplied(graph, id, kind)).flatten(),
        });
    }
    for (id, node) in graph.nodes() {
        let mut seen: Vec<&str> = Vec::new();
        for (attribute, body) in node.subgraphs() {
            let index = seen.iter().filter(|name| **name == attribute).count();
            seen.push(attribute);
            path.push(Step { node: id, attribute: attribute.to_owned(), index });
            let prefix = format!("{prefix}{}/{attribute}/", graph.node_label(id));
            collect(body, path, &prefix, source, options, found);
            path.pop();
        }
    }
}

/// How a fixed tensor is read, and by what; `None` where it is no weight of an operator that is
/// known to take a rounded one.
fn kind(graph: &Graph, id: ValueId, tensor: &TensorProto) -> Option<(Kind, String)> {
    let rank = tensor.dims.len();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut op_type = String::new();
    for reader in &graph.value(id).uses {
        let (kind, name) = match reader.input {
            Some(input) => (reading(graph.node(reader.node), input, rank)?, graph.node(reader.node).op_type.clone()),
            None => body_reading(graph.node(reader.node), &graph.value(id).name, rank)?,
        };
        kinds.push(kind);
        if op_type.is_empty() {
            op_type = name;
        }
    }
    let first = *kinds.first()?;
    if kinds.iter().all(|kind| *kind == first) {
        return Some((first, op_type));
    }
    // Read in different ways: whole, for all of them.
    let axis = kinds.iter().find_map(|kind| match kind {
        Kind::Whole { axis } => Some(*axis),
        _ => None,
    });
    Some((Kind::Whole { axis: axis.unwrap_or(0) }, op_type))
}

fn reading(node: &Node, input: usize, rank: usize) -> Option<Kind> {
    if !node.domain.is_empty() {
        return None;
    }
    let is_plain = |name: &str, plain: f32| node.float(name).unwrap_or(plain) == plain;
    match (node.op_type.as_str(), input) {
        ("MatMul", 1) if rank == 2 => Some(Kind::Product { is_turned: false }),
        ("MatMul", 0 | 1) if rank >= 2 => Some(Kind::Whole { axis: if input == 1 { rank - 1 } else { rank - 2 } }),
        ("Gemm", 1) if rank == 2 => {
            let is_turned = node.int("transB").unwrap_or(0) != 0;
            let is_product = is_plain("alpha", 1.0) && is_plain("beta", 1.0) && node.int("transA").unwrap_or(0) == 0;
            Some(if is_product { Kind::Product { is_turned } } else { Kind::Whole { axis: usize::from(!is_turned) } })
        }
        ("Gather", 0) if rank >= 2 && node.int("axis").unwrap_or(0) == 0 => Some(Kind::Table),
        ("Gather", 0) if rank >= 2 => Some(Kind::Whole { axis: 0 }),
        ("Conv", 1) if rank >= 3 => Some(Kind::Whole { axis: 0 }),
        ("ConvTranspose", 1) if rank >= 3 => Some(Kind::Whole { axis: 1 }),
        ("LSTM" | "GRU" | "RNN", 1 | 2) if rank == 3 => Some(Kind::Whole { axis: 1 }),
        // Turned on loading by whoever exported it so.
        ("Transpose", 0) if rank == 2 => Some(Kind::Whole { axis: 0 }),
        _ => None,
    }
}

/// How a body reads what it captures: always whole, for its nodes do not change.
fn body_reading(node: &Node, name: &str, rank: usize) -> Option<(Kind, String)> {
    let mut found: Option<(Kind, String)> = None;
    for (_, body) in node.subgraphs() {
        let Some(inner) = body.value_named(name).filter(|inner| body.value(*inner).is_captured) else { continue };
        for reader in &body.value(inner).uses {
            let reading = match reader.input {
                Some(input) => (reading(body.node(reader.node), input, rank)?, body.node(reader.node).op_type.clone()),
                None => body_reading(body.node(reader.node), name, rank)?,
            };
            let axis = match reading.0 {
                Kind::Whole { axis } => axis,
                Kind::Product { is_turned } => usize::from(!is_turned),
                Kind::Table => 0,
            };
            found.get_or_insert((Kind::Whole { axis }, reading.1));
        }
    }
    found
}

/// What the product that reads the weight multiplies with it, if there is only one.
fn multiplied(graph: &Graph, id: ValueId, kind: Kind) -> Option<String> {
    let [reader] = graph.value(id).uses.as_slice() else { return None };
    let input = graph.node(reader.node).input(0).filter(|_| matches!(kind, Kind::Product { .. }))?;
    Some(graph.value(input).name.clone())
}
