//! Changes to the graph, under ONNX Runtime's rules (graph_utils.cc and graph.cc, ORT 1.31).

use std::collections::VecDeque;
use std::sync::Arc;

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::{Arg, ArgId, Net, Op, OpId, Use};

impl Net {
    /// Adds a node with the next free index; its outputs are made by it from now on.
    pub(crate) fn push_op(&mut self, op: Op) -> OpId {
        let id = OpId::new(self.ops.len());
        self.forget_order();
        for (slot, arg) in op.inputs.iter().copied().chain(op.implicit.iter().copied().map(Some)).enumerate() {
            if let Some(arg) = arg {
                self.add_use(arg, Use { op: id, slot });
            }
        }
        for (index, arg) in op.outputs.iter().enumerate() {
            if let Some(arg) = arg {
                self.args[arg.index()].producer = Some((id, index));
            }
        }
        self.ops.push(Some(op));
        self.dirty.push(true);
        id
    }

    /// A new node of ONNX Runtime's making: unique name, provider of the node it stands for.
    pub(crate) fn add_op(&mut self, like: OpId, base_name: &str, op: Op) -> OpId {
        let name = self.generate_op_name(base_name);
        let provider = self.op(like).provider;
        self.push_op(Op { name, provider, ..op })
    }

    fn add_use(&mut self, arg: ArgId, reading: Use) {
        self.forget_order();
        let uses = &mut self.args[arg.index()].uses;
        if let Err(at) = uses.binary_search(&reading) {
            uses.insert(at, reading);
        }
    }

    fn remove_use(&mut self, arg: ArgId, reading: Use) {
        self.forget_order();
        let uses = &mut self.args[arg.index()].uses;
        if let Ok(at) = uses.binary_search(&reading) {
            uses.remove(at);
        }
    }

    /// Removes a node; its outputs are made by nobody unless another node took them over.
    pub(crate) fn remove_op(&mut self, id: OpId) {
        let Some(op) = self.ops[id.index()].take() else { return };
        self.forget_order();
        let args = op.inputs.iter().copied().chain(op.implicit.iter().copied().map(Some));
        for (slot, arg) in args.enumerate() {
            if let Some(arg) = arg {
                self.remove_use(arg, Use { op: id, slot });
            }
        }
        for arg in op.outputs.iter().flatten() {
            let producer = &mut self.args[arg.index()].producer;
            if producer.is_some_and(|(by, _)| by == id) {
                *producer = None;
            }
        }
    }

    /// Makes a node read another value; adds inputs up to `slot` if it has fewer.
    pub(crate) fn set_input(&mut self, id: OpId, slot: usize, arg: Option<ArgId>) {
        let n_inputs = self.op(id).inputs.len();
        if slot >= n_inputs {
            // Captured inputs are counted after the explicit ones.
            let implicit = self.op(id).implicit.clone();
            for (index, arg) in implicit.iter().enumerate() {
                self.remove_use(*arg, Use { op: id, slot: n_inputs + index });
                self.add_use(*arg, Use { op: id, slot: slot + 1 + index });
            }
            self.op_mut(id).inputs.resize(slot + 1, None);
        }
        let old = std::mem::replace(&mut self.op_mut(id).inputs[slot], arg);
        if let Some(old) = old {
            self.remove_use(old, Use { op: id, slot });
        }
        if let Some(arg) = arg {
            self.add_use(arg, Use { op: id, slot });
        }
        self.dirty[id.index()] = true;
    }

    /// Makes one reading read another value; a captured one is followed into the bodies.
    pub(crate) fn redirect(&mut self, reading: Use, to: ArgId) {
        let n_inputs = self.op(reading.op).inputs.len();
        if reading.slot < n_inputs {
            self.set_input(reading.op, reading.slot, Some(to));
            return;
        }
        let index = reading.slot - n_inputs;
        let from = self.op(reading.op).implicit[index];
        let (from_name, to_name) = (self.arg(from).name.clone(), self.arg(to).name.clone());
        self.remove_use(from, reading);
        if self.op(reading.op).implicit.contains(&to) {
            // Already captured: the two become one, and the ones behind move up.
            let implicit = self.op(reading.op).implicit.clone();
            for (index, arg) in implicit.iter().enumerate() {
                self.remove_use(*arg, Use { op: reading.op, slot: n_inputs + index });
            }
            self.op_mut(reading.op).implicit.remove(index);
            let implicit = self.op(reading.op).implicit.clone();
            for (index, arg) in implicit.iter().enumerate() {
                self.add_use(*arg, Use { op: reading.op, slot: n_inputs + index });
            }
        } else {
            self.op_mut(reading.op).implicit[index] = to;
            self.add_use(to, reading);
        }
        for body in &mut self.op_mut(reading.op).bodies {
            body.net.rename_captured(&from_name, &to_name);
        }
        self.dirty[reading.op.index()] = true;
    }

