//! Applying a patch: on a copy, checked, then swapped in.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use onnxfit_onnx::proto::TensorProto;

use crate::attribute::Attribute;
use crate::build::captured_names;
use crate::check::check;
use crate::error::GraphError;
use crate::graph::{Graph, ValueInfo};
use crate::node::{Node, NodeId, NodeRest};
use crate::patch::{Edit, Patch, Place};
use crate::types::ValueType;
use crate::value::{Constant, ValueId};

impl Graph {
    /// Applies a change, all of it or nothing: on an error the graph is as it was.
    pub fn apply(&mut self, patch: &Patch) -> Result<(), GraphError> {
        if patch.is_empty() {
            return Ok(());
        }
        let mut changed = self.clone();
        changed.apply_unchecked(patch)?;
        check(&changed)?;
        *self = changed;
        Ok(())
    }

    fn apply_unchecked(&mut self, patch: &Patch) -> Result<(), GraphError> {
        if patch.base_values != self.values.len() || patch.base_nodes != self.nodes.len() {
            return Err(GraphError::StalePatch { patch: patch.name.clone(), graph: self.name.clone() });
        }
        let mut placed: Vec<(Place, NodeId)> = Vec::new();
        for edit in &patch.edits {
            self.apply_edit(patch, edit, &mut placed)?;
        }
        self.place_nodes(&placed);
        self.label_uniquely(patch.base_nodes);
        self.capture_anew(patch)?;
        self.index_uses();
        // A changed graph is written in topological order, as ONNX asks; a cycle is the checker's to name.
        if let Ok(sorted) = self.topological_order() {
            self.order = sorted;
        }
        // A name whose definition is gone may be taken again.
        for (index, value) in self.values.iter().enumerate() {
            let is_live = value.producer.is_some() || value.is_input || value.constant.is_some() || value.is_captured;
            let is_gone = !is_live && value.uses.is_empty();
            if is_gone && self.names.get(&value.name) == Some(ValueId::new(index)) {
                self.names.remove(&value.name);
            }
        }
        Ok(())
    }

    fn apply_edit(&mut self, patch: &Patch, edit: &Edit, placed: &mut Vec<(Place, NodeId)>) -> Result<(), GraphError> {
        match edit {
            Edit::AddValue { name, ty } => {
                let id = self.new_unique_value(name);
                self.set_type(id, ty.clone());
                if *ty != ValueType::Unknown {
                    self.value_infos.push(ValueInfo::Of(id));
                }
            }
            Edit::AddInput { name, ty } => {
                let id = self.new_unique_value(name);
                self.set_type(id, ty.clone());
                self.value_mut(id).is_input = true;
                self.inputs.push(id);
            }
            Edit::AddInitializer { tensor } => {
                let id = self.new_unique_value(tensor.name());
                self.initializers.push(id);
                self.set_constant(id, tensor);
            }
            Edit::SetInitializer { value, tensor } => {
                self.expect_value(patch, *value)?;
                if self.value(*value).constant.is_none() {
                    self.initializers.push(*value);
                }
                self.set_constant(*value, tensor);
            }
            Edit::RemoveInitializer { value } => {
                self.expect_value(patch, *value)?;
                self.value_mut(*value).constant = None;
                self.initializers.retain(|id| id != value);
            }
            Edit::AddNode { place, node } => {
                let id = NodeId::new(self.nodes.len());
                let attributes = node.attributes.iter().map(|(name, value)| Attribute::new(name, value.clone()));
                self.nodes.push(Some(Arc::new(Node {
                    name: node.name.clone(),
                    op_type: node.op_type.clone(),
                    domain: node.domain.clone(),
                    inputs: node.inputs.clone(),
                    outputs: node.outputs.clone(),
                    attributes: attributes.collect(),
                    implicit_inputs: Vec::new(),
                    rest: NodeRest::default(),
                })));
                placed.push((*place, id));
            }
            Edit::RemoveNode { node } => {
                self.expect_node(patch, *node)?;
                self.nodes[node.index()] = None;
            }
            Edit::SetInput { node, input, value } => {
                set_slot(&mut self.expect_node(patch, *node)?.inputs, *input, *value)
            }
            Edit::SetOutput { node, output, value } => {
                set_slot(&mut self.expect_node(patch, *node)?.outputs, *output, *value);
            }
            Edit::ReplaceUses { from, to } => {
                self.expect_value(patch, *from)?;
                self.expect_value(patch, *to)?;
                self.replace_uses(*from, *to);
            }
            Edit::ReplaceGraphOutput { from, to } => {
                self.expect_value(patch, *to)?;
                self.outputs.iter_mut().filter(|output| *output == from).for_each(|output| *output = *to);
            }
            Edit::RenameValue { value, name } => {
                self.expect_value(patch, *value)?;
                self.rename(*value, name);
            }
            Edit::SetType { value, ty } => {
                self.expect_value(patch, *value)?;
                self.set_type(*value, ty.clone());
            }
            Edit::SetAttribute { node, name, value } => {
                let attributes = &mut self.expect_node(patch, *node)?.attributes;
                match attributes.iter_mut().find(|attribute| attribute.name == *name) {
                    Some(attribute) => attribute.value = value.clone(),
                    None => attributes.push(Attribute::new(name, value.clone())),
                }
            }
            Edit::RemoveAttribute { node, name } => {
                self.expect_node(patch, *node)?.attributes.retain(|attribute| attribute.name != *name);
            }
            Edit::SetOperator { node, domain, op_type } => {
                let node = self.expect_node(patch, *node)?;
                node.domain = domain.clone();
                node.op_type = op_type.clone();
            }
            Edit::Subgraph { node, attribute, index, patch: inner } => {
                let missing = self.no_such(patch, format!("graph {index} of attribute `{attribute}`"));
                let attributes = &mut self.expect_node(patch, *node)?.attributes;
                let found = attributes.iter_mut().find(|candidate| candidate.name == *attribute);
                let graph = found.and_then(|attribute| attribute.graphs_mut().get_mut(*index)).ok_or(missing)?;
                graph.apply_unchecked(inner)?;
                check(graph)?;
            }
        }
        Ok(())
    }

