//! Writes a decision into the model: new types, new content, and the casts between.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;
use onnxfit_graph::{AttributeValue, Graph, Model, NewNode, Node, Patch, Place, TensorType, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::convert::HalfType;
use super::elements::Element;
use super::islands::Facts;
use super::slots::{BORDER, Slots};
use super::source::Conversions;
use super::storage::{N_ELEMENTS_LARGE, half_tensor};
use super::world::{World, constant_node_tensor};
use crate::RewriteError;

/// What was decided.
pub(super) struct Decision<'a> {
    /// By variable: whether it changes.
    pub(super) is_half: &'a [bool],
    /// The fixed tensors that change.
    pub(super) stored: &'a BTreeSet<usize>,
    pub(super) target: HalfType,
}

/// The model that came of it.
pub(super) struct Emitted {
    pub(super) model: Model,
    pub(super) conversions: Conversions,
    pub(super) n_casts: usize,
    /// Small tensors that are needed in both types.
    pub(super) copied_bytes: Bytes,
}

struct Emitter<'a, 'm> {
    facts: &'a Facts<'a, 'm>,
    slots: &'a Slots,
    decision: &'a Decision<'a>,
    patches: Vec<Patch>,
    /// By scope, value and type: the value to read instead.
    copies: BTreeMap<(usize, usize, bool), ValueId>,
    /// Outputs of the model whose maker now has another type: what it makes instead.
    renamed: BTreeMap<usize, ValueId>,
    names: BTreeSet<String>,
    conversions: Conversions,
    n_casts: usize,
    copied_bytes: Bytes,
}

pub(super) fn emit(facts: &Facts<'_, '_>, slots: &Slots, decision: &Decision<'_>) -> Result<Emitted, RewriteError> {
    let world = facts.world;
    let mut emitter = Emitter {
        facts,
        slots,
        decision,
        patches: world.scopes.iter().map(|scope| Patch::new(scope.graph, "half")).collect(),
        copies: BTreeMap::new(),
        renamed: BTreeMap::new(),
        names: world
            .scopes
            .iter()
            .flat_map(|scope| scope.graph.values().map(|(_, value)| value.name.clone()))
            .collect(),
        conversions: Conversions::default(),
        n_casts: 0,
        copied_bytes: Bytes::ZERO,
    };
    emitter.fixed_tensors()?;
    emitter.types();
    emitter.border_outputs();
    emitter.nodes()?;
    emitter.readers()?;
    emitter.body_outputs()?;
    let mut patches = emitter.patches;
    // Bodies come after the graph around them, so the innermost are folded in first.
    for scope in (1..world.scopes.len()).rev() {
        let patch = patches.remove(scope);
        if let Some(parent) = world.scopes[scope].parent.as_ref().filter(|_| !patch.is_empty()) {
            patches[parent.scope].subgraph(parent.node, parent.attribute, parent.index, patch);
        }
    }
    let mut model = world.model.clone();
    model.graph.apply(&patches.remove(0))?;
    drop_idle_casts(&mut model)?;
    Ok(Emitted {
        model,
        conversions: emitter.conversions,
        n_casts: emitter.n_casts,
        copied_bytes: emitter.copied_bytes,
    })
}

impl<'a, 'm> Emitter<'a, 'm> {
    fn world(&self) -> &'a World<'m> {
        self.facts.world
    }

    /// Whether a float definition is kept or made in the half type.
    fn is_half(&self, definition: usize) -> bool {
        match self.slots.makers.get(&definition) {
            Some(maker) => self.decision.is_half[*maker],
            None => self.decision.stored.contains(&definition),
        }
    }