    pub(crate) fn rename_captured(&mut self, from: &str, to: &str) {
        let Some(id) = self.arg_named(from).filter(|id| self.arg(*id).is_captured) else { return };
        match self.arg_named(to) {
            Some(other) => {
                for reading in self.arg(id).uses.clone() {
                    self.redirect(reading, other);
                }
                for output in &mut self.outputs {
                    if *output == id {
                        *output = other;
                    }
                }
                let was_output = std::mem::take(&mut self.args[id.index()].is_output);
                self.args[other.index()].is_output |= was_output;
            }
            None => {
                self.names.remove(from);
                self.names.insert(to.to_owned(), id);
                self.args[id.index()].name = to.to_owned();
                for op in self.ops.iter_mut().flatten() {
                    for body in &mut op.bodies {
                        body.net.rename_captured(from, to);
                    }
                }
            }
        }
    }

    /// Makes all readers of one value read another.
    pub(crate) fn replace_uses(&mut self, from: ArgId, to: ArgId) {
        if from == to {
            return;
        }
        // From the back: removing a captured input moves those behind it.
        while let Some(reading) = self.arg(from).uses.last().copied() {
            self.redirect(reading, to);
        }
    }

    /// Makes a node produce a value; whoever made it before no longer does.
    pub(crate) fn set_output(&mut self, id: OpId, index: usize, arg: Option<ArgId>) {
        self.forget_order();
        let op = self.op_mut(id);
        if op.outputs.len() <= index {
            op.outputs.resize(index + 1, None);
        }
        let old = std::mem::replace(&mut op.outputs[index], arg);
        if let Some(old) = old.filter(|old| Some(*old) != arg) {
            let producer = &mut self.args[old.index()].producer;
            if *producer == Some((id, index)) {
                *producer = None;
            }
        }
        if let Some(arg) = arg {
            self.args[arg.index()].producer = Some((id, index));
        }
        self.dirty[id.index()] = true;
    }

    /// `FinalizeNodeFusion`: `replacement` takes the outputs of the last node, all nodes go.
    pub(crate) fn fuse(&mut self, nodes: &[OpId], replacement: OpId) {
        let Some(last) = nodes.last() else { return };
        let outputs = self.op(*last).outputs.clone();
        for id in nodes {
            if *id != replacement {
                self.remove_op(*id);
            }
        }
        let n_outputs = self.op(replacement).outputs.len();
        for index in outputs.len()..n_outputs {
            self.set_output(replacement, index, None);
        }
        self.op_mut(replacement).outputs.truncate(outputs.len());
        for (index, arg) in outputs.into_iter().enumerate() {
            self.set_output(replacement, index, arg);
        }
    }

    /// Whether a node can go so that its one used output becomes its input (`CanRemoveNode`).
    pub(crate) fn can_remove(&self, id: OpId) -> bool {
        self.only_one_output_used(id)
            && !self.makes_graph_output(id)
            && self.passed_input(id).is_some_and(|input| self.bodies_allow(id, input))
    }

    /// The input that would replace the output of a removed node.
    fn passed_input(&self, id: OpId) -> Option<ArgId> {
        let op = self.op(id);
        if self.n_input_edges(id) == 1 {
            let all = op.inputs.iter().flatten().chain(&op.implicit);
            return all.copied().find(|arg| self.arg(*arg).producer.is_some());
        }
        if op.inputs.len() == 1 { op.input(0) } else { None }
    }

    fn only_one_output_used(&self, id: OpId) -> bool {
        let outputs = self.op(id).outputs.iter().flatten();
        outputs.filter(|arg| !self.arg(**arg).uses.is_empty() || self.arg(**arg).is_output).count() <= 1
    }

