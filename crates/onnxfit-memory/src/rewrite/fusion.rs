//! Fusions: several nodes become one.
//!
//! Each file imitates one file of onnxruntime/core/optimizer (ORT 1.31) and says where it applies.

pub(super) mod activation;
pub(super) mod bias_gelu;
pub(super) mod bias_softmax;
pub(super) mod dynamic_quantize_matmul;
pub(super) mod fast_gelu;
pub(super) mod gather_to_slice;
pub(super) mod gather_to_split;
pub(super) mod gelu;
pub(super) mod layer_norm;
pub(super) mod matmul_add;
pub(super) mod matmul_integer;
pub(super) mod matmul_scale;
pub(super) mod matmul_transpose;
pub(super) mod n_bits_bias;
pub(super) mod quick_gelu;
pub(super) mod reshape;
pub(super) mod simplified_layer_norm;
pub(super) mod skip_layer_norm;
pub(super) mod space_to_depth;

use onnxfit_onnx::DataType;

use super::Provider;
use super::net::{ArgId, Net, OpId};

pub(super) const CPU: &[Provider] = &[Provider::Cpu];
pub(super) const CUDA: &[Provider] = &[Provider::Cuda];
pub(super) const CPU_AND_CUDA: &[Provider] = &[Provider::Cpu, Provider::Cuda];

/// Whether a node runs on one of some providers.
fn runs_on(net: &Net, id: OpId, providers: &[Provider]) -> bool {
    net.op(id).provider.is_some_and(|provider| providers.contains(&provider))
}

/// Whether the first inputs of a node have one of some types.
fn has_types(net: &Net, id: OpId, types: &[DataType], n_inputs: usize) -> bool {
    let inputs = net.op(id).inputs.iter().take(n_inputs).flatten();
    inputs.copied().all(|arg| net.arg(arg).elem.is_some_and(|elem| types.contains(&elem)))
}

/// The input of a binary node that is not `known`.
fn other_input(net: &Net, id: OpId, known: ArgId) -> Option<ArgId> {
    let op = net.op(id);
    match (op.input(0), op.input(1)) {
        (Some(first), second) if first == known => second,
        (first, Some(second)) if second == known => first,
        _ => None,
    }
}

/// A node above: input `slot`, made as first output by `op_type` of ONNX's domain.
fn parent(net: &Net, id: OpId, slot: usize, op_type: &str) -> Option<OpId> {
    let arg = net.op(id).input(slot)?;
    let (producer, output) = net.arg(arg).producer?;
    (output == 0 && net.op(producer).is(op_type)).then_some(producer)
}
