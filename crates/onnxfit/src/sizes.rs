//! From inferred shapes to the concrete tensors of one run.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Graph, ValueType};
use onnxfit_memory::program::NodeIdx;
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_onnx::DataType;
use onnxfit_shape::{Fact, GraphFacts};

/// The tensors of one run. Nodes are counted as the twin counts them: constants are no nodes.
pub(crate) fn run_sizes(graph: &Graph, facts: &GraphFacts) -> RunSizes {
    let tensors = graph.values().map(|(id, _)| facts.get(id).and_then(tensor_size)).collect();
    let mut bodies = Vec::new();
    for (index, (id, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
        let taken: Vec<BodyRun> = node
            .subgraphs()
            .filter_map(|(attribute, body)| {
                let sizes = run_sizes(body, facts.subgraph(id, attribute, 0)?);
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

fn tensor_size(fact: &Fact) -> Option<TensorSize> {
    Some(TensorSize { element: fact.element_type?, dims: fact.concrete()? })
}

/// Contents of inputs that decide sizes and that nobody gives: a sampling rate.
pub(crate) fn known_values(graph: &Graph) -> BTreeMap<String, Vec<i64>> {
    let mut values = BTreeMap::new();
    for id in graph.required_inputs() {
        let value = graph.value(id);
        let is_rate = matches!(value.name.as_str(), "sr" | "sample_rate" | "sampling_rate");
        let is_integer = matches!(
            &value.ty,
            ValueType::Tensor(tensor) if matches!(tensor.element_type, Some(DataType::Int64 | DataType::Int32))
        );
        if is_rate && is_integer {
            values.insert(value.name.clone(), vec![16_000]);
        }
    }
    values
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
