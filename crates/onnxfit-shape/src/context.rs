//! What a rule sees of its node, and how it says what it found.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_graph::{AttributeValue, Graph, Node, NodeId};
use onnxfit_onnx::DataType;

use crate::engine::run_graph;
use crate::expr::Expr;
use crate::fact::{Fact, RANK_MAX, Value};
use crate::inference::GraphFacts;
use crate::scalar::Scalar;
use crate::state::State;

/// Sizes of a shape, each known or not.
pub(crate) type Dims = Vec<Option<Expr>>;

/// Facts of a node's subgraphs: attribute, index in it, facts.
pub(crate) type SubgraphFacts = Vec<(String, usize, GraphFacts)>;

/// A graph with the facts of its values so far.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) facts: &'a [Fact],
}

impl<'a> Scope<'a> {
    pub(crate) fn fact_named(&self, name: &str) -> Option<&'a Fact> {
        self.graph.value_named(name).map(|id| &self.facts[id.index()])
    }
}

/// Axes that an attribute or, in newer operator sets, an input names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Axes {
    /// None are named.
    Absent,
    /// These are named; may be negative.
    Known(Vec<i64>),
    /// Some are named, but not in a way that can be read now.
    Unknown,
}

/// What a rule sees of its node, and where it puts what it found.
pub(crate) struct RuleContext<'a, 'm> {
    pub(crate) node: &'a Node,
    /// The version of the operator set that the node's operator is of.
    pub(crate) opset: i64,
    pub(crate) state: &'a mut State<'m>,
    pub(crate) opsets: &'a BTreeMap<String, i64>,
    node_id: NodeId,
    scope: Scope<'a>,
    inputs: Vec<Option<&'a Fact>>,
    outputs: Vec<Fact>,
    subgraphs: SubgraphFacts,
}

impl<'a, 'm> RuleContext<'a, 'm> {
    pub(crate) fn new(
        state: &'a mut State<'m>,
        scope: Scope<'a>,
        node_id: NodeId,
        inputs: Vec<Option<&'a Fact>>,
        opset: i64,
        opsets: &'a BTreeMap<String, i64>,
    ) -> Self {
        let node = scope.graph.node(node_id);
        let outputs = vec![Fact::default(); node.outputs.len()];
        Self { node, opset, state, opsets, node_id, scope, inputs, outputs, subgraphs: Vec::new() }
    }

    pub(crate) fn into_results(self) -> (Vec<Fact>, SubgraphFacts) {
        (self.outputs, self.subgraphs)
    }

