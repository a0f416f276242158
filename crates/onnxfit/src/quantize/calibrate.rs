//! Runs the float model on every sample and watches values go by.
//!
//! Each sample goes once through a chain of pieces of the model, each of which gives back a bounded
//! number of bytes; numbers are read where ONNX Runtime left them. What is remembered does not grow
//! with the samples, and is kept on the disk when asked, so that an interrupted measurement goes on
//! where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::DataType;
use onnxfit_quantize::ranges::{Method, Observer, Observers, Range};
use onnxfit_runtime::{
    ArenaConfig, ArenaExtend, ElementType, Library, OptimizationLevel, Outputs, Session, SessionSpec, Tensors,
};
use onnxfit_shape::{Kind, infer};
use prost::Message as _;

use super::bench::Bench;
use super::segments::{Segment, segments};
use super::state::State;
use crate::Error;
use crate::convert::ranges::{bindings, float_values};
use crate::progress::{Progress, Stage};
use crate::verify::runtime_error;

/// What one piece gives back.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// What was seen is kept after so many samples.
const SAMPLES_PER_KEEPING: usize = 8;

/// What was seen of these values over all samples, in a float model whose weights lie on the desk.
pub(crate) fn calibrate(
    bench: &Bench<'_>,
    model: &GraphModel,
    values: &BTreeSet<String>,
    method: Method,
    keep_at: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Observers, Error> {
    let samples = bench.samples;
    let mut chain = Chain::open(bench, model, values)?;
    let mut state = State::begin(keep_at, &fingerprint(bench, model, values, method), method, progress)?;
    for index in state.n_samples..samples.len() {
        let (done, total) = (index as u64, samples.len() as u64);
        progress.stage(&Stage::Counted { what: "measuring ranges".to_owned(), done, total });
        let sample = samples.get(index)?;
        chain.run(&sample, |floats| watch(&mut state.observers, floats))?;
        for (name, tensor) in sample.iter() {
            if values.contains(name) && tensor.element_type() == ElementType::Float {
                let (numbers, _) = tensor.bytes().unwrap_or_default().as_chunks::<4>();
                let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
                state.observers.observe(name, &numbers);
            }
        }
        state.n_samples = index + 1;
        if state.n_samples.is_multiple_of(SAMPLES_PER_KEEPING) {
            state.keep()?;
        }
    }
    state.keep()?;
    Ok(state.observers)
}

/// The ranges for integers of `n_levels`, found on all cores.
pub(crate) fn ranges_of(observers: &Observers, n_levels: usize) -> BTreeMap<String, Range> {
    let method = observers.method();
    let mut jobs: Vec<(&str, &Observer, Option<Range>)> =
        observers.iter().map(|(name, seen)| (name, seen, None)).collect();
    on_all_cores(&mut jobs, |(_, seen, range)| *range = seen.range(method, n_levels));
    jobs.into_iter().filter_map(|(name, _, range)| Some((name.to_owned(), range?))).collect()
}

/// The pieces of a model, open.
struct Chain {
    pieces: Vec<(Segment, Session)>,
    watched: BTreeSet<String>,
}

impl Chain {
    fn open(bench: &Bench<'_>, model: &GraphModel, values: &BTreeSet<String>) -> Result<Self, Error> {
        let library = Library::load(bench.library).map_err(runtime_error)?;
        let first = bench.samples.get(0)?;
        let made = float_values(model, &first);
        let watched: Vec<(&str, u64)> = made
            .iter()
            .filter(|(name, _)| values.contains(name))
            .map(|(name, bytes)| (name.as_str(), *bytes))
            .collect();
        let proto = model.to_proto();
        let types = types(model, &first);
        let open = |most_bytes: u64| -> Result<Self, Error> {
            let segments = segments(&proto, &watched, &types, most_bytes);
            let mut specs = Vec::new();
            for (number, segment) in segments.iter().enumerate() {
                let path = bench.desk.join(format!("calibrate-{number}.onnx"));
                std::fs::write(&path, segment.model.encode_to_vec()).map_err(|source| Error::Io {
                    action: "write",
                    path: path.clone(),
                    source,
                })?;
                specs.push(chained(spec(&path)));
            }
            let sessions = Session::open_together(library, &specs).map_err(runtime_error)?;
            let watched = watched.iter().map(|(name, _)| (*name).to_owned()).collect();
            Ok(Self { pieces: segments.into_iter().zip(sessions).collect(), watched })
        };
        // Where a piece alone is refused, the whole may still run.
        open(SEGMENT_BYTES_MAX).or_else(|_| open(u64::MAX))
    }

    fn run(&mut self, sample: &Tensors, mut watch: impl FnMut(&[(&str, &[f32])])) -> Result<(), Error> {
        let mut left = Outputs::default();
        for (segment, session) in &mut self.pieces {
            let mut outputs = session.run_on(sample, &left).map_err(runtime_error)?;
            let floats: Vec<(&str, &[f32])> =
                outputs.floats().filter(|(name, _)| self.watched.contains(*name)).collect();
            watch(&floats);
            let is_kept = |name: &str| segment.kept.contains(name);
            left.keep(is_kept);
            outputs.keep(is_kept);
            left.extend(outputs);
        }
        Ok(())
    }
}

/// What is known to be a tensor of some type.
fn types(model: &GraphModel, sample: &Tensors) -> BTreeMap<String, DataType> {
    let facts = infer(model, &bindings(sample)).graph;
    let known = model.graph.values().filter_map(|(id, value)| {
        let fact = facts.get(id).filter(|fact| fact.kind == Kind::Tensor)?;
        Some((value.name.clone(), fact.element_type?))
    });
    known.collect()
}

/// Nothing is fused (level `disable`, as `onnxruntime.quantization` calibrates by default), so that every value
/// is there and is made as the original makes it.
pub(super) fn spec(path: &Path) -> SessionSpec {
    SessionSpec {
        optimization: OptimizationLevel::Disable,
        cpu_arena: Some(ArenaConfig { extend: Some(ArenaExtend::Same), ..ArenaConfig::default() }),
        ..SessionSpec::new(PathBuf::from(path))
    }
}

/// One of several that run in turn: it holds no memory for a pattern of its own, and its threads do
/// not turn idle ones away from the next.
fn chained(spec: SessionSpec) -> SessionSpec {
    let quiet = [("session.force_spinning_stop".to_owned(), "1".to_owned())];
    SessionSpec { mem_pattern: false, config: quiet.into_iter().collect(), ..spec }
}

/// All values of one run, on all cores.
fn watch(observers: &mut Observers, values: &[(&str, &[f32])]) {
    let mut jobs: Vec<(&str, &[f32], Observer)> =
        values.iter().map(|(name, numbers)| (*name, *numbers, observers.take(name))).collect();
    // The long ones first, so that none of them is left at the end.
    jobs.sort_by_key(|(_, numbers, _)| std::cmp::Reverse(numbers.len()));
    on_all_cores(&mut jobs, |(_, numbers, observer)| observer.observe(numbers));
    for (name, _, observer) in jobs {
        observers.insert(name, observer);
    }
}

fn on_all_cores<T: Send>(jobs: &mut [T], work: impl Fn(&mut T) + Sync) {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let queue = Mutex::new(jobs.iter_mut());
    let work = || {
        loop {
            let job = queue.lock().expect("no holder of the lock panics").next();
            let Some(job) = job else { break };
            work(job);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(work);
        }
        work();
    });
}

/// What a kept measurement must have been made of, to go on from it.
fn fingerprint(bench: &Bench<'_>, model: &GraphModel, values: &BTreeSet<String>, method: Method) -> String {
    let last = values.last().map(String::as_str).unwrap_or_default();
    let model_bytes = model.to_proto().encoded_len();
    format!("{method:?} {} {} {last} {model_bytes}", bench.samples.text(), values.len())
}
