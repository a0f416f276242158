//! A graph with the fixed tensors that it can see, and what writes into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use onnxfit_graph::{Graph, Model, NewNode, NodeId, Patch, Place, ValueId, ValueType};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, TensorSource};

use super::DynamicOptions;
use crate::affine::Quantized;
use crate::constants::floats;
use crate::node_names::NodeNames;
use crate::{IntType, QuantizeError};

/// A graph or body, and the fixed tensors around it.
pub(crate) struct Scope<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) opset: i64,
    pub(crate) source: &'a dyn TensorSource,
    pub(crate) options: &'a DynamicOptions,
    outer: BTreeMap<String, Arc<TensorProto>>,
}

/// A node that can be quantized.
pub(crate) struct Site {
    pub(crate) n_weights: u64,
    pub(crate) write: fn(&mut Writer<'_, '_>, NodeId) -> Result<(), QuantizeError>,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(model: &'a Model, source: &'a dyn TensorSource, options: &'a DynamicOptions) -> Self {
        Self { graph: &model.graph, opset: model.opset(""), source, options, outer: BTreeMap::new() }
    }

    /// A body of a node of this graph.
    pub(crate) fn inside<'b>(&'b self, body: &'b Graph) -> Scope<'b> {
        let mut outer = self.outer.clone();
        for id in self.graph.initializers() {
            let value = self.graph.value(*id);
            if let Some(tensor) = value.tensor().filter(|_| value.is_fixed()) {
                outer.insert(value.name.clone(), tensor.clone());
            }
        }
        Scope { graph: body, opset: self.opset, source: self.source, options: self.options, outer }
    }

    /// A fixed tensor, of this graph or of one around it.
    pub(crate) fn fixed(&self, value: ValueId) -> Option<&Arc<TensorProto>> {
        let entry = self.graph.value(value);
        if entry.is_captured {
            return self.outer.get(&entry.name);
        }
        if entry.is_fixed() { entry.tensor() } else { None }
    }

    /// A fixed tensor of floats: its shape.
    pub(crate) fn float_dims(&self, value: ValueId) -> Option<Vec<usize>> {
        let tensor = self.fixed(value).filter(|tensor| tensor.element_type() == Ok(DataType::Float))?;
        tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect()
    }

    /// The numbers of a fixed tensor of floats.
    pub(crate) fn floats(&self, value: ValueId) -> Result<Vec<f32>, QuantizeError> {
        match self.fixed(value) {
            Some(tensor) => floats(tensor, self.source),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a value may be something else than floats, as far as is declared.
    pub(crate) fn may_be_float(&self, value: ValueId) -> bool {
        let ty = self.graph.value(value).ty.as_tensor();
        ty.and_then(|ty| ty.element_type).is_none_or(|element_type| element_type == DataType::Float)
    }
}

/// Writes into one graph.
pub(crate) struct Writer<'a, 'b> {
    pub(crate) scope: &'a Scope<'b>,
    pub(crate) patch: Patch,
    pub(crate) uses_own_domain: bool,
    names: NodeNames,
    /// By value: the integers, scale and zero point that it becomes.
    dynamic: BTreeMap<ValueId, [ValueId; 3]>,
    weights: BTreeMap<(ValueId, String), [ValueId; 3]>,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(crate) fn new(scope: &'a Scope<'b>, name: &str) -> Self {
        let patch = Patch::new(scope.graph, name);
        let names = NodeNames::of(scope.graph);
        Self { scope, patch, names, uses_own_domain: false, dynamic: BTreeMap::new(), weights: BTreeMap::new() }
    }

    pub(crate) fn value(&mut self, name: &str) -> ValueId {
        self.patch.add_value(name, ValueType::Unknown)
    }

    /// A new node, under a name of its own.
    pub(crate) fn add(&mut self, place: Place, mut node: NewNode) {
        node.name = self.names.unique(&node.name);
        self.patch.add_node(place, node);
    }

    /// A new node before a node; its only output.
    pub(crate) fn node(&mut self, before: NodeId, op_type: &str, name: &str, inputs: &[ValueId]) -> ValueId {
        let output = self.value(&format!("{name}_output"));
        self.add(Place::Before(before), NewNode::new(op_type, name, inputs, &[output]));
        output
    }

    /// A value as integers, once for all who read it.
    pub(crate) fn dynamic(&mut self, value: ValueId, before: NodeId) -> [ValueId; 3] {
        if let Some(known) = self.dynamic.get(&value) {
            return *known;
        }
        let name = self.scope.graph.value(value).name.clone();
        let made = ["quantized", "scale", "zero_point"].map(|part| self.value(&format!("{name}_{part}")));
        let node = NewNode::new("DynamicQuantizeLinear", &format!("{name}_DynamicQuantizeLinear"), &[value], &made);
        self.add(Place::Before(before), node);
        self.dynamic.insert(value, made);
        made
    }

    /// A weight as integers with scale and zero point, once for all who read it this way.
    pub(crate) fn weight(
        &mut self,
        weight: ValueId,
        way: &str,
        make: impl FnOnce(&[f32], &[usize]) -> Result<Quantized, QuantizeError>,
    ) -> Result<[ValueId; 3], QuantizeError> {
        let key = (weight, way.to_owned());
        if let Some(known) = self.weights.get(&key) {
            return Ok(*known);
        }
        let dims = self.scope.float_dims(weight).unwrap_or_default();
        let quantized = make(&self.scope.floats(weight)?, &dims)?;
        let name = self.scope.graph.value(weight).name.clone();
        let made = [
            self.patch.add_initializer(quantized.to_tensor(&format!("{name}_quantized"))),
            self.patch.add_initializer(quantized.scales_tensor(&format!("{name}_scale"))),
            self.patch.add_initializer(quantized.zero_points_tensor(&format!("{name}_zero_point"))),
        ];
        self.weights.insert(key, made);
        Ok(made)
    }
}

/// What weights become here.
pub(crate) const WEIGHT: IntType = IntType::Int8;
