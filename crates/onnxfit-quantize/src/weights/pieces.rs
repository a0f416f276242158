//! The new tensors of a model with smaller weights, made when they are asked for.
//!
//! A weight is read once, worked on by all cores, and forgotten when the next one is asked for,
//! unless it is to be kept for another try.

use std::sync::{Arc, Mutex};

use bytes::Bytes as Buffer;
use half::f16;
use onnxfit_onnx::proto::{GraphProto, TensorProto};
use onnxfit_onnx::{TensorError, TensorSource, release_pages};

use super::compensate::{self, Factor};
use super::pack::{Grid, Packed, pack, round_row};

/// Where such a tensor seems to lie; no path of a real model begins so.
const LOCATION: &str = "onnxfit-weights:";

/// What becomes of a weight.
#[derive(Clone)]
pub(super) enum Form {
    /// As `MatMulNBits` wants it.
    Product { grid: Grid, n_inputs: usize, n_outputs: usize, is_turned: bool, factor: Option<Arc<Factor>> },
    /// Eight bits with a scale for each index of an axis, zero in the middle.
    Channels { dims: Vec<usize>, axis: usize },
    /// Half precision.
    Half,
}

/// One part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Scales,
    ZeroPoints,
}

const PARTS: [Part; 3] = [Part::Main, Part::Scales, Part::ZeroPoints];

/// A weight and its new form.
pub(super) struct Job {
    pub(super) tensor: Arc<TensorProto>,
    pub(super) form: Form,
    /// Kept for another try, if so.
    pub(super) done: Option<Mutex<Option<Arc<Done>>>>,
}

/// All parts of a weight.
#[derive(Default)]
pub(super) struct Done {
    main: Buffer,
    scales: Buffer,
    zero_points: Buffer,
}

/// What waits to be made.
#[derive(Clone, Default)]
pub struct Pieces {
    jobs: Vec<Arc<Job>>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} weights", self.jobs.len())
    }
}

impl Pieces {
    /// Points a tensor at a part of a weight; gives the number of the weight for further parts.
    pub(super) fn point(&mut self, job: &Arc<Job>, part: Part, tensor: &mut TensorProto) -> Result<(), TensorError> {
        if self.jobs.last().is_none_or(|last| !Arc::ptr_eq(last, job)) {
            self.jobs.push(job.clone());
        }
        let length = tensor.size_bytes()?.get();
        let part = PARTS.iter().position(|known| *known == part).unwrap_or_default();
        tensor.set_external(&format!("{LOCATION}{}:{part}", self.jobs.len() - 1), 0, length);
        Ok(())
    }

    /// The weights of the model: new ones are made from `weights`, the others come from there.
    pub fn source<'a>(&'a self, weights: &'a dyn TensorSource) -> PieceSource<'a> {
        PieceSource { pieces: self, weights, last: Mutex::new(None) }
    }

    /// Makes the new tensors of a graph and its bodies.
    pub(super) fn fill(&self, graph: &mut GraphProto, source: &PieceSource<'_>) -> Result<(), TensorError> {
        for tensor in &mut graph.initializer {
            if self.find(tensor)?.is_some() {
                let bytes = source.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
        }
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            let bodies = attribute.g.iter_mut().map(|body| &mut **body).chain(&mut attribute.graphs);
            for body in bodies {
                self.fill(body, source)?;
            }
        }
        Ok(())
    }

    fn find(&self, tensor: &TensorProto) -> Result<Option<(usize, Part)>, TensorError> {
        let Some(external) = tensor.external_location()? else { return Ok(None) };
        let found = external.location.strip_prefix(LOCATION).and_then(|rest| {
            let (job, part) = rest.split_once(':')?;
            let (job, part) = (job.parse::<usize>().ok()?, part.parse::<usize>().ok()?);
            (job < self.jobs.len()).then_some((job, *PARTS.get(part)?))
        });
        Ok(found)
    }
}

/// See [`Pieces::source`].
pub struct PieceSource<'a> {
    pieces: &'a Pieces,
    weights: &'a dyn TensorSource,
    /// Parts of one weight are asked for one after another.
    last: Mutex<Option<(usize, Arc<Done>)>>,
}

impl TensorSource for PieceSource<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        let Some((index, part)) = self.pieces.find(tensor)? else { return self.weights.tensor_bytes(tensor) };
        let job = &self.pieces.jobs[index];
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let done = match (&*last, &job.done) {
            (Some((known, done)), _) if *known == index => done.clone(),
            (_, Some(kept)) => {
                let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match &*kept {
                    Some(done) => done.clone(),
                    None => kept.insert(Arc::new(job.work(self.weights)?)).clone(),
                }
            }
            (_, None) => {
                // Not two at once.
                *last = None;
                Arc::new(job.work(self.weights)?)
            }
        };
        *last = Some((index, done.clone()));
        Ok(match part {
            Part::Main => done.main.clone(),
            Part::Scales => done.scales.clone(),
            Part::ZeroPoints => done.zero_points.clone(),
        })
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        match self.pieces.find(tensor)? {
            Some((job, _)) => self.weights.check(&self.pieces.jobs[job].tensor),
            None => self.weights.check(tensor),
        }
    }

    fn belongs_inline(&self, tensor: &TensorProto) -> bool {
        match self.pieces.find(tensor) {
            Ok(Some((job, _))) => self.pieces.jobs[job].tensor.is_inline(),
            _ => self.weights.belongs_inline(tensor),
        }
    }
}

