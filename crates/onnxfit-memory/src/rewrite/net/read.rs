//! Questions that the transforms ask of the graph, under ONNX Runtime's rules
//! (graph_utils.cc and optimizer/utils.cc, ORT 1.31).

use std::sync::Arc;

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::{Arg, ArgId, Net, Op, OpId, Use};

/// An edge to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) op: OpId,
    pub(crate) output: usize,
    pub(crate) slot: usize,
}

impl Op {
    /// Whether this is `op_type` of ONNX's own domain.
    pub(crate) fn is(&self, op_type: &str) -> bool {
        self.op_type == op_type && self.domain.is_empty()
    }

    /// Whether this is `op_type` of ONNX Runtime's domain.
    pub(crate) fn is_ms(&self, op_type: &str) -> bool {
        self.op_type == op_type && self.domain == super::super::MS
    }

    pub(crate) fn input(&self, index: usize) -> Option<ArgId> {
        self.inputs.get(index).copied().flatten()
    }

    pub(crate) fn output(&self, index: usize) -> Option<ArgId> {
        self.outputs.get(index).copied().flatten()
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(AttributeValue::Int(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name) {
            Some(AttributeValue::Float(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(AttributeValue::Ints(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn string(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(AttributeValue::String(value)) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&Arc<TensorProto>> {
        match self.attributes.get(name) {
            Some(AttributeValue::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// Which input a value is.
    pub(crate) fn index_of_input(&self, arg: ArgId) -> Option<usize> {
        self.inputs.iter().position(|input| *input == Some(arg))
    }
}

impl Arg {
    /// All dimensions, if they are numbers.
    pub(crate) fn static_shape(&self) -> Option<Vec<i64>> {
        self.shape.as_ref()?.iter().map(known_dim).collect()
    }
}

/// The number of a dimension.
pub(crate) fn known_dim(dim: &Dim) -> Option<i64> {
    match dim {
        Dim::Known(value) => Some(*value),
        _ => None,
    }
}

impl Net {
    /// The edges from a node, sorted as ONNX Runtime's edge set: reader, output, input.
    pub(crate) fn output_edges(&self, id: OpId) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (output, arg) in self.op(id).outputs.iter().enumerate() {
            let Some(arg) = arg else { continue };
            edges.extend(self.arg(*arg).uses.iter().map(|Use { op, slot }| Edge { op: *op, output, slot: *slot }));
        }
        edges.sort_unstable();
        edges
    }

    pub(crate) fn n_output_edges(&self, id: OpId) -> usize {
        self.op(id).outputs.iter().flatten().map(|arg| self.arg(*arg).uses.len()).sum()
    }

    pub(crate) fn has_output_edges(&self, id: OpId) -> bool {
        self.op(id).outputs.iter().flatten().any(|arg| !self.arg(*arg).uses.is_empty())
    }

    pub(crate) fn n_input_edges(&self, id: OpId) -> usize {
        let op = self.op(id);
        let inputs = op.inputs.iter().flatten().chain(&op.implicit);
        inputs.filter(|arg| self.arg(**arg).producer.is_some()).count()
    }

    /// The node that makes an input.
    pub(crate) fn producer_of_input(&self, id: OpId, input: usize) -> Option<OpId> {
        self.producer(self.op(id).input(input)?)
    }

    pub(crate) fn producer(&self, arg: ArgId) -> Option<OpId> {
        self.arg(arg).producer.map(|(op, _)| op)
    }

    /// The first reader.
    pub(crate) fn first_child(&self, id: OpId) -> Option<OpId> {
        self.op(id).outputs.iter().flatten().flat_map(|arg| &self.arg(*arg).uses).map(|reading| reading.op).min()
    }

    pub(crate) fn first_child_of_type(&self, id: OpId, op_type: &str) -> Option<OpId> {
        self.output_edges(id).iter().map(|edge| edge.op).find(|child| self.op(*child).op_type == op_type)
    }

    /// The first of the producers (smallest index) with an operator.
    pub(crate) fn first_parent_of_type(&self, id: OpId, op_type: &str) -> Option<OpId> {
        let op = self.op(id);
        let parents = op.inputs.iter().flatten().chain(&op.implicit).filter_map(|arg| self.producer(*arg));
        parents.filter(|parent| self.op(*parent).op_type == op_type).min()
    }

    pub(crate) fn makes_graph_output(&self, id: OpId) -> bool {
        self.op(id).outputs.iter().flatten().any(|arg| self.arg(*arg).is_output)
    }

    /// Whether exactly so many edges leave the node, none of them to a graph output or a body.
    pub(crate) fn has_only_edges(&self, id: OpId, n_edges: usize) -> bool {
        if self.makes_graph_output(id) || self.n_output_edges(id) != n_edges {
            return false;
        }
        self.output_edges(id).iter().all(|edge| edge.slot < self.op(edge.op).inputs.len())
    }

    /// The initializer behind a value that nobody can override, in this graph or around it.
    pub(crate) fn constant(&self, arg: ArgId) -> Option<&Arc<TensorProto>> {
        let arg = self.arg(arg);
        if arg.is_input && self.overridable {
            return None;
        }
        arg.constant.as_ref().or(arg.outer_constant.as_ref())
    }

    pub(crate) fn is_constant(&self, arg: ArgId) -> bool {
        self.constant(arg).is_some()
    }

    pub(crate) fn input_is_constant(&self, id: OpId, input: usize) -> bool {
        self.op(id).input(input).is_some_and(|arg| self.is_constant(arg))
    }

    /// The constant behind an input.
    pub(crate) fn input_constant(&self, id: OpId, input: usize) -> Option<&Arc<TensorProto>> {
        self.constant(self.op(id).input(input)?)
    }

    /// The whole numbers in a constant.
    pub(crate) fn constant_ints(&self, arg: ArgId) -> Option<Vec<i64>> {
        super::super::content::ints(self.constant(arg)?)
    }

    /// Whether a value is a constant scalar (or one element) close to a number
    /// (`IsInitializerWithExpectedValue`).
    pub(crate) fn is_scalar_close_to(&self, arg: Option<ArgId>, expected: f32) -> bool {
        let Some(arg) = arg else { return false };
        if !self.is_scalar(arg) {
            return false;
        }
        let Some(tensor) = self.constant(arg) else { return false };
        let Ok(element) = tensor.element_type() else { return false };
        if !matches!(element, DataType::Float | DataType::Double | DataType::Float16) {
            return false;
        }
        let Some(value) = super::super::content::first_float(tensor) else { return false };
        let expected = if element == DataType::Float16 {
            super::super::content::half_to_float(super::super::content::float_to_half(expected))
        } else {
            expected
        };
        value == f64::from(expected) || (value - f64::from(expected)).abs() <= 1e-8 + 1e-5 * f64::from(expected.abs())
    }

    /// Whether a value is a constant whole-number scalar of one value.
    pub(crate) fn is_scalar_int(&self, arg: Option<ArgId>, expected: i64) -> bool {
        let Some(arg) = arg.filter(|arg| self.is_scalar(*arg)) else { return false };
        self.constant_ints(arg).is_some_and(|values| values.first() == Some(&expected))
    }

    /// Rank 0, or one dimension of size 1 (`optimizer_utils::IsScalar`).
    pub(crate) fn is_scalar(&self, arg: ArgId) -> bool {
        matches!(self.arg(arg).shape.as_deref(), Some([] | [Dim::Known(1)]))
    }

    /// The operator of the node's only reader, with its id.
    pub(crate) fn only_child(&self, id: OpId, op_type: &str) -> Option<OpId> {
        let child = self.first_child(id)?;
        self.op(child).is(op_type).then_some(child)
    }

    /// Whether two nodes run in the same place.
    pub(crate) fn same_provider(&self, one: OpId, other: OpId) -> bool {
        self.op(one).provider == self.op(other).provider
    }

    /// The type of an input's elements.
    pub(crate) fn input_elem(&self, id: OpId, input: usize) -> Option<DataType> {
        self.arg(self.op(id).input(input)?).elem
    }

    pub(crate) fn input_shape(&self, id: OpId, input: usize) -> Option<&[Dim]> {
        self.arg(self.op(id).input(input)?).shape.as_deref()
    }
}
