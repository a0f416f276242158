//! Which provider runs each node of a CUDA session, where its values lie, and the copies between.
//!
//! `cuda_execution_provider.cc:GetCapability`, `fallback_cpu_capability.cc`, `transformer_memcpy.cc`
//! and `allocation_planner.cc:ComputeValueLocation` (ORT 1.31). Read from source, not measured.

mod copies;
mod preferred;

use crate::kernels::{HostOutputs, has_cuda_kernel, traits_of, typed_input};
use crate::program::{Attribute, Node, NodeProvider, Place, Program};

/// Assigns every node of a program to a provider and inserts the copies that this needs.
///
/// Returns how many copy nodes were added.
pub(crate) fn assign_cuda(program: &mut Program) -> usize {
    for index in 0..program.nodes.len() {
        let capable = is_cuda_capable(&program.nodes[index], program);
        program.nodes[index].provider = if capable { NodeProvider::Cuda } else { NodeProvider::Cpu };
    }
    for node in preferred::cpu_preferred(program) {
        program.nodes[node.index()].provider = NodeProvider::Cpu;
    }
    copies::insert(program)
}

/// Whether the CUDA provider offers to run a node.
fn is_cuda_capable(node: &Node, program: &Program) -> bool {
    let typed = node.input(typed_input(&node.op_type));
    let element = typed.and_then(|value| program.value(value).element);
    has_cuda_kernel(&node.domain, &node.op_type, node.opset, element) && !falls_back(node)
}

/// Attribute combinations that cuDNN cannot compute.
fn falls_back(node: &Node) -> bool {
    match node.op_type.as_str() {
        "LSTM" => rnn_falls_back(node, &["sigmoid", "tanh", "tanh"]),
        "GRU" => rnn_falls_back(node, &["sigmoid", "tanh"]),
        "RNN" => rnn_falls_back(node, &["tanh"]),
        "Cast" => node.int("to", 0) == i64::from(onnxfit_onnx::DataType::String.number()),
        "ArgMax" | "ArgMin" => node.int("select_last_index", 0) != 0,
        "ConvTranspose" => {
            let pads = node.ints("pads");
            let (begins, ends) = pads.split_at(pads.len() / 2);
            begins != ends
        }
        _ => false,
    }
}

fn rnn_falls_back(node: &Node, supported: &[&str]) -> bool {
    let odd = ["activation_alpha", "activation_beta", "clip"].iter().any(|name| node.attributes.contains_key(name));
    let activations = match node.attributes.get("activations") {
        Some(Attribute::Texts(texts)) => {
            texts.iter().zip(supported.iter().cycle()).any(|(text, name)| !text.eq_ignore_ascii_case(name))
        }
        _ => false,
    };
    odd || activations || node.int("input_forget", 0) != 0
}

/// Whether a node reads this input from host memory.
fn reads_on_host(node: &Node, position: usize) -> bool {
    node.provider == NodeProvider::Cpu || traits_of(node).host_inputs.contains(&position)
}

/// Where a node writes this output.
fn output_place(node: &Node, position: usize) -> Place {
    match (node.provider, traits_of(node).host_outputs) {
        (NodeProvider::Cpu, _) | (_, HostOutputs::Pageable) => Place::Host,
        (_, HostOutputs::Pinned(positions)) if positions.contains(&position) => Place::Pinned,
        _ => Place::Device,
    }
}

/// Where every value of a placed program lies.
pub(crate) fn places(program: &Program) -> Vec<Place> {
    let mut place = vec![Place::Host; program.values.len()];
    let mut settled = vec![false; program.values.len()];
    let is_weight = program.weight_flags();
    let producers = program.producers();
    for node in &program.nodes {
        for (position, input) in node.inputs.iter().enumerate() {
            let Some(input) = *input else { continue };
            let index = input.index();
            // A weight lies where its first reader wants it, a feed where its last one does.
            if producers[index].is_none() && !(is_weight[index] && settled[index]) {
                place[index] = if reads_on_host(node, position) { Place::Host } else { Place::Device };
                settled[index] = true;
            }
        }
        for (position, output) in node.outputs.iter().enumerate() {
            if let Some(output) = *output {
                place[output.index()] = output_place(node, position);
            }
        }
    }
    for node in &program.nodes {
        for &value in &node.implicit_inputs {
            if producers[value.index()].is_none() && !settled[value.index()] {
                place[value.index()] = if node.provider == NodeProvider::Cuda { Place::Device } else { Place::Host };
            }
        }
    }
    place
}

#[cfg(test)]
mod tests;
