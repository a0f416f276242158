//! Copies between host and device where both sides read a value.
//!
//! `optimizer/transformer_memcpy.cc` (ORT 1.31): weights are duplicated, everything else gets one
//! `MemcpyFromHost` or `MemcpyToHost` node a value, appended in order of the value's name.

use std::collections::BTreeMap;

use super::{output_place, reads_on_host};
use crate::program::{Node, NodeProvider, Place, Program, Value, ValueIdx, Weight};

/// Which sides touch a value.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    read_on_host: bool,
    read_on_device: bool,
    made_on_host: bool,
    made_on_device: bool,
}

pub(super) fn insert(program: &mut Program) -> usize {
    let sides = sides(program);
    duplicate_weights(program, &sides);
    let feeds: Vec<ValueIdx> = program.inputs.clone();
    let by_name: BTreeMap<String, ValueIdx> = (0..sides.len())
        .map(ValueIdx::new)
        .filter(|value| sides[value.index()].made_on_host || sides[value.index()].made_on_device)
        .map(|value| (program.value(value).name.to_string(), value))
        .collect();
    let mut n_copies = 0;
    let both = |value: &ValueIdx| sides[value.index()].read_on_host && sides[value.index()].read_on_device;
    let to_device =
        by_name.values().filter(|value| sides[value.index()].made_on_host && sides[value.index()].read_on_device);
    let uploads: Vec<ValueIdx> = feeds.iter().filter(|value| both(value)).chain(to_device).copied().collect();
    let downloads: Vec<ValueIdx> = by_name
        .values()
        .filter(|value| sides[value.index()].made_on_device && sides[value.index()].read_on_host)
        .copied()
        .collect();
    for value in uploads {
        let copy = copy_of(program, value);
        redirect_device_readers(program, value, copy);
        append(program, copy_node(n_copies, "MemcpyFromHost", value, copy));
        n_copies += 1;
    }
    for value in downloads {
        let original = copy_of(program, value);
        redirect_device_readers(program, value, original);
        for node in program.nodes.iter_mut().filter(|node| node.provider == NodeProvider::Cuda) {
            for output in node.outputs.iter_mut().flatten().filter(|output| **output == value) {
                *output = original;
            }
        }
        append(program, copy_node(n_copies, "MemcpyToHost", original, value));
        n_copies += 1;
    }
    n_copies
}

fn sides(program: &Program) -> Vec<Sides> {
    let mut sides = vec![Sides::default(); program.values.len()];
    for node in &program.nodes {
        for (position, input) in node.inputs.iter().enumerate() {
            let Some(input) = *input else { continue };
            let side = &mut sides[input.index()];
            if reads_on_host(node, position) {
                side.read_on_host = true;
            } else {
                side.read_on_device = true;
            }
        }
        for (position, output) in node.outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            let side = &mut sides[output.index()];
            match output_place(node, position) {
                Place::Device => side.made_on_device = true,
                Place::Host | Place::Pinned => side.made_on_host = true,
            }
        }
    }
    sides
}

fn duplicate_weights(program: &mut Program, sides: &[Sides]) {
    let shared: Vec<Weight> = program
        .weights
        .iter()
        .filter(|weight| sides[weight.value.index()].read_on_host && sides[weight.value.index()].read_on_device)
        .cloned()
        .collect();
    for weight in shared {
        let copy = copy_of(program, weight.value);
        redirect_device_readers(program, weight.value, copy);
        program.weights.push(Weight { value: copy, ..weight });
    }
}

/// A new value like an old one.
fn copy_of(program: &mut Program, value: ValueIdx) -> ValueIdx {
    let name = format!("{}_CUDAExecutionProvider", program.value(value).name);
    let copy = Value { name: name.into(), copy_of: Some(value), ..program.value(value).clone() };
    program.values.push(copy);
    ValueIdx::new(program.values.len() - 1)
}

fn redirect_device_readers(program: &mut Program, from: ValueIdx, to: ValueIdx) {
    for node in program.nodes.iter_mut().filter(|node| node.provider == NodeProvider::Cuda) {
        for position in 0..node.inputs.len() {
            if node.inputs[position] == Some(from) && !reads_on_host(node, position) {
                node.inputs[position] = Some(to);
            }
        }
    }
}

/// Adds a node with the next free index.
fn append(program: &mut Program, node: Node) {
    let runtime_index = program.nodes.iter().map(|node| node.runtime_index + 1).max().unwrap_or(0);
    program.nodes.push(Node { runtime_index, ..node });
}

fn copy_node(number: usize, op_type: &str, from: ValueIdx, to: ValueIdx) -> Node {
    Node {
        name: if number == 0 { "Memcpy".into() } else { format!("Memcpy_token_{number}").into() },
        op_type: op_type.into(),
        opset: 1,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        provider: NodeProvider::Cuda,
        ..Node::default()
    }
}
