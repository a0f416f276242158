//! From the rewritten graph to one patch of the original.

use std::sync::Arc;

use onnxfit_graph::{Graph, GraphError, NewNode, Patch, Place, ValueId, ValueType};

use super::{Arg, ArgId, Net, Op};

impl Net {
    /// The patch that makes `graph`, which this net was read from, into what it is now.
    pub(crate) fn patch(&self, graph: &Graph) -> Result<Patch, GraphError> {
        let mut patch = Patch::new(graph, "onnxruntime-rewrites");
        let mut ids: Vec<Option<ValueId>> = vec![None; self.args.len()];
        self.remove_nodes(graph, &mut patch);
        for id in self.arg_ids() {
            let arg = self.arg(id);
            let is_needed = arg.is_input || arg.is_output || !arg.uses.is_empty();
            match arg.origin {
                Some(value) => {
                    ids[id.index()] = Some(value);
                    if arg.is_captured && arg.name != graph.value(value).name {
                        patch.rename_value(value, &arg.name);
                    }
                    match &arg.constant {
                        Some(_) if !is_needed => patch.remove_initializer(value),
                        Some(tensor) => {
                            // Bytes that were only looked at stay where they lie.
                            let old = graph.value(value).tensor();
                            let same = [old, arg.read_in.as_ref()].iter().flatten().any(|old| Arc::ptr_eq(old, tensor));
                            if !same {
                                patch.set_initializer(value, (**tensor).clone());
                            }
                        }
                        None if graph.value(value).constant.is_some() && graph.value(value).tensor().is_some() => {
                            patch.remove_initializer(value);
                        }
                        None => {}
                    }
                    // What a value was known to be while another node made it stays known.
                    let maker = arg.producer.and_then(|(op, _)| self.op(op).origin);
                    let is_made_anew =
                        arg.producer.is_some() && maker != graph.value(value).producer.map(|(node, _)| node);
                    if is_made_anew && arg.shape.is_some() && arg.other.is_none() {
                        patch.set_type(value, arg.ty());
                    }
                }
                None if !is_needed && arg.producer.is_none() => {}
                None => {
                    let value = match &arg.constant {
                        Some(tensor) => patch.add_initializer((**tensor).clone()),
                        None => patch.add_value(&arg.name, arg.ty()),
                    };
                    ids[id.index()] = Some(value);
                }
            }
        }
        for (position, output) in self.outputs.iter().enumerate() {
            let old = graph.outputs()[position];
            if let Some(new) = ids[output.index()].filter(|new| *new != old) {
                patch.replace_graph_output(old, new);
            }
        }
        for id in self.ids() {
            self.emit_op(self.op(id), graph, &ids, &mut patch)?;
        }
        Ok(patch)
    }

    fn remove_nodes(&self, graph: &Graph, patch: &mut Patch) {
        let mut kept = vec![false; graph.node_capacity()];
        for op in self.ops.iter().flatten() {
            if let Some(origin) = op.origin {
                kept[origin.index()] = true;
            }
        }
        for (id, _) in graph.nodes().filter(|(id, _)| !kept[id.index()]) {
            patch.remove_node(id);
        }
    }

    fn emit_op(&self, op: &Op, graph: &Graph, ids: &[Option<ValueId>], patch: &mut Patch) -> Result<(), GraphError> {
        let value = |arg: &Option<ArgId>| arg.and_then(|arg| ids[arg.index()]);
        let Some(origin) = op.origin else {
            let mut attributes: Vec<_> =
                op.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            for body in &op.bodies {
                let mut graph = (*body.source).clone();
                let patch = body.net.patch(&graph)?;
                graph.apply(&patch)?;
                attributes.push((body.attribute.clone(), onnxfit_graph::AttributeValue::Graph(Box::new(graph))));
            }
            patch.add_node(
                Place::End,
                NewNode {
                    name: op.name.clone(),
                    op_type: op.op_type.clone(),
                    domain: op.domain.clone(),
                    inputs: op.inputs.iter().map(value).collect(),
                    outputs: op.outputs.iter().map(value).collect(),
                    attributes,
                },
            );
            return Ok(());
        };
        let node = graph.node(origin);
        let n_inputs = op.inputs.len().max(node.inputs.len());
        for slot in 0..n_inputs {
            let new = op.input(slot).and_then(|arg| ids[arg.index()]);
            if new != node.input(slot) {
                patch.set_input(origin, slot, new);
            }
        }
        for index in 0..op.outputs.len().max(node.outputs.len()) {
            let new = op.output(index).and_then(|arg| ids[arg.index()]);
            if new != node.output(index) {
                patch.set_output(origin, index, new);
            }
        }
        if op.op_type != node.op_type || op.domain != node.domain {
            patch.set_operator(origin, &op.domain, &op.op_type);
        }
        for name in &op.touched {
            match op.attributes.get(name) {
                Some(value) => patch.set_attribute(origin, name, value.clone()),
                None => patch.remove_attribute(origin, name),
            }
        }
        for body in &op.bodies {
            let inner = node.attributes.iter().find(|attribute| attribute.name == body.attribute);
            if let Some(inner) = inner.and_then(|attribute| attribute.graphs().get(body.index)) {
                let inner_patch = body.net.patch(inner)?;
                if !inner_patch.is_empty() {
                    patch.subgraph(origin, &body.attribute, body.index, inner_patch);
                }
            }
        }
        Ok(())
    }
}

impl Arg {
    fn ty(&self) -> ValueType {
        match (self.elem, &self.shape, &self.other) {
            (_, _, Some(other)) => other.clone(),
            (Some(elem), shape, _) => {
                ValueType::Tensor(onnxfit_graph::TensorType { element_type: Some(elem), shape: shape.clone() })
            }
            (None, ..) => ValueType::Unknown,
        }
    }
}
