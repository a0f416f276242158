//! ONNX files, losslessly: memory-mapped, external data, atomic writes.
//!
//! This crate knows bytes, not meaning. [`ModelFile::open`] maps a file and decodes its structure;
//! weights stay slices of the map and are not read until somebody asks a [`TensorSource`] for
//! them. A model that nobody touched is saved by copying its bytes; fields that onnxfit does not
//! know are found on opening, and writing a changed model refuses to lose them unless forced.

mod data_type;
mod encode;
mod error;
mod external;
mod file;
mod notes;
mod packing;
mod pages;
mod pending;
pub mod proto;
mod random;
mod save;
mod scan;
mod tensor;
pub mod text;
mod walk;

pub use data_type::DataType;
pub use error::{OnnxError, TensorError};
pub use external::{TensorSource, WeightStore};
pub use file::ModelFile;
pub use notes::strip_notes;
pub use pages::release_pages;
pub use random::{RandomWeights, WeightRole};
pub use save::{SaveOptions, SaveReport, save};
pub use tensor::ExternalLocation;
pub use walk::{FoundMut, tensors_mut};