    fn tensor_type(&self, value: usize, is_half: bool) -> ValueType {
        let shape = self.world().declared(value).as_tensor().and_then(|tensor| tensor.shape.clone());
        let element_type = if is_half { self.decision.target.data_type() } else { DataType::Float };
        ValueType::Tensor(TensorType { element_type: Some(element_type), shape })
    }

    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        name
    }

    fn type_name(&self, is_half: bool) -> &'static str {
        if is_half { self.decision.target.data_type().name() } else { DataType::Float.name() }
    }

    /// Initializers and `Constant` nodes that change.
    fn fixed_tensors(&mut self) -> Result<(), RewriteError> {
        for value in self.decision.stored {
            let world = self.facts.world;
            let (scope, id) = world.place(*value);
            let entry = world.get(*value);
            let tensor = entry.tensor().cloned().or_else(|| world.fixed_tensor(*value));
            let Some(tensor) = tensor else { continue };
            let half =
                half_tensor(&entry.name, &tensor, self.decision.target, self.facts.weights, &mut self.conversions)?;
            match entry.producer.filter(|_| entry.constant.is_none()) {
                Some((node, _)) => {
                    let patch = &mut self.patches[scope];
                    for name in ["value_float", "value_floats"] {
                        patch.remove_attribute(node, name);
                    }
                    patch.set_attribute(node, "value", AttributeValue::Tensor(half.into()));
                }
                None => self.patches[scope].set_initializer(id, half),
            }
        }
        Ok(())
    }

    /// The declarations of values that change.
    fn types(&mut self) {
        for value in 0..self.world().n_values() {
            let is_changed = self.world().definition[value] == value
                && self.facts.elements[value].is_float()
                && self.world().get(value).ty.as_tensor().is_some()
                && self.is_half(value);
            // Outputs of the model are declared by the border, not by who makes them.
            let is_output = self.world().place(value).0 == 0 && self.world().get(value).is_output;
            let is_changed = if is_output {
                self.decision.is_half[BORDER] && self.facts.elements[value].is_float()
            } else {
                is_changed
            };
            if is_changed {
                let (scope, id) = self.world().place(value);
                let ty = self.tensor_type(value, true);
                self.patches[scope].set_type(id, ty);
            }
        }
    }

    /// Outputs of the model keep name and type; if their maker has another type now, what it makes
    /// gets a new name and a cast.
    fn border_outputs(&mut self) {
        let border = self.decision.is_half[BORDER];
        let main = self.world().scopes[0].graph;
        for output in main.outputs() {
            let value = self.world().value(0, *output);
            if !self.facts.elements[value].is_float()
                || self.is_half(value) == border
                || self.renamed.contains_key(&value)
            {
                continue;
            }
            let entry = self.world().get(value);
            let Some((node, index)) = entry.producer else { continue };
            let made = !border;
            let name = self.fresh(&format!("{}_{}", entry.name, self.type_name(made)));
            let ty = self.tensor_type(value, made);
            let new = self.patches[0].add_value(&name, ty);
            self.patches[0].set_output(node, index, Some(new));
            self.add_cast(0, Place::After(node), new, *output, &entry.name, border);
            self.renamed.insert(value, new);
            self.copies.insert((0, value, border), *output);
        }
    }

    /// The node is called what it makes: for the cast of a constant, FuseInitializersTransformer
    /// looks up the reader's input by the name of the node (fuse_initializers_transformer.cc,
    /// ORT 1.31) and reads past the end if it is another.
    fn add_cast(&mut self, scope: usize, place: Place, from: ValueId, to: ValueId, made: &str, is_half: bool) {
        let target = if is_half { self.decision.target.data_type() } else { DataType::Float };
        let node = NewNode::new("Cast", made, &[from], &[to]);
        self.patches[scope].add_node(place, node.with("to", AttributeValue::Int(target.number().into())));
        self.n_casts += 1;
    }

    /// The attributes of nodes that name the type of what they make.
    fn nodes(&mut self) -> Result<(), RewriteError> {
        for (_, scope, node) in self.facts.world.all_nodes() {
            let Some(output) = node.output(0) else { continue };
            let value = self.world().value(scope, output);
            if !self.facts.elements[value].is_float() || !self.slots.makers.contains_key(&value) || !self.is_half(value)
            {
                continue;
            }
            let Some((id, _)) = self.world().get(value).producer else { continue };
            if node.is("Cast") {
                let to = self.decision.target.data_type().number();
                self.patches[scope].set_attribute(id, "to", AttributeValue::Int(to.into()));
            } else if node.is("ConstantOfShape") {
                let fill = match node.attribute("value") {
                    Some(AttributeValue::Tensor(tensor)) => tensor.clone(),
                    _ => TensorProto::from_f32("", &[1], &[0.0]).into(),
                };
                let half =
                    half_tensor(fill.name(), &fill, self.decision.target, self.facts.weights, &mut self.conversions)?;
                self.patches[scope].set_attribute(id, "value", AttributeValue::Tensor(half.into()));
            }
        }
        Ok(())
    }

    fn readers(&mut self) -> Result<(), RewriteError> {
        for ((number, index), variable) in &self.slots.inputs {
            let Some((scope, id, node)) = self.facts.world.node(*number) else { continue };
            let Some(current) = node.input(*index) else { continue };
            let wanted = self.copy(scope, current, self.decision.is_half[*variable])?;
            if wanted != current {
                self.patches[scope].set_input(id, *index, Some(wanted));
            }
        }
        Ok(())
    }

    fn body_outputs(&mut self) -> Result<(), RewriteError> {
        let mut done = BTreeSet::new();
        for ((scope, output), variable) in self.slots.outputs.iter().filter(|((scope, _), _)| *scope > 0) {
            let current = self.facts.world.scopes[*scope].graph.outputs()[*output];
            let wanted = self.copy(*scope, current, self.decision.is_half[*variable])?;
            if wanted != current && done.insert((*scope, current)) {
                self.patches[*scope].replace_graph_output(current, wanted);
            }
        }
        Ok(())
    }

    /// The value to read in a scope for `id` in the wanted type; makes it on first use.
    fn copy(&mut self, scope: usize, id: ValueId, wants_half: bool) -> Result<ValueId, RewriteError> {
        let world = self.facts.world;
        let value = world.value(scope, id);
        let definition = world.definition[value];
        let is_local = definition == value;
        if let Some(known) = self.copies.get(&(scope, value, wants_half)) {
            return Ok(*known);
        }
        if wants_half
            && is_local
            && let Some(shortcut) = self.before_cast(scope, value)
        {
            self.copies.insert((scope, value, true), shortcut);
            return Ok(shortcut);
        }
        let renamed = self.renamed.get(&definition).copied();
        // By its name, which is what a body captures, a renamed output has the border's type.
        let named_half = if renamed.is_some() { self.decision.is_half[BORDER] } else { self.is_half(definition) };
        if is_local && self.is_half(definition) == wants_half {
            return Ok(renamed.unwrap_or(id));
        }
        if !is_local && named_half == wants_half {
            return Ok(id);
        }
        let entry = world.get(definition);
        let base = format!("{}_{}", entry.name, self.type_name(wants_half));
        let name = self.fresh(&base);
        let ty = self.tensor_type(definition, wants_half);
        let new = self.patches[scope].add_value(&name, ty);
        let tensor = world
            .fixed_tensor(definition)
            .filter(|tensor| wants_half && tensor.n_elements().is_ok_and(|n| n < N_ELEMENTS_LARGE));
        match tensor {
            Some(tensor) => {
                let half = half_tensor("", &tensor, self.decision.target, self.facts.weights, &mut self.conversions)?;
                self.copied_bytes = Bytes(self.copied_bytes.get() + half.size_bytes()?.get());
                let node = NewNode::new("Constant", &name, &[], &[new]);
                let node = node.with("value", AttributeValue::Tensor(half.into()));
                self.patches[scope].add_node(Place::Start, node);
            }
            None => {
                let place = match entry.producer.filter(|_| is_local) {
                    Some((node, _)) => Place::After(node),
                    None => Place::Start,
                };
                self.add_cast(scope, place, renamed.filter(|_| is_local).unwrap_or(id), new, &name, wants_half);
            }
        }
        self.copies.insert((scope, value, wants_half), new);
        Ok(new)
    }

    /// What a cast to float reads, if that has the half type already.
    fn before_cast(&self, scope: usize, value: usize) -> Option<ValueId> {
        let world = self.world();
        let (node, _) = world.get(value).producer?;
        let node: &Node = world.scopes[scope].graph.node(node);
        let from = node.input(0).filter(|_| node.is("Cast"))?;
        let source = world.value(scope, from);
        if world.definition[source] != source || self.renamed.contains_key(&source) {
            return None;
        }
        let was_half = self.facts.elements[source] == Element::Tensor(self.decision.target.data_type());
        let is_half = was_half || (self.facts.elements[source].is_float() && self.is_half(source));
        is_half.then_some(from)
    }
}

/// Removes casts that nobody reads any more, and what was moved or copied away with them.
fn drop_idle_casts(model: &mut Model) -> Result<(), RewriteError> {
    /// A chain of casts as long as this is no chain that anybody wrote.
    const ROUNDS_MAX: usize = 8;
    for _ in 0..ROUNDS_MAX {
        let patch = idle_casts(&model.graph);
        if patch.is_empty() {
            break;
        }
        model.graph.apply(&patch)?;
    }
    Ok(())
}

fn idle_casts(graph: &Graph) -> Patch {
    let mut patch = Patch::new(graph, "drop-idle-casts");
    for (id, node) in graph.nodes() {
        let is_idle = |value: &ValueId| graph.value(*value).uses.is_empty() && !graph.value(*value).is_output;
        let is_small = node.is("Cast") || node.is("Transpose") || constant_node_tensor(node).is_some();
        if is_small && node.outputs.iter().flatten().all(is_idle) {
            patch.remove_node(id);
        }
        for attribute in &node.attributes {
            for (index, body) in attribute.graphs().iter().enumerate() {
                let inner = idle_casts(body);
                if !inner.is_empty() {
                    patch.subgraph(id, &attribute.name, index, inner);
                }
            }
        }
    }
    patch
}
