//! GPUs, AWS instances, prices, and which onnxruntime-gpu release runs where.
//!
//! Pure data and queries: the tables under `data/` are compiled in, read once, and never fetched.
//! [`resolve_target`] answers `--on`, [`candidates`] answers "what is the cheapest that holds
//! this", [`ort_support`] answers "which wheel". Two rules hold everywhere: memory is what CUDA
//! really offers rather than what is advertised, and memory of several GPUs is never summed,
//! because one ONNX Runtime session lives on one device.

mod accelerator;
mod advice;
mod capability;
mod gpu;
mod instance;
mod name;
mod price;
mod recommend;
mod release;
mod table;
mod target;

pub use accelerator::{Accelerator, accelerators};
pub use capability::{ComputeCapability, ParseCapabilityError};
pub use gpu::{ContextBand, Gpu, MemoryBasis, gpus};
pub use instance::{Availability, CpuArch, Device, Instance, instance, instances};
pub use price::{Price, PriceError, PriceKind, PriceList, REFERENCE_REGION, price, spot_price};
pub use recommend::{Candidate, candidates, candidates_at};
pub use release::{Execution, OrtGpuRelease, OrtSupport, OrtVersion, Platform, ort_gpu_releases, ort_support};
pub use target::{Target, TargetError, resolve_target};
