//! `measure`: a real run, with the prediction for the same file beside it.
//!
//! Each reading is taken in a worker process of its own, for which of two equal free chunks an
//! arena takes depends on their addresses, and because a meter must not disturb another.

mod calibrate;
mod copy;
mod course;
mod profile;
mod reading;
mod sweep;

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_memory::Prediction;
use onnxfit_memory::arena::ArenaStats as TwinStats;
use onnxfit_report::Size;
use onnxfit_report::measure::{
    CountersView, ExtensionsView, FailuresView, MeasureView, NodeView, ProcessView, StageView, TimeView, accuracy,
};
use onnxfit_runtime::{ArenaStats, ElementType, Meter, Tensors};

use crate::progress::Progress;
use crate::proof::input_shapes;
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::{Contents, Twin};
use crate::verify::{VerifyInputs, inputs};
use crate::{Error, Model, library, weights};

pub use calibrate::{CalibrateOptions, calibrate, read_calibration};
pub(crate) use copy::RunnableCopy;
pub use copy::write_runnable;
use reading::{Reading, read};
pub use sweep::{SweepOptions, sweep};

/// Inputs of more elements are data: nothing asks what they hold.
const ELEMENTS_TOLD_MAX: u64 = 256;

/// How to measure.
#[derive(Clone, Debug)]
pub struct MeasureOptions {
    /// Equal runs of one session.
    pub runs: usize,
    /// Where the inputs come from.
    pub inputs: VerifyInputs,
    /// Fill absent weights with random numbers of this seed.
    pub random_weights: Option<u64>,
    /// Record the allocation traffic too.
    pub trace: bool,
    /// Install nothing.
    pub offline: bool,
    /// The program that serves runs when started with `__worker`.
    pub worker: PathBuf,
}

/// Runs a model and says how well the twin predicted it.
pub fn measure(
    model: &Model,
    request: &Request,
    options: &MeasureOptions,
    progress: &dyn Progress,
) -> Result<MeasureView, Error> {
    let library = library::ensure(options.offline, progress)?;
    let copy = RunnableCopy::make(model, options.random_weights, progress)?;
    let graph = session_graph(copy.model().graph(), copy.model().file().weights(), request);
    let twin = Twin::new(&graph.model, request);
    progress.doing("predicting");
    let mut answer = twin.ask();
    let tensors = tensors(model, &answer.dims, request, &options.inputs)?;
    let fed = contents(&tensors);
    let is_told = !fed.integers.is_empty() || !fed.floats.is_empty();
    let twin = twin.fed(fed);
    if is_told {
        answer = twin.ask();
    }
    let levers = twin.request_levers();
    let prediction = twin.ask_sequence(&vec![answer.dims.clone(); options.runs], levers, request.budget()).prediction;

    let isolated = request.provider == Provider::Cpu && request.limit().is_none() && !request.shrink_after_run;
    let session = reading::Session {
        worker: &options.worker,
        library: &library,
        model: copy.path(),
        request,
        n_runs: options.runs,
    };
    progress.doing("running, with each run's own peak");
    let meter = if isolated { Meter::ArenaEachRun } else { Meter::Arena };
    let counted = read(&session, meter, false, &tensors)?;
    progress.doing("running, with a profile");
    let profiled = read(&session, Meter::Arena, true, &tensors)?;
    let trace = if options.trace && request.provider == Provider::Cpu {
        progress.doing("running, with a record of every allocation");
        traffic(&read(&session, Meter::Requests, false, &tensors)?)
    } else {
        Vec::new()
    };

    let stages = stages(&prediction, &counted, options.runs, isolated);
    let nodes = nodes(&prediction, &profiled, request.provider);
    let mut diagnostics = graph.diagnostics;
    diagnostics.extend(answer.diagnostics);
    if nodes.is_empty() && profiled.failure.is_none() {
        let message = format!("the profile of ONNX Runtime {} tells no bytes (1.28 and later do)", profiled.version);
        diagnostics.push(Diagnostic::note("no-node-bytes", message));
    }
    if options.trace && request.provider != Provider::Cpu {
        diagnostics
            .push(Diagnostic::note("no-trace", "only the CPU provider's allocations can be recorded".to_owned()));
    }
    Ok(MeasureView {
        schema: "onnxfit.measure/1",
        model: model.name(),
        provider: request.provider.as_str().to_owned(),
        ort_version: counted.version.clone(),
        inputs: source_text(options),
        dims: answer.dims,
        peaks_are_isolated: isolated,
        accuracy: accuracy(&stages, &nodes),
        stages,
        extensions: ExtensionsView {
            predicted_bytes: course::extensions(&prediction.trace, request.provider).into_iter().map(Size).collect(),
            measured_bytes: profiled.extensions.iter().copied().map(Size).collect(),
        },
        first_difference: nodes.iter().position(|node| !node.is_equal()),
        nodes,
        process: ProcessView {
            loaded_resident_bytes: profiled.loaded_resident.into(),
            end_resident_bytes: profiled.end_resident.into(),
            peak_resident_bytes: profiled.peak_resident.into(),
            device_bytes: profiled.device.map(Into::into),
        },
        time: TimeView { load_seconds: profiled.load_seconds, run_seconds: profiled.run_seconds.clone() },
        failures: FailuresView {
            predicted: prediction.failure.as_ref().map(|failure| failure.message()),
            measured: counted.failure.as_ref().map(ToString::to_string),
        },
        diagnostics: diagnostics.iter().map(Into::into).collect(),
        trace,
    })
}

/// The feeds of a run.
fn tensors(
    model: &Model,
    dims: &BTreeMap<String, i64>,
    request: &Request,
    from: &VerifyInputs,
) -> Result<Tensors, Error> {
    let shapes = input_shapes(model.graph(), dims, request);
    inputs(from, &shapes, weights::vocab_size(model.graph()))
}

