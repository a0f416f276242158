//! An `If` whose condition is constant gives way to the branch it takes.
//!
//! `Graph::InlineIfSubgraph` (graph.cc, ORT 1.31): the branch's nodes are appended in their
//! topological order under new names.

use hashbrown::HashMap;

use crate::rewrite::content;
use crate::rewrite::net::{ArgId, Net, Op, OpId};

/// Inlines the taken branch; `false` if the condition is not known.
pub(super) fn inline_if(net: &mut Net, id: OpId) -> bool {
    let condition = net.op(id).input(0).and_then(|arg| content::integers(net.constant(arg)?)?.first().copied());
    let Some(condition) = condition else { return false };
    let branch = if condition != 0 { "then_branch" } else { "else_branch" };
    let Some(at) = net.op(id).bodies.iter().position(|body| body.attribute == branch) else { return false };
    let prefix = net.generate_op_name(&format!("_if_{branch}"));
    let outputs = net.op(id).outputs.clone();
    let body = net.op_mut(id).bodies.swap_remove(at);
    let mut inner = body.net;
    // The If's own outputs are taken over by the branch's nodes.
    net.remove_op(id);
    let mut map: HashMap<ArgId, ArgId> = HashMap::new();
    for (inside, outside) in inner.outputs.clone().into_iter().zip(&outputs) {
        if let Some(outside) = outside {
            map.insert(inside, *outside);
        }
    }
    for arg in inner.arg_ids() {
        let value = inner.arg(arg);
        if value.is_captured {
            let Some(outside) = net.arg_named(&value.name) else { continue };
            if let Some(output) = map.insert(arg, outside) {
                net.replace_uses(output, outside);
            }
        } else if let Some(tensor) = value.constant.clone() {
            let outside = match map.get(&arg) {
                Some(outside) => *outside,
                None if value.uses.is_empty() => continue,
                None => {
                    let name = format!("{prefix}_{}", value.name);
                    let (elem, shape) = (value.elem, value.shape.clone());
                    let outside = net.add_arg(&name, elem, shape);
                    map.insert(arg, outside);
                    outside
                }
            };
            net.set_constant(outside, (*tensor).clone());
        }
    }
    for inside in inner.topological_order() {
        let op = inner.take_op(inside);
        let moved = transplant(net, &inner, op, &prefix, &mut map);
        net.push_op(moved);
    }
    true
}

/// Rewrites a node of the branch into one of the outer graph.
fn transplant(net: &mut Net, inner: &Net, op: Op, prefix: &str, map: &mut HashMap<ArgId, ArgId>) -> Op {
    let mut outputs = Vec::with_capacity(op.outputs.len());
    for output in &op.outputs {
        outputs.push(output.map(|output| match map.get(&output) {
            Some(outside) => *outside,
            None => {
                let value = inner.arg(output);
                let outside = net.add_arg(&format!("{prefix}_{}", value.name), value.elem, value.shape.clone());
                map.insert(output, outside);
                outside
            }
        }));
    }
    while outputs.last().is_some_and(Option::is_none) {
        outputs.pop();
    }
    let mut inputs: Vec<Option<ArgId>> =
        op.inputs.iter().map(|input| input.and_then(|input| map.get(&input).copied())).collect();
    while inputs.last().is_some_and(Option::is_none) {
        inputs.pop();
    }
    let mut bodies = op.bodies;
    let mut implicit = Vec::with_capacity(op.implicit.len());
    for captured in &op.implicit {
        let Some(outside) = map.get(captured) else { continue };
        let (from, to) = (inner.arg(*captured).name.clone(), net.arg(*outside).name.clone());
        if from != to {
            for body in &mut bodies {
                body.net.rename_captured(&from, &to);
            }
        }
        implicit.push(*outside);
    }
    let name = net.generate_op_name(&format!("{prefix}_{}", op.op_type));
    Op { name, inputs, outputs, implicit, bodies, origin: None, touched: Vec::new(), ..op }
}
