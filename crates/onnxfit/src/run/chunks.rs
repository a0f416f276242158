//! Inputs as chunks of rows: from a file that is read at once, or streamed.

use std::path::Path;

use onnxfit_data::{BatchOptions, DataError, Position, Source};
use onnxfit_runtime::guard::Cut;
use onnxfit_runtime::{Tensors, npz};

use super::{CHUNK_BYTES, npz_error};
use crate::Error;

/// A `.npz` up to this size is read at once.
const READ_AT_ONCE_MAX: u64 = 512 << 20;

/// All inputs of a run.
pub(super) enum Chunks {
    /// One request without rows.
    Whole(Tensors),
    /// Rows that are all in memory.
    InMemory { inputs: Tensors, n_rows: u64 },
    /// Rows that are read as they are needed.
    Streamed(Source),
}

/// Rows and their inputs.
type Chunk = Result<(u64, Tensors), Error>;

impl Chunks {
    /// Opens a file of inputs, or a folder of samples.
    pub(super) fn open(path: &Path, names: &[String], cut: Option<&Cut>) -> Result<Self, Error> {
        let metadata =
            std::fs::metadata(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        let is_npz = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
        let along_first = cut.is_some_and(|cut| names.iter().all(|name| cut.inputs.get(name) == Some(&0)));
        if is_npz && (metadata.len() <= READ_AT_ONCE_MAX || !along_first) {
            let inputs = only(npz::read(path).map_err(npz_error)?, names)?;
            let rows = cut.and_then(|cut| rows_of(&inputs, cut));
            return Ok(match rows {
                Some(n_rows) => Self::InMemory { inputs, n_rows },
                None => Self::Whole(inputs),
            });
        }
        if !along_first {
            let message = "this model's inputs are no rows that could be read one after the other".to_owned();
            return Err(Error::Runtime { message, hint: Some("give them as one `.npz`".to_owned()) });
        }
        Ok(Self::Streamed(Source::open(path).map_err(data_error)?))
    }

    pub(super) fn n_rows(&self) -> u64 {
        match self {
            Self::Whole(_) => 1,
            Self::InMemory { n_rows, .. } => *n_rows,
            Self::Streamed(source) => source.len(),
        }
    }

    /// The chunks from a row on.
    pub(super) fn from<'a>(
        &'a self,
        first: u64,
        cut: Option<&'a Cut>,
    ) -> Result<Box<dyn Iterator<Item = Chunk>>, Error> {
        match self {
            Self::Whole(inputs) => Ok(Box::new(std::iter::once(Ok((1, inputs.clone()))))),
            Self::InMemory { inputs, n_rows } => {
                let step = rows_at_once(
                    *n_rows,
                    inputs.iter().filter_map(|(_, tensor)| tensor.bytes()).map(<[u8]>::len).sum(),
                );
                let (inputs, n_rows, cut) = (inputs.clone(), *n_rows, cut.cloned());
                let starts = (first..n_rows).step_by(usize::try_from(step).unwrap_or(usize::MAX));
                Ok(Box::new(starts.map(move |start| {
                    let end = n_rows.min(start + step);
                    let mut chunk = Tensors::new();
                    for (name, tensor) in inputs.iter() {
                        let axis = cut.as_ref().and_then(|cut| cut.inputs.get(name));
                        let part = match axis {
                            Some(axis) => {
                                let each = tensor.shape()[*axis] / n_rows;
                                tensor.slice(*axis, start * each..end * each)
                            }
                            None => Some(tensor.clone()),
                        };
                        let part = part.ok_or_else(|| missing(name, "cannot be cut into rows"))?;
                        chunk.insert(name, part);
                    }
                    Ok((end - start, chunk))
                })))
            }
            Self::Streamed(source) => {
                let row_bytes: u64 = source.schema().iter().map(|field| field.sample_bytes()).sum();
                let step = rows_at_once(1, usize::try_from(row_bytes).unwrap_or(usize::MAX));
                let from = Position { index: first, ..Position::default() };
                let batches = source.batches(&BatchOptions::of(step), from);
                Ok(Box::new(batches.map(|batch| {
                    let batch = batch.map_err(data_error)?;
                    Ok((batch.samples.len() as u64, batch.tensors))
                })))
            }
        }
    }
}

/// Rows whose inputs take about as much as is answered at once.
fn rows_at_once(n_rows: u64, bytes: usize) -> u64 {
    let row = (bytes as u64 / n_rows.max(1)).max(1);
    (CHUNK_BYTES.get() / row).max(1)
}

/// The inputs that the model has; what else is in the file is left.
fn only(all: Tensors, names: &[String]) -> Result<Tensors, Error> {
    let mut inputs = Tensors::new();
    for name in names {
        let tensor = all.get(name).ok_or_else(|| missing(name, "is not in the file"))?;
        inputs.insert(name.clone(), tensor.clone());
    }
    Ok(inputs)
}

/// The number of rows, if the inputs agree on one.
fn rows_of(inputs: &Tensors, cut: &Cut) -> Option<u64> {
    let sizes: Option<Vec<u64>> =
        cut.inputs.iter().map(|(name, axis)| inputs.get(name)?.shape().get(*axis).copied()).collect();
    let sizes = sizes?;
    let rows = *sizes.iter().min()?;
    (rows > 0 && sizes.iter().all(|size| size % rows == 0)).then_some(rows)
}

fn missing(name: &str, reason: &str) -> Error {
    Error::Runtime { message: format!("input `{name}` {reason}"), hint: None }
}

fn data_error(error: DataError) -> Error {
    Error::Runtime { message: error.to_string(), hint: error.hint().map(str::to_owned) }
}
