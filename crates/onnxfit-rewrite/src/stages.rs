//! A model in several: each stage a model of its own, fed with what the stages before it made.
//!
//! Exact: every node stays as it is and runs once. A weight that two stages read is in both; a
//! node that computes on weights alone goes wherever it is read.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Dim, Graph, Model, NodeId, TensorType, ValueId, ValueType};
use onnxfit_onnx::proto::{GraphProto, ModelProto, ValueInfoProto};
use onnxfit_shape::{Fact, GraphFacts, Kind};

/// One stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The model; its weights are references to those of the whole.
    pub model: ModelProto,
    /// What it is fed: inputs of the whole, and values of earlier stages.
    pub inputs: Vec<String>,
    /// What it makes for the caller and for later stages.
    pub outputs: Vec<String>,
}

/// Why a model cannot be cut there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// Nodes wait for each other.
    #[error("the nodes of the graph wait for each other")]
    Cycle,
    /// A value that no stage could be fed with.
    #[error("`{0}` is no tensor of known type, so no stage can be fed with it")]
    NoTensor(String),
    /// An output that no node makes.
    #[error("the output `{0}` is an input or a weight itself")]
    NotMade(String),
}

/// The nodes of a graph in the order in which they are cut.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The steps: topological, without nodes that any stage may have a copy of.
    pub order: Vec<NodeId>,
    /// Nodes that compute on weights alone: ONNX Runtime folds them, in whichever stage they are.
    copied: BTreeSet<NodeId>,
}

impl Chain {
    /// The chain of a graph.
    pub fn of(graph: &Graph) -> Result<Self, StageError> {
        let sorted = graph.topological_order().map_err(|_| StageError::Cycle)?;
        let mut chain = Self { order: Vec::new(), copied: BTreeSet::new() };
        for id in sorted {
            let node = graph.node(id);
            let is_fixed = |value: ValueId| match graph.producer(value) {
                Some((producer, _)) => chain.copied.contains(&producer),
                None => graph.value(value).is_fixed(),
            };
            let is_plain = node.subgraphs().next().is_none() && !DRAWS.contains(&node.op_type.as_str());
            let is_answer = node.outputs.iter().flatten().any(|value| graph.value(*value).is_output);
            if is_plain && !is_answer && all_reads(graph, id).all(is_fixed) {
                chain.copied.insert(id);
            } else {
                chain.order.push(id);
            }
        }
        Ok(chain)
    }

    /// Everything that a node reads and that is made by a step or fed by the caller.
    pub fn reads<'a>(&'a self, graph: &'a Graph, node: NodeId) -> impl Iterator<Item = ValueId> + 'a {
        all_reads(graph, node).filter(|value| match graph.producer(*value) {
            Some((producer, _)) => !self.copied.contains(&producer),
            None => graph.value(*value).constant.is_none(),
        })
    }

    /// The weights that a node reads, itself or through nodes that are copied with it; those inside
    /// its bodies not among them.
    pub fn weights(&self, graph: &Graph, node: NodeId) -> BTreeSet<ValueId> {
        let (_, weights) = self.brought(graph, [node]);
        weights
    }

    /// The copies that these nodes need, and the weights that they and the copies read.
    fn brought(&self, graph: &Graph, nodes: impl IntoIterator<Item = NodeId>) -> (BTreeSet<NodeId>, BTreeSet<ValueId>) {
        let (mut copies, mut weights) = (BTreeSet::new(), BTreeSet::new());
        let mut waiting: Vec<NodeId> = nodes.into_iter().collect();
        while let Some(id) = waiting.pop() {
            for value in all_reads(graph, id) {
                match graph.producer(value) {
                    Some((producer, _)) if self.copied.contains(&producer) && copies.insert(producer) => {
                        waiting.push(producer);
                    }
                    None if graph.value(value).constant.is_some() => {
                        weights.insert(value);
                    }
                    _ => {}
                }
            }
        }
        (copies, weights)
    }
}

/// Whether a stage may be fed with a value.
pub fn can_cross(fact: &Fact) -> bool {
    fact.kind == Kind::Tensor && fact.element_type.is_some()
}

/// Cuts before each of these positions among the steps.
pub fn cut(model: &Model, facts: &GraphFacts, cuts: &[usize]) -> Result<Vec<Stage>, StageError> {
    let graph = &model.graph;
    for id in graph.outputs() {
        if graph.producer(*id).is_none() {
            return Err(StageError::NotMade(graph.value(*id).name.clone()));
        }
    }
    let chain = Chain::of(graph)?;
    let mut stage_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (at, id) in chain.order.iter().enumerate() {
        stage_of.insert(*id, cuts.iter().filter(|cut| **cut <= at).count());
    }
    let whole = model.to_proto();
    (0..=cuts.len()).map(|number| one(model, facts, &whole, &chain, &stage_of, number)).collect()
}

