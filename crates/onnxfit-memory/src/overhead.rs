//! Device memory that no arena of ONNX Runtime counts: context, kernel code, library handles.
//!
//! Nothing in the source states these; they are bands from published measurements until a card has
//! been measured ([`calibration_for`]).

mod calibration;
mod derive;

use onnxfit_base::Bytes;

use crate::program::{NodeProvider, Place, Program};
use crate::trace::{Event, Trace};

pub use calibration::{
    Calibration, CalibrationEntry, CalibrationKind, calibration_for, calibration_with, read_entries,
};
pub use derive::{DeviceReading, UnusableReadings, derive, line};

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

/// One point of a band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Its lower end.
    Low,
    /// What is likely.
    #[default]
    Expected,
    /// Its upper end.
    High,
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

    /// One point of it.
    pub const fn at(self, bound: Bound) -> Bytes {
        match bound {
            Bound::Low => self.low,
            Bound::Expected => self.expected,
            Bound::High => self.high,
        }
    }
}

/// cuBLAS handles of one thread and session: the thread's (`PerThreadContext`) and the stream's
/// (`CudaStream`), `cuda_execution_provider.cc` and `cuda_stream_handle.cc`, ORT 1.30-dev.
pub const HANDLES_PER_THREAD: u64 = 2;

/// What a CUDA process holds besides its arenas, for one session used by `n_threads` callers.
///
/// `compute_capability` is the card's, such as `(7, 5)`; `own` entries come before those of the table.
pub fn cuda_overhead(
    program: &Program,
    compute_capability: Option<(u32, u32)>,
    n_threads: u64,
    own: &[CalibrationEntry],
) -> Band {
    let calibration = calibration_with(own, compute_capability);
    let on_device = |name: &str| {
        program.nodes.iter().any(|node| node.provider == NodeProvider::Cuda && node.op_type.contains(name))
    };
    let uses_libraries =
        ["Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN"].iter().any(|name| on_device(name));
    let n_handles = HANDLES_PER_THREAD * n_threads.max(1);
    let all = |bytes: Bytes| bytes.checked_mul(n_handles).unwrap_or_default();
    let libraries = if uses_libraries { calibration.library_code } else { Band::default() };
    // A handle takes its workspace with its first product, which may never come.
    let handles =
        Band { low: Bytes::ZERO, expected: all(calibration.handle.expected), high: all(calibration.handle.high) };
    calibration.context.plus(libraries).plus(handles)
}

/// What the driver adds to what an arena asks it for.
///
/// Device memory comes in pages of 2 MiB: a request of a page or more is rounded up to whole ones;
/// smaller ones (the first region, reserved weights) share pages in steps of 512 bytes. NVIDIA does
/// not document this, so it is a band that begins at nothing. Counted until something is given back.
pub(crate) fn driver_rounding(trace: &Trace) -> Band {
    const PAGE_BYTES: u64 = 2 << 20;
    let (mut held, mut small, mut small_rounded, mut rounding) = (0_u64, 0_u64, 0_u64, 0_u64);
    for event in &trace.events {
        let Event::Held { place: Place::Device, total_allocated_bytes } = event else { continue };
        let Some(taken) = total_allocated_bytes.0.checked_sub(held) else { break };
        held = total_allocated_bytes.0;
        if taken < PAGE_BYTES {
            small += taken;
            small_rounded += taken.next_multiple_of(512);
        } else {
            rounding += taken.next_multiple_of(PAGE_BYTES) - taken;
        }
    }
    rounding += small_rounded.next_multiple_of(PAGE_BYTES) - small;
    Band { low: Bytes::ZERO, expected: Bytes(rounding), high: Bytes(rounding) }
}

#[cfg(test)]
mod tests;
