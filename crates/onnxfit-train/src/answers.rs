//! A teacher's answers on disk: computed once, read in every epoch.
//!
//! One file of rows for each output, in the order of the samples; a row is written when its sample
//! is first asked for. The files have no name: they are gone with the process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use onnxfit_runtime::{ElementType, RunError, Session, Tensor, Tensors};

/// Why answers could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// The teacher does not run.
    #[error("the teacher does not run: {0}")]
    Run(#[from] RunError),
    /// The cache cannot be written or read.
    #[error("cannot keep the teacher's answers in a temporary file: {0}")]
    Io(#[from] io::Error),
    /// An answer that has no row for each sample.
    #[error("the teacher's `{name}` is {shape:?} for {n_samples} samples: it has no row for each")]
    Shape {
        /// The output.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Samples that were given.
        n_samples: u64,
    },
}

/// A teacher's answers.
pub struct Answers {
    session: Session,
    /// Outputs of the teacher and the names under which they become tensors of a batch.
    names: Vec<(String, String)>,
    n_samples: u64,
    columns: Vec<Column>,
    is_known: Vec<bool>,
    /// Samples the teacher answers at once.
    n_at_once: u64,
}

struct Column {
    file: File,
    element_type: ElementType,
    shape: Vec<u64>,
    row_bytes: u64,
}

impl Answers {
    /// Answers of a session for a source of `n_samples` samples.
    pub fn new(session: Session, names: Vec<(String, String)>, n_samples: u64, n_at_once: u64) -> Self {
        let is_known = vec![false; usize::try_from(n_samples).unwrap_or(0)];
        Self { session, names, n_samples, columns: Vec::new(), is_known, n_at_once: n_at_once.max(1) }
    }

    /// How many samples were answered so far.
    pub fn n_known(&self) -> u64 {
        self.is_known.iter().filter(|known| **known).count() as u64
    }

    /// Adds the answers for these samples to their batch; `feeds` is what the teacher is fed.
    pub fn add_to(&mut self, samples: &[u64], feeds: &Tensors, batch: &mut Tensors) -> Result<(), AnswersError> {
        let is_known = |sample: &u64| self.is_known.get(*sample as usize).copied().unwrap_or(false);
        if !samples.iter().all(is_known) {
            self.ask(samples, feeds)?;
        }
        for (at, (_, name)) in self.names.iter().enumerate() {
            let Some(column) = self.columns.get_mut(at) else { continue };
            let mut bytes = vec![0; column.row_bytes as usize * samples.len()];
            for (row, sample) in bytes.chunks_exact_mut((column.row_bytes as usize).max(1)).zip(samples) {
                column.file.seek(SeekFrom::Start(sample * column.row_bytes))?;
                column.file.read_exact(row)?;
            }
            let shape: Vec<u64> = [samples.len() as u64].into_iter().chain(column.shape.iter().copied()).collect();
            let tensor = Tensor::from_bytes(column.element_type, shape, bytes);
            batch.insert(name, tensor.map_err(|error| AnswersError::Io(io::Error::other(error.to_string())))?);
        }
        Ok(())
    }

    fn ask(&mut self, samples: &[u64], feeds: &Tensors) -> Result<(), AnswersError> {
        let n_samples = samples.len() as u64;
        let mut start = 0;
        while start < n_samples {
            let end = (start + self.n_at_once).min(n_samples);
            let part = feeds.iter().filter_map(|(name, tensor)| Some((name.to_owned(), tensor.rows(start..end)?)));
            let outputs = match self.session.run(&part.collect()) {
                Ok(outputs) => outputs,
                Err(error) if error.is_out_of_memory() && self.n_at_once > 1 => {
                    self.n_at_once = (end - start).div_ceil(2).max(1).min(self.n_at_once / 2).max(1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.keep(&samples[start as usize..end as usize], &outputs)?;
            start = end;
        }
        Ok(())
    }

    fn keep(&mut self, samples: &[u64], outputs: &Tensors) -> Result<(), AnswersError> {
        for (at, (output, _)) in self.names.iter().enumerate() {
            let missing = || AnswersError::Shape { name: output.clone(), shape: Vec::new(), n_samples: 0 };
            let tensor = outputs.get(output).ok_or_else(missing)?;
            let (n_samples, bytes) = (samples.len() as u64, tensor.bytes().ok_or_else(missing)?);
            if tensor.shape().first() != Some(&n_samples) {
                return Err(AnswersError::Shape { name: output.clone(), shape: tensor.shape().to_vec(), n_samples });
            }
            let row_bytes = bytes.len() as u64 / n_samples.max(1);
            if at == self.columns.len() {
                let file = tempfile::tempfile()?;
                file.set_len(row_bytes.saturating_mul(self.n_samples))?;
                let shape = tensor.shape()[1..].to_vec();
                self.columns.push(Column { file, element_type: tensor.element_type(), shape, row_bytes });
            }
            let column = &mut self.columns[at];
            if column.shape != tensor.shape()[1..] {
                return Err(AnswersError::Shape { name: output.clone(), shape: tensor.shape().to_vec(), n_samples });
            }
            for (row, sample) in bytes.chunks_exact((row_bytes as usize).max(1)).zip(samples) {
                column.file.seek(SeekFrom::Start(sample * row_bytes))?;
                column.file.write_all(row)?;
            }
        }
        for sample in samples {
            if let Some(known) = self.is_known.get_mut(*sample as usize) {
                *known = true;
            }
        }
        Ok(())
    }
}
