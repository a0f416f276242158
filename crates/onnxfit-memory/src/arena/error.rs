//! Why an arena could not allocate, in ONNX Runtime's own words.

use onnxfit_base::Bytes;

/// A refused allocation; the text is the one `bfc_arena.cc` throws (measured on 1.31.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// The configured limit is reached; the device was not asked.
    #[error("Available memory of {} is smaller than requested bytes of {}", available_bytes.0, requested_bytes.0)]
    LimitReached {
        /// What is left under the limit, rounded down to 256.
        available_bytes: Bytes,
        /// The request, rounded up to 256.
        requested_bytes: Bytes,
    },
    /// The device refused even the bare request, after every back-off.
    #[error("Failed to allocate memory for requested buffer of size {}", requested_bytes.0)]
    DeviceRefused {
        /// The request, rounded up to 256.
        requested_bytes: Bytes,
    },
    /// The arena grew and still has no chunk: all free ones belong to other streams.
    #[error("Failed to find a free memory block despite calling Extend. rounded_bytes={}", rounded_bytes.0)]
    NoFreeBlock {
        /// The request, rounded up to 256.
        rounded_bytes: Bytes,
    },
    /// A reserved block bypasses the arena, so the device's own error surfaces.
    #[error("CUDA failure 2: out of memory")]
    DeviceOutOfMemory {
        /// The exact request.
        requested_bytes: Bytes,
    },
}

impl ArenaError {
    /// The bytes that were asked for, as the message states them.
    pub fn requested_bytes(&self) -> Bytes {
        match self {
            Self::LimitReached { requested_bytes, .. }
            | Self::DeviceRefused { requested_bytes }
            | Self::DeviceOutOfMemory { requested_bytes } => *requested_bytes,
            Self::NoFreeBlock { rounded_bytes } => *rounded_bytes,
        }
    }

    /// What was left under the limit, where the message states it.
    pub fn available_bytes(&self) -> Option<Bytes> {
        match self {
            Self::LimitReached { available_bytes, .. } => Some(*available_bytes),
            _ => None,
        }
    }
}