    fn replace_uses(&mut self, from: ValueId, to: ValueId) {
        let (from_name, to_name) = (self.value(from).name.clone(), self.value(to).name.clone());
        for node in self.nodes.iter_mut().flatten().filter(|node| reads(node, from) || has_graphs(node)) {
            let node = Arc::make_mut(node);
            node.inputs.iter_mut().flatten().filter(|value| **value == from).for_each(|value| *value = to);
            for graph in node.attributes.iter_mut().flat_map(Attribute::graphs_mut) {
                graph.rename_captured(&from_name, &to_name);
            }
        }
    }

    /// Follows a change of an outer name into this subgraph and those below.
    fn rename_captured(&mut self, from: &str, to: &str) {
        let Some(id) = self.value_named(from).filter(|id| self.value(*id).is_captured) else { return };
        match self.value_named(to) {
            // The new name is captured already: the two become one.
            Some(other) => {
                for node in self.nodes.iter_mut().flatten().filter(|node| reads(node, id)) {
                    let inputs = &mut Arc::make_mut(node).inputs;
                    inputs.iter_mut().flatten().filter(|value| **value == id).for_each(|value| *value = other);
                }
                self.outputs.iter_mut().filter(|output| **output == id).for_each(|output| *output = other);
                self.names.remove(from);
            }
            None => {
                self.names.remove(from);
                self.names.insert(to, id);
                self.value_mut(id).name = to.to_owned();
            }
        }
        for node in self.nodes.iter_mut().flatten().filter(|node| has_graphs(node)) {
            for graph in Arc::make_mut(node).attributes.iter_mut().flat_map(Attribute::graphs_mut) {
                graph.rename_captured(from, to);
            }
        }
        self.index_uses();
    }

    fn rename(&mut self, id: ValueId, name: &str) {
        let old = self.value(id).name.clone();
        if old == name {
            return;
        }
        self.names.remove(&old);
        let name = self.unique_name(name);
        self.names.insert(&name, id);
        let value = self.value_mut(id);
        value.name = name.clone();
        if let Some(info) = &mut value.info {
            info.name = Some(name.clone());
        }
        match &mut value.constant {
            Some(Constant::Dense(tensor)) => Arc::make_mut(tensor).name = Some(name.clone()),
            Some(Constant::Sparse(tensor)) => {
                if let Some(values) = &mut Arc::make_mut(tensor).values {
                    values.name = Some(name.clone());
                }
            }
            None => {}
        }
        for node in self.nodes.iter_mut().flatten().filter(|node| has_graphs(node)) {
            for graph in Arc::make_mut(node).attributes.iter_mut().flat_map(Attribute::graphs_mut) {
                graph.rename_captured(&old, &name);
            }
        }
    }

    fn set_type(&mut self, id: ValueId, ty: ValueType) {
        let value = self.value_mut(id);
        if let Some(info) = &mut value.info {
            info.r#type = (ty != ValueType::Unknown).then(|| ty.to_proto());
        }
        value.ty = ty;
    }

    fn set_constant(&mut self, id: ValueId, tensor: &TensorProto) {
        let value = self.value_mut(id);
        let mut tensor = tensor.clone();
        tensor.name = Some(value.name.clone());
        value.constant = Some(Constant::Dense(Arc::new(tensor)));
    }