    /// Whether bodies that capture the node's output can capture `to` instead
    /// (`CanUpdateImplicitInputNameInSubgraphs`).
    pub(crate) fn bodies_allow(&self, id: OpId, to: ArgId) -> bool {
        let name = &self.arg(to).name;
        self.output_edges(id)
            .iter()
            .filter(|edge| edge.slot >= self.op(edge.op).inputs.len())
            .all(|edge| self.op(edge.op).bodies.iter().all(|body| !body.net.has_name(name)))
    }

    /// Whether a live value of this graph or a graph inside it has a name.
    fn has_name(&self, name: &str) -> bool {
        self.arg_named(name).is_some_and(|id| {
            let arg = self.arg(id);
            arg.is_output || !arg.uses.is_empty() || arg.producer.is_some() || arg.constant.is_some() || arg.is_input
        })
    }

    /// Removes a node; whoever read its output reads its input.
    pub(crate) fn bypass(&mut self, id: OpId) -> bool {
        let Some(input) = self.passed_input(id) else { return false };
        let outputs = self.op(id).outputs.clone();
        for output in outputs.into_iter().flatten() {
            self.replace_uses(output, input);
        }
        self.remove_op(id);
        true
    }

    /// Removes a node and, going up, those that only it needed (`RemoveNodesWithOneOutputBottomUp`).
    pub(crate) fn remove_upwards(&mut self, start: OpId) {
        let mut queue = VecDeque::from([start]);
        while let Some(id) = queue.pop_front() {
            let Some(op) = self.get(id) else { continue };
            if self.n_output_edges(id) > 1 || self.makes_graph_output(id) {
                continue;
            }
            for arg in op.inputs.iter().flatten() {
                if self.arg(*arg).is_input || self.arg(*arg).constant.is_some() {
                    continue;
                }
                queue.extend(self.producer(*arg));
            }
            if id == start || !self.has_output_edges(id) {
                self.remove_op(id);
            }
        }
    }

    /// A new value.
    pub(crate) fn add_arg(&mut self, name: &str, elem: Option<DataType>, shape: Option<Vec<Dim>>) -> ArgId {
        let name = self.generate_arg_name(name);
        self.push_arg(Arg { name, elem, shape, ..Arg::default() })
    }

    /// A new initializer; its name is made unique.
    pub(crate) fn add_constant(&mut self, tensor: TensorProto) -> ArgId {
        let arg = self.add_arg(tensor.name(), None, None);
        self.set_constant(arg, tensor);
        arg
    }

    /// Makes a value an initializer.
    pub(crate) fn set_constant(&mut self, id: ArgId, mut tensor: TensorProto) {
        let arg = &mut self.args[id.index()];
        tensor.name = Some(arg.name.clone());
        arg.elem = tensor.element_type().ok();
        arg.shape = Some(tensor.dims.iter().map(|dim| Dim::Known(*dim)).collect());
        arg.constant = Some(Arc::new(tensor));
        self.mark_readers(id);
    }

    /// The readers of a value must have their shapes inferred anew.
    pub(crate) fn mark_readers(&mut self, id: ArgId) {
        for reading in &self.args[id.index()].uses {
            self.dirty[reading.op.index()] = true;
        }
    }

    pub(crate) fn set_attribute(&mut self, id: OpId, name: &str, value: AttributeValue) {
        let op = self.op_mut(id);
        op.attributes.insert(name.to_owned(), value);
        op.touched.push(name.to_owned());
        self.dirty[id.index()] = true;
    }

    pub(crate) fn remove_attribute(&mut self, id: OpId, name: &str) {
        let op = self.op_mut(id);
        op.attributes.remove(name);
        op.touched.push(name.to_owned());
    }

    /// `Graph::GenerateNodeName`.
    pub(crate) fn generate_op_name(&mut self, base: &str) -> String {
        if self.generated_op_names.is_empty() {
            // Names in the file count as taken.
            let names: Vec<String> = self.ops.iter().flatten().map(|op| op.name.clone()).collect();
            self.generated_op_names.extend(names);
        }
        let mut name = base.to_owned();
        while self.generated_op_names.contains(&name) {
            name = format!("{base}_token_{}", self.n_generated);
            self.n_generated += 1;
        }
        self.generated_op_names.insert(name.clone());
        name
    }

    /// `Graph::GenerateNodeArgName`.
    pub(crate) fn generate_arg_name(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        while self.names.contains_key(&name) {
            name = format!("{base}_token_{}", self.n_generated);
            self.n_generated += 1;
        }
        name
    }
}
