//! A model run in pieces, so that every value inside it can be looked at in one pass, and few of them
//! are in memory at a time.

mod segments;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_runtime::{ArenaConfig, ArenaExtend, Library, OptimizationLevel, Outputs, Session, SessionSpec, Tensors};
use onnxfit_shape::{Kind, infer};
use prost::Message as _;

use crate::Error;
use crate::convert::ranges::{bindings, float_values};
use crate::verify::runtime_error;
use segments::{Segment, segments};

pub(crate) use segments::cut_down;

/// What one piece gives back.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;

/// The pieces of a model, open.
pub(crate) struct Chain {
    pieces: Vec<(Segment, Session)>,
    watched: BTreeSet<String>,
}

impl Chain {
    /// Opens the pieces of a model whose weights lie on the desk; `sample` is one of those that will be
    /// run. All float values that `is_watched` knows go by.
    pub(crate) fn open(
        library: &Path,
        desk: &Path,
        model: &GraphModel,
        proto: &ModelProto,
        sample: &Tensors,
        is_watched: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let library = Library::load(library).map_err(runtime_error)?;
        let made = float_values(model, sample);
        let watched: Vec<(&str, u64)> =
            made.iter().filter(|(name, _)| is_watched(name)).map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        let types = types(model, sample);
        let open = |most_bytes: u64| -> Result<Self, Error> {
            let segments = segments(proto, &watched, &types, most_bytes);
            let mut specs = Vec::new();
            for (number, segment) in segments.iter().enumerate() {
                let path = desk.join(format!("piece-{number}.onnx"));
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

    /// Runs one sample through all pieces; the values of each go by together.
    pub(crate) fn run(&mut self, sample: &Tensors, mut watch: impl FnMut(&[(&str, &[f32])])) -> Result<(), Error> {
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
pub(crate) fn spec(path: &Path) -> SessionSpec {
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

/// Does each job once, on all cores.
pub(crate) fn on_all_cores<T: Send>(jobs: &mut [T], work: impl Fn(&mut T) + Sync) {
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
