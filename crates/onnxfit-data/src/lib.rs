//! Samples from files: streamed, shuffled with a seed, resumable.
//!
//! [`Source::open`] tells from the path what is there: a file of arrays with a row for each sample
//! (`.npz`, `.npy`, `.safetensors`), a table (`.parquet`, `.arrow`), a folder of such files, a folder of arrays with one file a
//! sample, or a folder of images with a folder for each class. Nothing is held but the rows of a
//! few batches; [`Source::batches`] reads ahead in a thread of its own. The order of an epoch is a
//! function of its seed and number, so a [`Position`] is all that must be kept to go on.

mod batches;
mod columns;
mod error;
mod files;
mod images;
mod order;
mod pixels;
mod rows;
mod source;
mod stack;
mod tables;

pub use batches::{BadSamples, Batch, BatchOptions, Batches};
pub use error::DataError;
pub use order::Position;
pub use source::{Field, ImageLayout, OpenOptions, Source};
