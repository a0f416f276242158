//! From inferred shapes to the concrete tensors of one run.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;
use onnxfit_graph::{Dim, Graph, Node, ValueType};
use onnxfit_memory::program::{NodeIdx, ValueIdx};
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_onnx::DataType;
use onnxfit_shape::{Expr, Fact, GraphFacts, Inference, Most, Sequence};

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
    let mut sizes = RunSizes { tensors: Vec::with_capacity(graph.n_values()), ..RunSizes::default() };
    for (id, _) in graph.values() {
        let fact = facts.get(id);
        sizes.tensors.push(fact.and_then(|fact| tensor_size(fact, most, n_bounded)));
        if let Some(sequence) = fact.and_then(Fact::as_sequence) {
            sizes.sequences.extend(elements(sequence, most, n_bounded).map(|of| (ValueIdx::new(id.index()), of)));
        }
    }
    for (index, (id, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
        let mut taken: Vec<BodyRun> = Vec::new();
        for (attribute, body) in node.subgraphs() {
            let rounds: Vec<&GraphFacts> =
                (0..).map_while(|round| facts.subgraph(id, attribute, round)).take(N_ROUNDS_MAX).collect();
            let times = if rounds.len() == 1 { n_rounds(node, facts, body.n_nodes()) } else { 1 };
            taken.extend(rounds.into_iter().map(|facts| {
                let sizes = graph_sizes(body, facts, most, n_bounded);
                BodyRun { node: NodeIdx::new(index), attribute: attribute.to_owned(), sizes, times }
            }));
        }
        // Of two branches that both may be taken, the larger one is the one to be ready for.
        if node.is("If") {
            sizes.bodies.extend(taken.into_iter().max_by_key(|body| weight(&body.sizes)));
        } else {
            sizes.bodies.extend(taken);
        }
    }
    sizes
}

/// Rounds of one loop that are told apart.
const N_ROUNDS_MAX: usize = 4096;
/// Nodes that the rounds of one loop may come to where they go alike.
const N_REPEATED_NODES_MAX: u64 = 100_000;
/// Elements of a sequence that are told one by one.
const N_ELEMENTS_MAX: i64 = 65_536;

/// How often a loop's body runs if every round goes alike: its count, where that is known.
fn n_rounds(node: &Node, facts: &GraphFacts, n_nodes: usize) -> u64 {
    let count = || facts.get(node.input(0)?)?.scalar()?.as_int();
    match count().filter(|_| node.is("Loop")).map(u64::try_from) {
        Some(Ok(0) | Err(_)) => 0,
        Some(Ok(known)) => known.min((N_REPEATED_NODES_MAX / n_nodes.max(1) as u64).max(1)),
        None => 1,
    }
}

/// The elements of a sequence; `None` where one has no size that could be told.
fn elements(sequence: &Sequence, most: &mut Most<'_>, n_bounded: &mut usize) -> Option<Vec<TensorSize>> {
    if let Some(items) = &sequence.items {
        return items.iter().map(|item| tensor_size(item, most, n_bounded)).collect();
    }
    let n = most.of(sequence.length.as_ref()?)?.clamp(0, N_ELEMENTS_MAX);
    Some(vec![tensor_size(&sequence.element, most, n_bounded)?; usize::try_from(n).ok()?])
}

fn weight(sizes: &RunSizes) -> u64 {
    let elements = sizes.sequences.values().flatten();
    let tensors = sizes.tensors.iter().flatten().chain(elements);
    let tensors = tensors.filter_map(|tensor| tensor.bytes()).map(|bytes| bytes.get());
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