    /// How many inputs are written, left-out ones included.
    pub(crate) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn n_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The fact of an input; `None` if it is left out.
    pub(crate) fn input(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).copied().flatten()
    }

    pub(crate) fn shape(&self, index: usize) -> Option<&'a [Expr]> {
        self.input(index)?.shape.as_deref()
    }

    pub(crate) fn rank(&self, index: usize) -> Option<usize> {
        self.shape(index).map(<[Expr]>::len)
    }

    pub(crate) fn dim(&self, index: usize, dim_idx: usize) -> Option<Expr> {
        self.shape(index)?.get(dim_idx).cloned()
    }

    pub(crate) fn element_type(&self, index: usize) -> Option<DataType> {
        self.input(index)?.element_type
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    /// The element type that an attribute names by number.
    pub(crate) fn type_attribute(&self, name: &str) -> Option<DataType> {
        DataType::from_number(i32::try_from(self.node.int(name)?).ok()?)
    }

    /// An attribute's list of whole numbers, or the same number `n` times.
    pub(crate) fn ints_or(&self, name: &str, default: i64, n: usize) -> Vec<i64> {
        match self.node.ints(name) {
            Some(values) if values.len() == n => values.to_vec(),
            _ => vec![default; n],
        }
    }

    /// The axes of an attribute, or of an input where the attribute is absent.
    pub(crate) fn axes(&self, name: &str, input: usize) -> Axes {
        match (self.node.attribute(name), self.input(input)) {
            (Some(AttributeValue::Ints(axes)), _) => Axes::Known(axes.clone()),
            (Some(AttributeValue::Int(axis)), _) => Axes::Known(vec![*axis]),
            (_, None) => Axes::Absent,
            (_, Some(fact)) => match (fact.known_ints(), fact.concrete().as_deref()) {
                (Some(axes), _) => Axes::Known(axes),
                (None, Some([0])) => Axes::Known(Vec::new()),
                _ => Axes::Unknown,
            },
        }
    }

    /// The whole numbers of an input.
    pub(crate) fn ints(&self, index: usize) -> Option<Vec<Option<Expr>>> {
        self.input(index)?.ints()
    }

    /// The whole numbers of an input if each is a known number.
    pub(crate) fn known_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.input(index)?.known_ints()
    }

    /// The one whole number of an input.
    pub(crate) fn int_input(&self, index: usize) -> Option<Expr> {
        self.input(index)?.scalar()?.as_expr().cloned()
    }

    /// Says what an output is; sizes that are not known become symbols.
    pub(crate) fn set(&mut self, output: usize, element_type: Option<DataType>, dims: Option<Dims>) {
        if output >= self.outputs.len() {
            return;
        }
        let shape = dims.filter(|dims| dims.len() <= RANK_MAX).map(|dims| self.named_dims(output, dims));
        self.outputs[output] = Fact::tensor(element_type, shape);
    }

    /// Says what an output is, of a shape that is fully known.
    pub(crate) fn set_shape(&mut self, output: usize, element_type: Option<DataType>, shape: &[Expr]) {
        self.set(output, element_type, Some(shape.iter().cloned().map(Some).collect()));
    }

    /// Says that an output has the shape of an input.
    pub(crate) fn set_like(&mut self, output: usize, element_type: Option<DataType>, input: usize) {
        let dims = self.shape(input).map(|shape| shape.iter().cloned().map(Some).collect());
        self.set(output, element_type, dims);
    }

    /// Says what an output is: a whole fact.
    pub(crate) fn set_fact(&mut self, output: usize, fact: Fact) {
        if let Some(slot) = self.outputs.get_mut(output) {
            *slot = fact;
        }
    }

    /// Adds the content of an output that was set before.
    pub(crate) fn set_elements(&mut self, output: usize, elements: Vec<Option<Scalar>>) {
        if let Some(slot) = self.outputs.get_mut(output) {
            *slot = std::mem::take(slot).with_elements(elements);
        }
    }

    /// Adds the content of an output that was set before.
    pub(crate) fn set_value(&mut self, output: usize, value: Option<Value>) {
        if let Some(slot) = self.outputs.get_mut(output) {
            slot.value = value;
        }
    }

    /// The fact of an output as said so far.
    pub(crate) fn output(&self, output: usize) -> Option<&Fact> {
        self.outputs.get(output)
    }

    fn named_dims(&mut self, output: usize, dims: Dims) -> Vec<Expr> {
        let dims = dims.into_iter().enumerate();
        dims.map(|(at, dim)| match dim {
            // A negative size is a contradiction in the model, and known to be none.
            Some(dim) if dim.as_constant().is_none_or(|number| number >= 0) => dim,
            _ => self.made_up_dim(output, at),
        })
        .collect()
    }

    /// The symbol of a size that nothing tells.
    pub(crate) fn made_up_dim(&mut self, output: usize, dim_idx: usize) -> Expr {
        let name = self.output_name(output);
        self.state.made_up_dim(&name, dim_idx)
    }

    /// The symbol of a size that depends on data, with the most that it can be.
    pub(crate) fn data_dependent_dim(&mut self, output: usize, dim_idx: usize, most: Option<Expr>) -> Expr {
        let dim = self.made_up_dim(output, dim_idx);
        if let (Some(name), Some(most)) = (dim.as_symbol(), most) {
            // In a loop a size may be one of itself and another: no bound at all.
            if most.symbols().iter().any(|symbol| symbol.name() == name) {
                self.state.upper_bounds.remove(name);
            } else {
                self.state.upper_bounds.insert(name.to_owned(), most);
            }
        }
        dim
    }

    /// The symbol of a sequence's length that nothing tells.
    pub(crate) fn made_up_length(&mut self, output: usize) -> Expr {
        let name = self.output_name(output);
        self.state.made_up_length(&name)
    }

    fn output_name(&self, output: usize) -> String {
        match self.node.output(output) {
            Some(id) => self.scope.graph.value(id).name.clone(),
            None => format!("{}.output{output}", self.scope.graph.node_label(self.node_id)),
        }
    }

    /// The node's name in messages.
    pub(crate) fn label(&self) -> &str {
        self.scope.graph.node_label(self.node_id)
    }

    /// Records that something was taken for granted.
    pub(crate) fn assume(&mut self, what: impl std::fmt::Display) {
        let message = format!("`{}` ({}): {what}", self.label(), self.node.op_type);
        self.state.report(Diagnostic::note("shape-assumption", message));
    }

    /// Records that the model contradicts itself.
    pub(crate) fn contradict(&mut self, what: impl std::fmt::Display) {
        let message = format!("`{}` ({}): {what}", self.label(), self.node.op_type);
        self.state.report(Diagnostic::warning("shape-contradiction", message));
    }

    pub(crate) fn report_unknown_operator(&mut self) {
        let Node { domain, op_type, .. } = self.node;
        let name = if domain.is_empty() { op_type.clone() } else { format!("{domain}::{op_type}") };
        self.state.report(Diagnostic::warning(
            "unknown-operator",
            format!("`{name}` has no shape rule; what it makes is unknown unless the file declares it"),
        ));
    }

    /// Infers a subgraph of the node for these inputs and gives the facts of its outputs; the
    /// subgraph's facts are kept, the last run's if there are several.
    pub(crate) fn run_subgraph(&mut self, attribute: &str, inputs: &[Fact]) -> Option<Vec<Fact>> {
        self.run_subgraph_at(attribute, 0, inputs)
    }

    /// The same for one of several rounds; those after the first make up names of their own.
    pub(crate) fn run_subgraph_at(&mut self, attribute: &str, round: usize, inputs: &[Fact]) -> Option<Vec<Fact>> {
        let graph = self.node.graph(attribute)?;
        if !self.state.enter() {
            return None;
        }
        let path_length = self.state.path.len();
        let step = match round {
            0 => format!("{}.{attribute}/", self.label()),
            round => format!("{}.{attribute}#{round}/", self.label()),
        };
        self.state.path.push_str(&step);
        let facts = run_graph(self.state, graph, inputs, Some(self.scope), self.opsets);
        self.state.path.truncate(path_length);
        self.state.leave();
        let outputs = graph.outputs().iter().map(|id| facts.fact(*id).clone()).collect();
        self.subgraphs.retain(|(name, at, _)| (name.as_str(), *at) != (attribute, round));
        self.subgraphs.push((attribute.to_owned(), round, facts));
        Some(outputs)
    }

    /// The facts of subgraphs so far, which the node then has no longer.
    pub(crate) fn take_subgraphs(&mut self) -> SubgraphFacts {
        std::mem::take(&mut self.subgraphs)
    }

    /// Says what the facts of the subgraphs are.
    pub(crate) fn put_subgraphs(&mut self, subgraphs: SubgraphFacts) {
        self.subgraphs = subgraphs;
    }

    /// Whether the last run of a subgraph found a size for every value.
    pub(crate) fn subgraph_is_concrete(&self, attribute: &str) -> bool {
        let last = self.subgraphs.iter().rfind(|(name, _, _)| name == attribute);
        last.is_some_and(|(_, _, facts)| facts.are_concrete())
    }
}

/// An axis counted from the front; `None` if there is no such axis.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let rank_signed = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank_signed)? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// Axes counted from the front.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|axis| axis_of(*axis, rank)).collect()
}
