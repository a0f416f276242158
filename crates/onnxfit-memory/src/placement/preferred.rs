//! Nodes that the CUDA provider could run but leaves to the CPU: arithmetic on shapes.
//!
//! `framework/fallback_cpu_capability.cc:GetCpuPreferredNodes` (ORT 1.31): starting at what reads
//! the host outputs of CUDA kernels, a node moves when everything it reads is small or on the host.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use onnxfit_onnx::DataType;

use super::{output_place, reads_on_host};
use crate::order::{ExecutionOrder, execution_order};
use crate::program::{NodeIdx, NodeProvider, Place, Program, ValueIdx};

/// Weights of at most this many elements may be read on either side.
const SMALL_ELEMENTS_MAX: u64 = 100;

pub(super) fn cpu_preferred(program: &Program) -> Vec<NodeIdx> {
    let order = execution_order(program, ExecutionOrder::Default);
    let mut position = vec![0_usize; program.nodes.len()];
    for (at, node) in order.iter().enumerate() {
        position[node.index()] = at;
    }
    let consumers = consumers(program);
    let mut on_host = vec![false; program.values.len()];
    let mut candidates = BinaryHeap::new();
    for index in program.node_indices() {
        let node = program.node(index);
        for (at, output) in node.outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            if node.provider == NodeProvider::Cuda && output_place(node, at) != Place::Device {
                on_host[output.index()] = true;
                candidates.extend(consumers[output.index()].iter().map(|node| Reverse(position[node.index()])));
            }
        }
    }
    let free_to_read = free_to_read(program);
    let mut visited = vec![false; program.nodes.len()];
    let mut preferred = Vec::new();
    while let Some(Reverse(at)) = candidates.pop() {
        let index = order[at];
        if std::mem::replace(&mut visited[index.index()], true) {
            continue;
        }
        let node = program.node(index);
        let moves = node.provider == NodeProvider::Cuda;
        if moves {
            let stays = node.inputs.iter().enumerate().any(|(at, input)| {
                input.is_some_and(|input| {
                    is_half(program, input)
                        || !free_to_read[input.index()] && (!on_host[input.index()] || reads_on_host(node, at))
                })
            });
            if stays {
                continue;
            }
            preferred.push(index);
        }
        for output in node.present_outputs() {
            on_host[output.index()] = true;
            candidates.extend(consumers[output.index()].iter().map(|node| Reverse(position[node.index()])));
        }
    }
    preferred
}

/// Small weights and feeds.
fn free_to_read(program: &Program) -> Vec<bool> {
    let mut free = vec![false; program.values.len()];
    for weight in &program.weights {
        let n_elements = weight.size.as_ref().and_then(crate::sizes::TensorSize::n_elements);
        free[weight.value.index()] = n_elements.is_some_and(|n| n <= SMALL_ELEMENTS_MAX);
    }
    for input in &program.inputs {
        free[input.index()] = true;
    }
    free
}

fn is_half(program: &Program, value: ValueIdx) -> bool {
    use DataType::*;
    matches!(
        program.value(value).element,
        Some(Float16 | Bfloat16 | Float8E4M3FN | Float8E4M3FNUZ | Float8E5M2 | Float8E5M2FNUZ | Float4E2M1)
    )
}

fn consumers(program: &Program) -> Vec<Vec<NodeIdx>> {
    let mut consumers = vec![Vec::new(); program.values.len()];
    for index in program.node_indices() {
        for value in program.node(index).reads() {
            consumers[value.index()].push(index);
        }
    }
    consumers
}
