//! ONNX Runtime behind a small interface: find, install, run, measure, verify.
//!
//! The only crate that sees `ort`. The library is loaded at run time and never linked:
//! [`locate::find`] looks for it, [`install::install`] fetches it, [`Library::load`] loads it once
//! per process. A [`Session`] is made from a [`SessionSpec`]; running out of memory is an error
//! kind of its own, [`OutOfMemory`]. Runs that may end the process belong in a [`worker`].

mod arena;
mod carry;
mod element_type;
mod error;
pub mod guard;
mod heap;
pub mod inputs;
pub mod install;
mod json_bytes;
mod library;
pub mod live;
pub mod locate;
pub mod npy;
pub mod npz;
mod oom;
mod session;
mod spec;
mod tenant;
mod tensor;
#[cfg(test)]
mod test_library;
mod tiny_model;
mod trace;
mod value;
pub mod verify;
pub mod worker;

pub use arena::{ArenaStats, Device};
pub use carry::Carry;
pub use element_type::ElementType;
pub use error::{RunError, Stage};
pub use heap::HeapRelief;
pub use library::Library;
pub use oom::{OutOfMemory, OutOfMemoryForm};
pub use session::{Outputs, Session, TensorInfo};
pub use spec::{ArenaConfig, ArenaExtend, Meter, OptimizationLevel, Provider, SessionSpec};
pub use tenant::Tenant;
pub use tensor::{Tensor, TensorError, Tensors};
pub use trace::{AllocationEvent, Trace};
