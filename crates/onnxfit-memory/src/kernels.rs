//! What ONNX Runtime's kernels declare about memory: which outputs are inputs, which inputs may be
//! overwritten, which arguments a CUDA kernel wants in host memory.
//!
//! Facts read from the kernel registrations (ORT 1.31 and its development branch), one table a
//! provider. An operator that no table names declares nothing.

mod cpu;
mod cuda;

use std::sync::LazyLock;

use onnxfit_base::Operators;

use crate::program::{Node, NodeProvider};

/// Pairs of an input and the output that takes its memory.
pub(crate) type Pairs = &'static [(usize, usize)];

/// The memory traits of one kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelTraits {
    /// The output is the input, always.
    pub(crate) alias: Pairs,
    /// The output may overwrite the input on its last use.
    pub(crate) may_in_place: Pairs,
    /// Inputs in host memory although the kernel runs on the device.
    pub(crate) host_inputs: &'static [usize],
    /// Outputs in host memory although the kernel runs on the device.
    pub(crate) host_outputs: HostOutputs,
}

/// Which outputs of a device kernel lie in host memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostOutputs {
    /// None.
    #[default]
    None,
    /// All, in ordinary memory (`OrtMemTypeCPUInput`): shapes and sizes.
    Pageable,
    /// These, in page-locked memory (`OrtMemTypeCPUOutput`).
    Pinned(&'static [usize]),
}

/// One line of a provider's table.
pub(crate) struct Row {
    /// The domain; empty for the standard one, `*` for any.
    pub(crate) domain: &'static str,
    /// Operators that declare the same.
    pub(crate) operators: &'static [&'static str],
    /// What they declare.
    pub(crate) traits: KernelTraits,
}

/// What the kernel of a node declares.
pub(crate) fn traits_of(node: &Node) -> KernelTraits {
    static CPU: LazyLock<Operators<KernelTraits>> = LazyLock::new(|| by_operator(cpu::TABLE));
    static CUDA: LazyLock<Operators<KernelTraits>> = LazyLock::new(|| by_operator(cuda::TABLE));
    let table = match node.provider {
        NodeProvider::Cpu => &CPU,
        NodeProvider::Cuda => &CUDA,
    };
    table.get(&node.domain, &node.op_type).copied().unwrap_or_default()
}

fn by_operator(table: &[Row]) -> Operators<KernelTraits> {
    Operators::of(table.iter().flat_map(|row| row.operators.iter().map(|operator| (row.domain, *operator, row.traits))))
}

pub(crate) use cuda::{has_cuda_kernel, typed_input};

#[cfg(test)]
mod tests;