impl Job {
    fn work(&self, weights: &dyn TensorSource) -> Result<Done, TensorError> {
        let bytes = weights.tensor_bytes(&self.tensor)?;
        let done = self.form.done(bytes.as_chunks::<4>().0);
        release_pages(&bytes);
        Ok(done)
    }
}

impl Form {
    fn done(&self, numbers: &[[u8; 4]]) -> Done {
        match self {
            Form::Half => {
                let mut main = vec![0u8; numbers.len() * 2];
                shares(&mut main, 2, numbers.len(), |first, main| {
                    for (to, from) in main.as_chunks_mut::<2>().0.iter_mut().zip(&numbers[first..]) {
                        let number = f32::from_le_bytes(*from).clamp(-65504.0, 65504.0);
                        *to = f16::from_f32(number).to_le_bytes();
                    }
                });
                Done { main: main.into(), ..Done::default() }
            }
            Form::Channels { dims, axis } => channels(numbers, dims, *axis),
            Form::Product { grid, n_inputs, n_outputs, is_turned, factor } => {
                let shape = (*n_inputs, *n_outputs);
                let rows = product(numbers, shape, *is_turned, *grid, factor.as_deref());
                let packed: Packed = pack(rows, *grid);
                Done {
                    main: packed.integers.into(),
                    scales: floats(&packed.scales),
                    zero_points: packed.zero_points.into(),
                }
            }
        }
    }
}

fn floats(numbers: &[f32]) -> Buffer {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn n_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cuts `n` elements of `width` bytes into one share a core; each is told the number of its first.
fn shares(bytes: &mut [u8], width: usize, n: usize, work: impl Fn(usize, &mut [u8]) + Sync) {
    let share = n.div_ceil(n_threads()).max(1);
    std::thread::scope(|scope| {
        for (index, bytes) in bytes.chunks_mut(share * width).enumerate() {
            let work = &work;
            scope.spawn(move || work(index * share, bytes));
        }
    });
}

/// Eight bits, symmetric. Elements lie as `[outer, channels, inner]`.
fn channels(numbers: &[[u8; 4]], dims: &[usize], axis: usize) -> Done {
    let n_channels = dims.get(axis).copied().unwrap_or(1).max(1);
    let inner = dims.get(axis + 1..).map_or(1, |rest| rest.iter().product::<usize>()).max(1);
    let mut largest = vec![0.0f32; n_channels];
    for (index, run) in numbers.chunks(inner).enumerate() {
        let size = run.iter().fold(0.0f32, |size, number| size.max(f32::from_le_bytes(*number).abs()));
        let known = &mut largest[index % n_channels];
        *known = known.max(size);
    }
    let usual = |size: &f32| if *size > 0.0 && size.is_finite() { size / 127.0 } else { 1.0 };
    let scales: Vec<f32> = largest.iter().map(usual).collect();
    let mut main = vec![0u8; numbers.len()];
    shares(&mut main, 1, numbers.len(), |first, main| {
        for (at, (to, from)) in main.iter_mut().zip(&numbers[first..]).enumerate() {
            let scale = scales[(first + at) / inner % n_channels];
            let integer = (f32::from_le_bytes(*from) / scale).round_ties_even() as i32;
            *to = integer.clamp(-127, 127) as i8 as u8;
        }
    });
    Done { main: main.into(), scales: floats(&scales), zero_points: vec![0; n_channels].into() }
}

/// By output: its row of integers with their parameters.
type Rows = Vec<(Vec<u8>, Vec<crate::affine::Params>)>;

fn product(
    numbers: &[[u8; 4]],
    (n_inputs, n_outputs): (usize, usize),
    is_turned: bool,
    grid: Grid,
    factor: Option<&Factor>,
) -> Rows {
    /// Columns that are read together: a cache line and a little more.
    const PANEL: usize = 32;
    let n_panels = n_outputs.div_ceil(PANEL);
    let share = n_panels.div_ceil(n_threads()).max(1) * PANEL;
    let starts: Vec<usize> = (0..n_outputs).step_by(share).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = starts
            .into_iter()
            .map(|start| {
                scope.spawn(move || {
                    let mut rows = Vec::with_capacity(share);
                    for first in (start..n_outputs.min(start + share)).step_by(PANEL) {
                        let width = PANEL.min(n_outputs - first);
                        let mut panel = vec![0.0f32; width * n_inputs];
                        for (input, row) in (0..n_inputs).map(|input| (input, input * n_outputs + first)) {
                            for output in 0..width {
                                let at = if is_turned { (first + output) * n_inputs + input } else { row + output };
                                let number = numbers.get(at).map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
                                panel[output * n_inputs + input] = number;
                            }
                        }
                        rows.extend(panel.chunks_mut(n_inputs.max(1)).map(|row| match factor {
                            Some(factor) => compensate::round_row(row, factor, grid),
                            None => round_row(row, grid),
                        }));
                    }
                    rows
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("rounding does not panic")).collect()
    })
}
