//! What flows into the bodies of control-flow operators, and back out.
//!
//! `Graph::InferAndVerifySubgraphTypes` (ORT 1.31) and ONNX's rules of `If`, `Loop` and `Scan`.

use onnxfit_onnx::DataType;

use super::merge::{merge, union};
use super::query::Inferred;
use super::{Constants, Shape, infer_with};
use crate::program::{DeclaredDim, NodeIdx, Program, Value};

/// Infers the bodies of a node and what its outputs are.
pub(super) fn infer(program: &mut Program, index: NodeIdx, constants: &Constants) -> Vec<Inferred> {
    let bodies: Vec<String> = program.node(index).subgraphs.keys().cloned().collect();
    for name in &bodies {
        // Taken out while the graph around it is read, then put back.
        let Some(mut body) = program.nodes[index.index()].subgraphs.remove(name) else { continue };
        feed_inputs(program, index, &mut body);
        let inner = feed_captures(program, constants, &mut body);
        infer_with(&mut body, inner);
        program.nodes[index.index()].subgraphs.insert(name.clone(), body);
    }
    let node = program.node(index);
    match node.op_type.as_str() {
        "If" => {
            let branches = [node.subgraphs.get("then_branch"), node.subgraphs.get("else_branch")];
            let [Some(then), Some(or_else)] = branches else { return Vec::new() };
            outputs(then).zip(outputs(or_else)).map(|(then, or_else)| agree(then, or_else)).collect()
        }
        "Loop" => {
            let n_carried = node.inputs.len().saturating_sub(2);
            let Some(body) = node.subgraphs.get("body") else { return Vec::new() };
            let stack = |value: &Value| {
                let shape = value
                    .declared
                    .as_ref()
                    .map(|dims| std::iter::once(DeclaredDim::Unknown).chain(dims.iter().cloned()).collect::<Shape>());
                Inferred::new(value.element, shape)
            };
            let carried = |value: &Value| Inferred::new(value.element, None);
            outputs(body)
                .skip(1)
                .enumerate()
                .map(|(position, value)| if position < n_carried { carried(value) } else { stack(value) })
                .collect()
        }
        "Scan" => {
            let n_scanned = node.int("num_scan_inputs", 0).max(0) as usize;
            let n_carried = node.inputs.len().saturating_sub(n_scanned);
            let Some(body) = node.subgraphs.get("body") else { return Vec::new() };
            outputs(body)
                .enumerate()
                .map(|(position, value)| {
                    if position < n_carried {
                        return Inferred::new(value.element, value.declared.clone());
                    }
                    let shape = value
                        .declared
                        .as_ref()
                        .map(|dims| std::iter::once(DeclaredDim::Unknown).chain(dims.iter().cloned()).collect());
                    Inferred::new(value.element, shape)
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn outputs(body: &Program) -> impl Iterator<Item = &Value> {
    body.outputs.iter().map(|output| body.value(*output))
}

fn agree(then: &Value, or_else: &Value) -> Inferred {
    let shape = match (&then.declared, &or_else.declared) {
        (Some(then), Some(or_else)) if then.len() == or_else.len() => Some(union(then, or_else)),
        _ => None,
    };
    Inferred::new(then.element.or(or_else.element), shape)
}

/// Explicit inputs: a loop's carried values may change shape, a scan's inputs lose one axis.
fn feed_inputs(program: &Program, index: NodeIdx, body: &mut Program) {
    let node = program.node(index);
    let n_scanned = node.int("num_scan_inputs", 0).max(0) as usize;
    let n_carried = node.inputs.len().saturating_sub(n_scanned);
    for (position, &inner) in body.inputs.clone().iter().enumerate() {
        let outer = node.input(position).map(|value| program.value(value));
        let target = &mut body.values[inner.index()];
        target.is_tensor &= outer.is_none_or(|outer| outer.is_tensor);
        let (element, shape) = match (node.op_type.as_str(), position, outer) {
            ("Loop", 0, _) => (Some(DataType::Int64), None),
            ("Loop", 1, Some(outer)) => (outer.element, outer.declared.clone()),
            ("Loop", _, Some(outer)) => (outer.element, None),
            ("Scan", position, Some(outer)) if position >= n_carried => {
                let shape = outer.declared.clone().filter(|dims| !dims.is_empty()).map(|mut dims| {
                    dims.remove(0);
                    dims
                });
                (outer.element, shape)
            }
            (_, _, Some(outer)) => (outer.element, outer.declared.clone()),
            (_, _, None) => (None, None),
        };
        target.element = target.element.or(element);
        if let Some(shape) = shape {
            target.declared = match target.declared.take() {
                Some(declared) => merge(&shape, declared),
                None => Some(shape),
            };
        }
    }
}

/// Captured values are what they are outside, contents included.
fn feed_captures(program: &Program, constants: &Constants, body: &mut Program) -> Constants {
    let mut inner = Constants::of(body);
    for capture in body.captured.clone() {
        let Some(outer) = program.values.iter().position(|value| value.name == capture.name) else { continue };
        let at = capture.inner.index();
        let value = &mut body.values[at];
        value.element = program.values[outer].element;
        value.is_tensor = program.values[outer].is_tensor;
        value.declared.clone_from(&program.values[outer].declared);
        value.known_integers.clone_from(&program.values[outer].known_integers);
        inner.integers[at].clone_from(&constants.integers[outer]);
        inner.floats[at].clone_from(&constants.floats[outer]);
    }
    inner
}