    fn new_unique_value(&mut self, name: &str) -> ValueId {
        let name = self.unique_name(name);
        self.new_value(&name)
    }

    fn unique_name(&self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut n = 1;
        while self.names.contains(&candidate) {
            candidate = format!("{name}_{n}");
            n += 1;
        }
        candidate
    }

    /// ONNX Runtime refuses two nodes of one name (`Graph::VerifyNodeAndOpMatch`, 1.31): a new node,
    /// one from `first_new` on, whose name is taken gets a number.
    fn label_uniquely(&mut self, first_new: usize) {
        let (old, new) = self.nodes.split_at_mut(first_new);
        let wanted: HashSet<&str> = new.iter().flatten().map(|node| node.name.as_str()).collect();
        let old = old.iter().flatten().map(|node| node.name.as_str());
        let mut taken: HashSet<String> = old.filter(|name| wanted.contains(name)).map(str::to_owned).collect();
        for node in new.iter_mut().flatten().filter(|node| !node.name.is_empty()) {
            let mut candidate = node.name.clone();
            let mut n = 1;
            while !taken.insert(candidate.clone()) {
                candidate = format!("{}_{n}", node.name);
                n += 1;
            }
            if candidate != node.name {
                Arc::make_mut(node).name = candidate;
            }
        }
    }

    fn place_nodes(&mut self, placed: &[(Place, NodeId)]) {
        let mut before: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let mut after: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let (mut start, mut end) = (Vec::new(), Vec::new());
        for (place, id) in placed {
            match place {
                Place::Before(node) => before.entry(*node).or_default().push(*id),
                Place::After(node) => after.entry(*node).or_default().push(*id),
                Place::Start => start.push(*id),
                Place::End => end.push(*id),
            }
        }
        let mut order = Vec::with_capacity(self.order.len() + placed.len());
        // A new node may itself be an anchor, so places are followed depth first.
        let mut stack: Vec<(NodeId, bool)> = Vec::new();
        for id in start.into_iter().chain(self.order.iter().copied()).chain(end) {
            stack.push((id, false));
            while let Some((id, expanded)) = stack.pop() {
                if expanded {
                    order.push(id);
                    continue;
                }
                stack.extend(after.remove(&id).into_iter().flatten().rev().map(|id| (id, false)));
                stack.push((id, true));
                stack.extend(before.remove(&id).into_iter().flatten().rev().map(|id| (id, false)));
            }
        }
        order.retain(|id| self.nodes[id.index()].is_some());
        self.order = order;
    }

    /// Finds again what every node's subgraphs capture.
    fn capture_anew(&mut self, patch: &Patch) -> Result<(), GraphError> {
        for id in self.order.clone() {
            let node = self.nodes[id.index()].as_deref().expect("the order holds live nodes");
            if node.attributes.iter().all(|attribute| attribute.graphs().is_empty()) {
                continue;
            }
            let mut implicit_inputs = Vec::new();
            for name in captured_names(&node.attributes) {
                let value =
                    self.value_named(&name).ok_or_else(|| self.no_such(patch, format!("captured value `{name}`")))?;
                implicit_inputs.push(value);
            }
            let node = self.nodes[id.index()].as_mut().expect("the order holds live nodes");
            if node.implicit_inputs != implicit_inputs {
                Arc::make_mut(node).implicit_inputs = implicit_inputs;
            }
        }
        Ok(())
    }

    fn expect_node(&mut self, patch: &Patch, id: NodeId) -> Result<&mut Node, GraphError> {
        let missing = || GraphError::NoSuchPart {
            patch: patch.name.clone(),
            graph: self.name.clone(),
            what: format!("node {}", id.index()),
        };
        self.nodes.get_mut(id.index()).and_then(Option::as_mut).map(Arc::make_mut).ok_or_else(missing)
    }

    fn expect_value(&self, patch: &Patch, id: ValueId) -> Result<(), GraphError> {
        if id.index() < self.values.len() { Ok(()) } else { Err(self.no_such(patch, format!("value {}", id.index()))) }
    }

    fn no_such(&self, patch: &Patch, what: String) -> GraphError {
        GraphError::NoSuchPart { patch: patch.name.clone(), graph: self.name.clone(), what }
    }
}

fn reads(node: &Node, value: ValueId) -> bool {
    node.inputs.contains(&Some(value))
}

fn has_graphs(node: &Node) -> bool {
    node.attributes.iter().any(|attribute| !attribute.graphs().is_empty())
}

fn set_slot(slots: &mut Vec<Option<ValueId>>, index: usize, value: Option<ValueId>) {
    if slots.len() <= index {
        slots.resize(index + 1, None);
    }
    slots[index] = value;
}
