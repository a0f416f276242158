//! Device memory that no arena of ONNX Runtime counts: context, kernel code, library handles.
//!
//! Nothing in the source states these; they are bands from published measurements until a card has
//! been measured. Sources: 376 MB on a T4 and 173 MB on a K80 for a 70 KB model
//! (onnxruntime#15098), 345 MB in total with resnet18 (onnxruntime#9138), NVIDIA's documented
//! cuBLAS workspace per handle.

use onnxfit_base::Bytes;

use crate::program::{NodeProvider, Program};

/// A quantity that is not known exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Band {
    /// At least this.
    pub low: Bytes,
    /// Most likely this.
    pub expected: Bytes,
    /// Hardly more than this.
    pub high: Bytes,
}

impl Band {
    /// A quantity that is known exactly.
    pub const fn exact(bytes: Bytes) -> Self {
        Self { low: bytes, expected: bytes, high: bytes }
    }

    /// The sum, bound by bound.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, expected: self.expected + other.expected, high: self.high + other.high }
    }
}

/// The CUDA context with the kernel code that every session loads.
const CONTEXT: Band = Band { low: Bytes::mib(160), expected: Bytes::mib(360), high: Bytes::mib(560) };
/// Code that cuDNN and cuBLAS load for their first convolution or product.
const LIBRARY_CODE: Band = Band { low: Bytes::mib(16), expected: Bytes::mib(64), high: Bytes::mib(256) };
/// cuBLAS handles of one thread and session: the thread's and the stream's.
const HANDLES_PER_THREAD: u64 = 2;

/// What a CUDA process holds besides its arenas, for one session used by `n_threads` callers.
///
/// `compute_capability` is the card's, such as `(7, 5)`.
pub fn cuda_overhead(program: &Program, compute_capability: Option<(u32, u32)>, n_threads: u64) -> Band {
    let on_device = |name: &str| {
        program.nodes.iter().any(|node| node.provider == NodeProvider::Cuda && node.op_type.contains(name))
    };
    let uses_libraries =
        ["Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN"].iter().any(|name| on_device(name));
    let workspace = cublas_workspace_bytes(compute_capability);
    let handles = HANDLES_PER_THREAD * n_threads.max(1);
    let handle_bytes = workspace.checked_mul(handles).unwrap_or_default();
    let libraries = if uses_libraries { LIBRARY_CODE } else { Band::default() };
    // A handle takes its workspace with its first product, which may never come.
    let handles = Band { low: Bytes::ZERO, expected: handle_bytes, high: handle_bytes };
    CONTEXT.plus(libraries).plus(handles)
}

/// NVIDIA's documented default workspace of one cuBLAS handle.
fn cublas_workspace_bytes(compute_capability: Option<(u32, u32)>) -> Bytes {
    match compute_capability {
        Some((9 | 10, _)) => Bytes::mib(32),
        Some((12, _)) => Bytes::mib(12),
        _ => Bytes::mib(4),
    }
}
