//! Types and shapes brought up to date after a transform (`Graph::Resolve`, ORT 1.31).

use std::sync::Arc;

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::{ArgId, Net, OpId};
use crate::rewrite::infer::{Inferred, infer, propagate};

/// What a body may know of a captured value.
#[derive(Clone, Debug)]
pub(crate) struct Outer {
    name: String,
    elem: Option<DataType>,
    shape: Option<Vec<Dim>>,
    constant: Option<Arc<TensorProto>>,
}

impl Net {
    /// Infers the outputs of all nodes whose inputs changed, and what follows from them.
    pub(crate) fn resolve(&mut self) {
        if !self.dirty.iter().any(|dirty| *dirty) {
            return;
        }
        for id in self.topological_order() {
            self.resolve_op(id);
        }
    }

    /// Infers one node, if its inputs changed.
    pub(crate) fn resolve_op(&mut self, id: OpId) {
        if !std::mem::take(&mut self.dirty[id.index()]) {
            return;
        }
        if self.op(id).bodies.is_empty() {
            let inferred = infer(self, id);
            let known = propagate(self, id);
            let outputs = self.op(id).outputs.clone();
            for (output, inferred) in outputs.iter().zip(inferred) {
                if let Some(output) = output {
                    self.merge(*output, inferred);
                }
            }
            if let (Some(known), Some(Some(output))) = (known, outputs.first())
                && self.arg(*output).known.as_ref() != Some(&known)
            {
                self.arg_mut(*output).known = Some(known);
                self.mark_readers(*output);
            }
        } else {
            self.resolve_bodies(id);
        }
    }

    /// Infers the bodies of a node and what its outputs are, then.
    fn resolve_bodies(&mut self, id: OpId) {
        let outer = self.outer_of(id);
        let mut bodies = std::mem::take(&mut self.op_mut(id).bodies);
        for body in &mut bodies {
            body.net.enter(&outer);
            body.net.resolve();
        }
        let op = self.op(id);
        let op_type = op.op_type.clone();
        let outputs = op.outputs.clone();
        for (index, output) in outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let of_bodies: Vec<Inferred> = bodies
                .iter()
                .filter_map(|body| Some(body.net.arg(*body.net.outputs.get(index)?)))
                .map(|arg| Inferred { elem: arg.elem, shape: arg.shape.clone() })
                .collect();
            if let Some(inferred) = combine(&op_type, &of_bodies) {
                self.merge(*output, inferred);
            }
        }
        self.op_mut(id).bodies = bodies;
    }

    /// What the bodies of a node may know.
    pub(crate) fn outer_of(&self, id: OpId) -> Vec<Outer> {
        let implicit = &self.op(id).implicit;
        implicit
            .iter()
            .map(|arg| {
                let constant = self.constant(*arg).cloned();
                let arg = self.arg(*arg);
                Outer { name: arg.name.clone(), elem: arg.elem, shape: arg.shape.clone(), constant }
            })
            .collect()
    }

    /// Tells a body about the values that it captures.
    pub(crate) fn enter(&mut self, outer: &[Outer]) {
        for value in outer {
            let Some(id) = self.arg_named(&value.name).filter(|id| self.arg(*id).is_captured) else { continue };
            let arg = self.arg_mut(id);
            let same = arg.elem == value.elem
                && arg.shape == value.shape
                && arg.outer_constant.is_some() == value.constant.is_some();
            arg.elem = value.elem;
            arg.shape = value.shape.clone();
            arg.outer_constant = value.constant.clone();
            if !same {
                self.mark_readers(id);
            }
        }
    }

    /// Merges what was inferred into what is known: a number beats a name, a name beats nothing.
    fn merge(&mut self, id: ArgId, inferred: Inferred) {
        let arg = self.arg_mut(id);
        let mut changed = false;
        if inferred.elem.is_some() && inferred.elem != arg.elem {
            arg.elem = inferred.elem;
            changed = true;
        }
        if let Some(new) = inferred.shape {
            let merged = match &arg.shape {
                Some(old) if old.len() == new.len() => old.iter().zip(&new).map(|(old, new)| pick(old, new)).collect(),
                _ => new,
            };
            if arg.shape.as_ref() != Some(&merged) {
                arg.shape = Some(merged);
                changed = true;
            }
        }
        if changed {
            self.mark_readers(id);
        }
    }
}

fn pick(old: &Dim, new: &Dim) -> Dim {
    match (old, new) {
        (Dim::Known(_), _) => old.clone(),
        (_, Dim::Known(_)) => new.clone(),
        (Dim::Unknown, _) => new.clone(),
        _ => old.clone(),
    }
}

/// The output of a control-flow node: for `If`, what both branches agree on.
fn combine(op_type: &str, bodies: &[Inferred]) -> Option<Inferred> {
    if op_type != "If" {
        return None;
    }
    let (first, rest) = bodies.split_first()?;
    let mut shape = first.shape.clone();
    for other in rest {
        shape = match (shape, &other.shape) {
            (Some(one), Some(other)) if one.len() == other.len() => {
                Some(one.iter().zip(other).map(|(a, b)| if a == b { a.clone() } else { Dim::Unknown }).collect())
            }
            _ => None,
        };
    }
    Some(Inferred { elem: first.elem, shape })
}
