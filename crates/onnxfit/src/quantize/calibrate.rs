//! Runs the float model on every sample and watches values go by.
//!
//! Values are looked at in groups of bounded size, each from a copy of the model cut down to what
//! the group needs; numbers are read where ONNX Runtime left them. What is remembered does not
//! grow with the samples, and is kept on the disk when asked, so that an interrupted measurement
//! goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use onnxfit_onnx::proto::{ModelProto, NodeProto, ValueInfoProto};
use onnxfit_quantize::ranges::{Method, Observer, Observers};
use onnxfit_runtime::{ArenaConfig, ArenaExtend, ElementType, Library, OptimizationLevel, Session, SessionSpec};
use prost::Message as _;

use super::bench::Bench;
use super::state::State;
use crate::Error;
use crate::convert::ranges::float_values;
use crate::probe::groups;
use crate::progress::{Progress, Stage};
use crate::verify::runtime_error;

/// What is looked at in one run.
const GROUP_BYTES_MAX: u64 = 48 << 20;
/// What was seen is kept after so many runs.
const RUNS_PER_KEEPING: u64 = 16;

/// What was seen of these values over all samples.
pub(crate) fn calibrate(
    bench: &Bench<'_>,
    values: &BTreeSet<String>,
    method: Method,
    keep_at: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Observers, Error> {
    let library = Library::load(bench.library).map_err(runtime_error)?;
    let samples = bench.samples;
    let first = samples.get(0)?;
    let made = float_values(&bench.model, &first);
    let made: Vec<(&str, u64)> =
        made.iter().filter(|(name, _)| values.contains(name)).map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let groups = groups(&made, GROUP_BYTES_MAX);
    let total = (groups.len() * samples.len()) as u64;
    let mut state = State::begin(keep_at, &fingerprint(bench, &groups, method), method, progress)?;
    let proto = bench.model.to_proto();
    for (number, group) in groups.iter().enumerate() {
        if state.is_past(number, samples.len()) {
            continue;
        }
        let path = bench.desk.join("calibrate.onnx");
        let cut = cut_down(&proto, group);
        std::fs::write(&path, cut.encode_to_vec()).map_err(|source| Error::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;
        let fed: BTreeSet<&str> = cut.graph.iter().flat_map(|graph| &graph.input).map(|input| input.name()).collect();
        let mut session = Session::open(library, &spec(&path)).map_err(runtime_error)?;
        for index in state.next_sample(number)..samples.len() {
            let done = (number * samples.len() + index) as u64;
            progress.stage(&Stage::Counted { what: "measuring ranges".to_owned(), done, total });
            let sample = samples.get(index)?;
            let inputs = sample.iter().filter(|(name, _)| fed.contains(name));
            let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
            let outputs = session.run_holding(&inputs).map_err(runtime_error)?;
            watch(&mut state.observers, outputs.floats(), method);
            state.done(number, index);
            if done % RUNS_PER_KEEPING == RUNS_PER_KEEPING - 1 {
                state.keep()?;
            }
        }
        state.keep()?;
    }
    // Inputs of the model need no run.
    if !state.inputs_seen {
        for index in 0..samples.len() {
            let sample = samples.get(index)?;
            for (name, tensor) in sample.iter() {
                if values.contains(name) && tensor.element_type() == ElementType::Float {
                    let (numbers, _) = tensor.bytes().unwrap_or_default().as_chunks::<4>();
                    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
                    state.observers.observe(name, &numbers);
                }
            }
        }
        state.inputs_seen = true;
        state.keep()?;
    }
    Ok(state.observers)
}

/// Nothing is fused, so that every value is made as the original makes it.
pub(super) fn spec(path: &Path) -> SessionSpec {
    SessionSpec {
        optimization: OptimizationLevel::Disable,
        cpu_arena: Some(ArenaConfig { extend: Some(ArenaExtend::Same), ..ArenaConfig::default() }),
        ..SessionSpec::new(PathBuf::from(path))
    }
}

/// All values of one run, on all cores.
fn watch<'v>(observers: &mut Observers, values: impl Iterator<Item = (&'v str, &'v [f32])>, method: Method) {
    let mut jobs: Vec<(&str, &[f32], Observer)> = values
        .map(|(name, numbers)| (name, numbers, observers.get(name).cloned().unwrap_or_else(|| Observer::new(method))))
        .collect();
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let queue = Mutex::new(jobs.iter_mut());
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let job = queue.lock().expect("no holder of the lock panics").next();
                    let Some((_, numbers, observer)) = job else { break };
                    observer.observe(numbers);
                }
            });
        }
    });
    for (name, _, observer) in jobs {
        observers.insert(name, observer);
    }
}

/// The model with these values as its outputs, and without the nodes that they do not need.
pub(super) fn cut_down(model: &ModelProto, values: &[&str]) -> ModelProto {
    let mut cut = model.clone();
    let Some(graph) = &mut cut.graph else { return cut };
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
    }
    let mut needed = BTreeSet::new();
    let mut stack: Vec<usize> = values.iter().filter_map(|value| makers.get(value).copied()).collect();
    let mut read: BTreeSet<String> = BTreeSet::new();
    while let Some(index) = stack.pop() {
        if needed.insert(index) {
            for name in names_read(&graph.node[index]) {
                stack.extend(makers.get(name.as_str()));
                read.insert(name);
            }
        }
    }
    let declared = std::mem::take(&mut graph.output);
    let info = |name: &str| {
        let known = declared.iter().chain(&graph.value_info).find(|info| info.name() == name).cloned();
        known.unwrap_or_else(|| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() })
    };
    graph.output = values.iter().map(|name| info(name)).collect();
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        needed.contains(&(index - 1))
    });
    graph.initializer.retain(|tensor| read.contains(tensor.name()));
    graph.sparse_initializer.retain(|tensor| tensor.values.as_ref().is_some_and(|values| read.contains(values.name())));
    graph.input.retain(|input| read.contains(input.name()));
    graph.value_info.clear();
    cut
}

/// Everything that a node and its bodies may read from around it; names of bodies' own among it.
fn names_read(node: &NodeProto) -> Vec<String> {
    let mut names: Vec<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    for attribute in &node.attribute {
        for body in attribute.g.iter().map(|body| &**body).chain(&attribute.graphs) {
            names.extend(body.node.iter().flat_map(names_read));
            names.extend(body.output.iter().map(|output| output.name().to_owned()));
        }
    }
    names
}

/// What a kept measurement must have been made of, to go on from it.
fn fingerprint(bench: &Bench<'_>, groups: &[Vec<&str>], method: Method) -> String {
    let shape: Vec<usize> = groups.iter().map(Vec::len).collect();
    let last = groups.last().and_then(|group| group.last()).copied().unwrap_or_default();
    format!("{method:?} {} {shape:?} {last} {}", bench.samples.text(), bench.model.to_proto().encoded_len())
}