fn one(
    model: &Model,
    facts: &GraphFacts,
    whole: &ModelProto,
    chain: &Chain,
    stage_of: &BTreeMap<NodeId, usize>,
    number: usize,
) -> Result<Stage, StageError> {
    let graph = &model.graph;
    let own: Vec<NodeId> = stage_of.iter().filter(|(_, stage)| **stage == number).map(|(id, _)| *id).collect();
    let (mut kept, weights) = chain.brought(graph, own.iter().copied());
    let named: BTreeSet<&str> = weights.iter().map(|value| graph.value(*value).name.as_str()).collect();
    let is_foreign =
        |value: &ValueId| graph.producer(*value).is_none_or(|(producer, _)| stage_of.get(&producer) != Some(&number));
    let fed: BTreeSet<ValueId> = own.iter().flat_map(|id| chain.reads(graph, *id)).filter(is_foreign).collect();
    kept.extend(own);
    let is_made_for_others = |id: &ValueId| {
        let value = graph.value(*id);
        let is_here = value.producer.is_some_and(|(producer, _)| stage_of.get(&producer) == Some(&number));
        let is_read = || value.uses.iter().any(|one| stage_of.get(&one.node).is_some_and(|stage| *stage != number));
        is_here && (value.is_output || is_read())
    };
    let made: Vec<ValueId> = graph.values().map(|(id, _)| id).filter(is_made_for_others).collect();
    let inputs: Vec<ValueId> = fed.into_iter().collect();

    let source = whole.graph.as_ref().expect("a model of a graph has one");
    let mut nodes = Vec::new();
    for ((id, _), proto) in graph.nodes().zip(&source.node) {
        if kept.contains(&id) {
            nodes.push(proto.clone());
        }
    }
    let here: BTreeSet<&str> = nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
    let declare = |ids: &[ValueId]| -> Result<Vec<ValueInfoProto>, StageError> {
        ids.iter().map(|id| declaration(graph, facts, *id)).collect()
    };
    let (input, output) = (declare(&inputs)?, declare(&made)?);
    let is_declared = |name: &str| output.iter().any(|info| info.name() == name);
    let stage = GraphProto {
        name: Some(format!("{}, stage {}", source.name(), number + 1)),
        initializer: source.initializer.iter().filter(|tensor| named.contains(tensor.name())).cloned().collect(),
        sparse_initializer: source
            .sparse_initializer
            .iter()
            .filter(|tensor| tensor.values.as_ref().is_some_and(|values| named.contains(values.name())))
            .cloned()
            .collect(),
        value_info: source
            .value_info
            .iter()
            .filter(|info| here.contains(info.name()) && !is_declared(info.name()))
            .cloned()
            .collect(),
        node: nodes,
        input,
        output,
        ..source.clone()
    };
    let names = |ids: &[ValueId]| ids.iter().map(|id| graph.value(*id).name.clone()).collect();
    Ok(Stage {
        inputs: names(&inputs),
        outputs: names(&made),
        model: ModelProto { graph: Some(stage), ..whole.clone() },
    })
}

/// A value as an input or output declares it. What the whole model declares is kept; of what was
/// inferred only the names that its own inputs have, for ONNX Runtime takes equal names for equal
/// sizes.
fn declaration(graph: &Graph, facts: &GraphFacts, id: ValueId) -> Result<ValueInfoProto, StageError> {
    let value = graph.value(id);
    let fact = facts.fact(id);
    let declared = value.ty.as_tensor();
    let is_whole = declared.is_some_and(|ty| ty.element_type.is_some() && ty.shape.is_some());
    let ty = if (value.is_input || value.is_output) && is_whole {
        value.ty.clone()
    } else if can_cross(fact) {
        let known = |name: &str| {
            graph.required_inputs().any(|input| {
                let shape = graph.value(input).ty.as_tensor().and_then(|tensor| tensor.shape.as_ref());
                shape.into_iter().flatten().any(|dim| matches!(dim, Dim::Symbol(symbol) if symbol == name))
            })
        };
        let dim = |dim: &onnxfit_shape::Expr| match (dim.as_constant(), dim.as_symbol()) {
            (Some(size), _) => Dim::Known(size),
            (None, Some(name)) if known(name) => Dim::Symbol(name.to_owned()),
            _ => Dim::Unknown,
        };
        let shape = fact.shape.as_ref().map(|shape| shape.iter().map(dim).collect());
        ValueType::Tensor(TensorType { element_type: fact.element_type, shape })
    } else {
        return Err(StageError::NoTensor(value.name.clone()));
    };
    Ok(ValueInfoProto { name: Some(value.name.clone()), r#type: Some(ty.to_proto()), ..ValueInfoProto::default() })
}

fn all_reads(graph: &Graph, node: NodeId) -> impl Iterator<Item = ValueId> + '_ {
    let node = graph.node(node);
    node.inputs.iter().flatten().chain(&node.implicit_inputs).copied()
}

/// Operators that make something else each time.
const DRAWS: &[&str] =
    &["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"];

#[cfg(test)]
mod tests;
