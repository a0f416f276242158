//! Batches of an epoch, read ahead in a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use onnxfit_runtime::Tensors;

use crate::error::DataError;
use crate::order::{Order, Position};
use crate::source::Samples;
use crate::stack::{n_not_numbers, stack};

/// How batches are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Samples in a batch; the last of an epoch may have fewer.
    pub n_samples: u64,
    /// What happens to bad samples.
    pub bad_samples: BadSamples,
    /// Whether a last batch with fewer samples is left out.
    pub drops_last: bool,
    /// Threads that decode images.
    pub n_threads: usize,
    /// Batches that are ready before they are asked for.
    pub n_ahead: usize,
}

impl BatchOptions {
    /// Batches of this many samples; a bad one stops the run.
    pub fn of(n_samples: u64) -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { n_samples: n_samples.max(1), bad_samples: BadSamples::Stop, drops_last: false, n_threads, n_ahead: 2 }
    }
}

/// What happens to samples that cannot be read, have another shape or type, or hold no numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadSamples {
    /// They end the run with an error.
    #[default]
    Stop,
    /// They are left out, and counted.
    Skip,
}

/// Samples beside each other.
#[derive(Debug)]
pub struct Batch {
    /// The tensors by the fields' names, with an axis of samples before the others.
    pub tensors: Tensors,
    /// Which samples they are.
    pub samples: Vec<u64>,
    /// Where to go on after this batch.
    pub next: Position,
    /// Bad samples that were left out since the batch before, each with its reason.
    pub skipped: Vec<String>,
}

/// The batches of one epoch. Dropping it ends its thread.
pub struct Batches {
    ready: Receiver<Result<Batch, DataError>>,
}

impl Batches {
    pub(crate) fn start(samples: Arc<dyn Samples>, options: &BatchOptions, from: Position) -> Self {
        let (sender, ready) = sync_channel(options.n_ahead);
        let options = options.clone();
        std::thread::spawn(move || {
            let mut reader = Reader::new(&*samples, options, from);
            while let Some(batch) = reader.next() {
                let is_last = batch.is_err();
                // The other side is gone when nobody wants more.
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        Self { ready }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ready.recv().ok()
    }
}

struct Reader<'a> {
    samples: &'a dyn Samples,
    options: BatchOptions,
    order: Order,
    position: Position,
    /// Samples that were good so far, over all batches.
    n_good: u64,
    first_bad: Option<String>,
}

/// A sample of an epoch: its number, and its bytes or why there are none.
type Read = (u64, Result<Vec<Vec<u8>>, DataError>);

impl<'a> Reader<'a> {
    fn new(samples: &'a dyn Samples, options: BatchOptions, from: Position) -> Self {
        let order = Order::of(samples.n_samples(), samples.block_ends(), from.seed, from.epoch);
        Self { samples, options, order, position: from, n_good: 0, first_bad: None }
    }

    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        let (mut good, mut indices, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        while (good.len() as u64) < self.options.n_samples {
            let missing = self.options.n_samples - good.len() as u64;
            let read = self.read_some(missing);
            if read.is_empty() {
                break;
            }
            for (index, sample) in read {
                self.position.index += 1;
                match sample {
                    Ok(sample) => {
                        good.push(sample);
                        indices.push(index);
                    }
                    Err(error) if self.options.bad_samples == BadSamples::Skip && error.is_of_one_sample() => {
                        self.first_bad.get_or_insert_with(|| error.to_string());
                        skipped.push(error.to_string());
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        self.n_good += good.len() as u64;
        if self.n_good == 0
            && let Some(first) = self.first_bad.take()
        {
            return Some(Err(DataError::AllBad { n_samples: self.position.index, first }));
        }
        let is_short = (good.len() as u64) < self.options.n_samples;
        if good.is_empty() || (is_short && self.options.drops_last) {
            return None;
        }
        let tensors = match stack(self.samples.fields(), &good) {
            Ok(tensors) => tensors,
            Err(error) => {
                let path = self.samples.place(indices[0]).0.to_owned();
                return Some(Err(DataError::Damaged { path, reason: error.to_string() }));
            }
        };
        Some(Ok(Batch { tensors, samples: indices, next: self.position, skipped }))
    }

    /// Reads the next few samples, in several threads if that is worth it.
    fn read_some(&self, n_wanted: u64) -> Vec<Read> {
        let wanted = (0..n_wanted).map_while(|ahead| self.order.at(self.position.index + ahead));
        let wanted: Vec<u64> = wanted.collect();
        let n_threads = self.options.n_threads.min(wanted.len());
        if n_threads < 2 || !self.samples.is_slow() {
            return wanted.iter().map(|index| self.one(*index)).collect();
        }
        std::thread::scope(|scope| {
            let chunks = wanted.chunks(wanted.len().div_ceil(n_threads));
            let threads: Vec<_> = chunks
                .map(|chunk| scope.spawn(move || chunk.iter().map(|index| self.one(*index)).collect::<Vec<_>>()))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn one(&self, index: u64) -> Read {
        // A decoder that panics has met a damaged file; the other samples are as good as before.
        let guarded = std::panic::AssertUnwindSafe(|| self.samples.read(index));
        let read = std::panic::catch_unwind(guarded).unwrap_or_else(|_| {
            let (path, reason) = (self.samples.place(index).0.to_owned(), "its decoder gave up".to_owned());
            Err(DataError::Damaged { path, reason })
        });
        let read = read.and_then(|values| {
            for (field, bytes) in self.samples.fields().iter().zip(&values) {
                let n_bad = n_not_numbers(field, bytes);
                if n_bad > 0 {
                    let (path, row) = self.samples.place(index);
                    let (path, key) = (path.to_owned(), field.name.clone());
                    return Err(DataError::NotANumber { path, key, index: row, n_bad });
                }
            }
            Ok(values)
        });
        (index, read)
    }
}