/// What small inputs hold: lengths, shapes, scales and masks may decide sizes.
fn contents(tensors: &Tensors) -> Contents {
    let mut contents = Contents::default();
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.len() <= ELEMENTS_TOLD_MAX) {
        let Some(values) = tensor.values() else { continue };
        match tensor.element_type() {
            ElementType::Float | ElementType::Float16 | ElementType::Bfloat16 | ElementType::Double => {
                contents.floats.insert(name.to_owned(), values);
            }
            // What a float holds exactly is a whole number here.
            _ => {
                contents.integers.insert(name.to_owned(), values.iter().map(|value| *value as i64).collect());
            }
        }
    }
    contents
}

fn source_text(options: &MeasureOptions) -> String {
    let inputs = match &options.inputs {
        VerifyInputs::Seeded(seed) => format!("inputs made up from seed {seed}"),
        VerifyInputs::File(path) => format!("the inputs of {}", path.display()),
    };
    match options.random_weights {
        Some(seed) => format!("{inputs}, absent weights from seed {seed}"),
        None => inputs,
    }
}

/// Load, runs, and releases, side by side.
fn stages(prediction: &Prediction, counted: &Reading, n_runs: usize, isolated: bool) -> Vec<StageView> {
    let mut highest = (Bytes::ZERO, Bytes::ZERO);
    let mut stages = Vec::new();
    let mut add = |stage: String, predicted: Option<TwinStats>, measured: Option<(ArenaStats, Bytes)>| {
        let mut predicted = predicted.map(|stats| twin_counters(&stats));
        let mut measured = measured.map(|(stats, peak)| counters(&stats, peak));
        if !isolated {
            for (counters, highest) in [(&mut predicted, &mut highest.0), (&mut measured, &mut highest.1)] {
                if let Some(counters) = counters {
                    *highest = (*highest).max(counters.peak_in_use_bytes.0);
                    counters.peak_in_use_bytes = (*highest).into();
                }
            }
        }
        stages.push(StageView { stage, predicted, measured });
    };
    let loaded = counted.load.map(|stats| (stats, stats.max_in_use));
    add("load".to_owned(), Some(prediction.load), loaded);
    for index in 0..n_runs {
        let predicted = prediction.runs.get(index);
        // A run that is to fail leaves counters, but nothing to hold them against.
        let completes = prediction.failure.as_ref().is_none_or(|failure| failure.run != Some(index));
        let predicted = predicted.filter(|_| completes);
        let measured = counted.runs.get(index);
        let name = format!("run {}", index + 1);
        add(name.clone(), predicted.map(|run| run.stats), measured.map(|run| (run.with_outputs, run.peak)));
        add(
            format!("{name} released"),
            predicted.map(|run| TwinStats { max_in_use_bytes: run.peak_in_use_bytes, ..run.released }),
            measured.map(|run| (run.released, run.peak)),
        );
    }
    stages
}

fn twin_counters(stats: &TwinStats) -> CountersView {
    CountersView {
        in_use_bytes: stats.in_use_bytes.into(),
        peak_in_use_bytes: stats.max_in_use_bytes.into(),
        total_bytes: stats.total_allocated_bytes.into(),
        n_allocs: stats.n_allocs,
        n_reserves: stats.n_reserves,
        n_extensions: stats.n_extensions,
    }
}

fn counters(stats: &ArenaStats, peak: Bytes) -> CountersView {
    CountersView {
        in_use_bytes: stats.in_use.into(),
        peak_in_use_bytes: peak.into(),
        total_bytes: stats.total_allocated.into(),
        n_allocs: stats.num_allocs,
        n_reserves: stats.num_reserves,
        n_extensions: stats.num_arena_extensions,
    }
}

/// The profile's nodes in order, each with the twin's figures for it.
fn nodes(prediction: &Prediction, profiled: &Reading, provider: Provider) -> Vec<NodeView> {
    let course = course::course(&prediction.trace, provider);
    let mut views = Vec::new();
    for (run, measured) in profiled.nodes.iter().enumerate() {
        let predicted = course.get(run).map(Vec::as_slice).unwrap_or_default();
        let mut at = 0;
        for node in measured {
            // A node that the twin does not run is passed over; one that it runs besides is skipped. A
            // name that only the twin knows was made up for a node that a rewrite put there.
            let named = predicted[at..].iter().position(|moment| node.is(&moment.name, &moment.op_type));
            let is_made_up = |moment: &&course::Moment| {
                *moment.op_type == *node.op_type && measured.iter().all(|other| *other.name != *moment.name)
            };
            let found = named.or_else(|| predicted.get(at).filter(is_made_up).map(|_| 0));
            let moment = found.map(|skipped| {
                at += skipped + 1;
                &predicted[at - 1]
            });
            views.push(NodeView {
                run: run + 1,
                node: node.name.clone(),
                op_type: node.op_type.clone(),
                predicted_in_use_bytes: moment.map(|moment| moment.in_use.into()),
                measured_in_use_bytes: node.in_use.into(),
                predicted_held_bytes: moment.map(|moment| moment.held.into()),
                measured_held_bytes: node.held.into(),
            });
        }
    }
    views
}

/// Allocation traffic as lines: `load`, `run N`, and between them `a ID BYTES`, `r ID BYTES`, `f ID`.
fn traffic(reading: &Reading) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, trace) in reading.traces.iter().enumerate() {
        lines.push(if index == 0 { "load".to_owned() } else { format!("run {index}") });
        lines.extend(trace.events.iter().map(ToString::to_string));
        if trace.truncated {
            lines.push("truncated".to_owned());
        }
    }
    lines
}
