//! From inferred shapes to the concrete tensors of one run.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;
use onnxfit_graph::{Dim, Graph, ValueType};
use onnxfit_memory::program::NodeIdx;
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_onnx::DataType;
use onnxfit_shape::{Expr, Fact, GraphFacts, Inference, Most};

/// The tensors of one run, and how many of them are upper bounds: sizes that depend on the data.
pub(crate) struct Sized {
    /// The tensors.
    pub(crate) sizes: RunSizes,
    /// Tensors whose size is only bounded.
    pub(crate) n_bounded: usize,
}

/// The tensors of one run. Nodes are counted as the twin counts them: constants are no nodes.
pub(crate) fn run_sizes(graph: &Graph, inference: &Inference) -> Sized {
    let mut n_bounded = 0;
    let no_sizes = BTreeMap::new();
    let sizes = graph_sizes(graph, &inference.graph, &mut inference.most_for(&no_sizes), &mut n_bounded);
    Sized { sizes, n_bounded }
}

fn graph_sizes(graph: &Graph, facts: &GraphFacts, most: &mut Most<'_>, n_bounded: &mut usize) -> RunSizes {
    let mut tensors = Vec::with_capacity(graph.n_values());
    for (id, _) in graph.values() {
        tensors.push(facts.get(id).and_then(|fact| tensor_size(fact, most, n_bounded)));
    }
    let mut bodies = Vec::new();
    for (index, (id, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
        let taken: Vec<BodyRun> = node
            .subgraphs()
            .filter_map(|(attribute, body)| {
                let sizes = graph_sizes(body, facts.subgraph(id, attribute, 0)?, most, n_bounded);
                Some(BodyRun { node: NodeIdx::new(index), attribute: attribute.to_owned(), sizes })
            })
            .collect();
        // Of two branches that both may be taken, the larger one is the one to be ready for.
        if node.is("If") {
            bodies.extend(taken.into_iter().max_by_key(|body| weight(&body.sizes)));
        } else {
            bodies.extend(taken);
        }
    }
    RunSizes { tensors, bodies }
}

fn weight(sizes: &RunSizes) -> u64 {
    let tensors = sizes.tensors.iter().flatten().filter_map(|tensor| tensor.bytes()).map(|bytes| bytes.get());
    tensors.chain(sizes.bodies.iter().map(|body| weight(&body.sizes))).fold(0, u64::saturating_add)
}

fn tensor_size(fact: &Fact, most: &mut Most<'_>, n_bounded: &mut usize) -> Option<TensorSize> {
    let element = fact.element_type?;
    if let Some(dims) = fact.concrete() {
        return Some(TensorSize { element, dims });
    }
    let at_most = |dim: &Expr| u64::try_from(most.of(dim)?).ok();
    let dims: Option<Vec<u64>> = fact.shape.as_ref()?.iter().map(at_most).collect();
    *n_bounded += usize::from(dims.is_some());
    Some(TensorSize { element, dims: dims? })
}

/// Contents of inputs that decide sizes or branches and that nobody gives: a sampling rate, whether
/// there is a past.
pub(crate) fn known_values(graph: &Graph, dims: &BTreeMap<String, i64>) -> BTreeMap<String, Vec<i64>> {
    let has_past = dims.iter().any(|(name, size)| name.contains("past") && *size > 0);
    let mut values = BTreeMap::new();
    for id in graph.required_inputs() {
        let value = graph.value(id);
        let element_type = match &value.ty {
            ValueType::Tensor(tensor) => tensor.element_type,
            _ => None,
        };
        let known = match (value.name.as_str(), element_type) {
            ("sr" | "sample_rate" | "sampling_rate", Some(DataType::Int64 | DataType::Int32)) => 16_000,
            ("use_cache_branch", Some(DataType::Bool)) => i64::from(has_past),
            _ => continue,
        };
        values.insert(value.name.clone(), vec![known]);
    }
    values
}

/// Every name that a dimension may be given by: declared ones, and those made up for unnamed sizes.
pub(crate) fn named_dims(graph: &Graph) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for id in graph.inputs().iter().chain(graph.outputs()) {
        let value = graph.value(*id);
        for (axis, dim) in
            value.ty.as_tensor().and_then(|tensor| tensor.shape.as_ref()).into_iter().flatten().enumerate()
        {
            match dim {
                Dim::Known(_) => {}
                Dim::Unknown => {
                    names.insert(format!("{}.dim{axis}", value.name));
                }
                Dim::Symbol(name) => {
                    names.insert(name.clone());
                    let parts = Expr::parse(name).into_iter().flat_map(|expr| expr.symbols());
                    names.extend(parts.map(|symbol| symbol.name().to_owned()));
                }
            }
        }
    }
    names
}

/// The names of input dimensions that are still no numbers.
pub(crate) fn open_dims(graph: &Graph, facts: &GraphFacts) -> Vec<String> {
    let mut open = BTreeSet::new();
    for id in graph.required_inputs() {
        for dim in facts.get(id).and_then(|fact| fact.shape.as_ref()).into_iter().flatten() {
            open.extend(dim.symbols().iter().map(|symbol| symbol.name().to_owned()));
        }
    }
    open.into_iter().collect()
}

/// A tensor that no machine holds, with its size in words.
pub(crate) fn impossible(graph: &Graph, sizes: &RunSizes) -> Option<String> {
    let tensors = graph.values().zip(&sizes.tensors);
    let too_large = |tensor: &TensorSize| tensor.bytes().is_none_or(|bytes| bytes > TENSOR_MAX);
    tensors.into_iter().find_map(|((_, value), tensor)| {
        let tensor = tensor.as_ref().filter(|tensor| too_large(tensor))?;
        let dims: Vec<String> = tensor.dims.iter().map(u64::to_string).collect();
        Some(format!("`{}` would have the shape {}", value.name, dims.join("x")))
    })
}

/// Larger tensors than this are slips of the keyboard.
const TENSOR_MAX: Bytes = Bytes::gib(1 << 16);
