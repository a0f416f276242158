//! `quantize`: the same model with fewer bits a number, as small as the gate lets it be.
//!
//! Everything that can be wrong with model or calibration data is found before anything long
//! begins, and nothing appears under the final name unless the answers are close enough.

mod bench;
mod calibrate;
mod fused;
mod memory;
mod method;
mod search;
mod spent;
mod state;
mod view;
mod weight_only;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onnxfit_base::Diagnostic;
use onnxfit_onnx::{SaveOptions, SaveReport, TensorSource, save, strip_notes};
use onnxfit_quantize::dynamic::{Dynamic, DynamicOptions};
use onnxfit_quantize::qdq::{Qdq, QdqOptions};
use onnxfit_quantize::{equalize, fold_normalizations, prepare};
use onnxfit_report::DiagnosticView;
use onnxfit_report::quantize::QuantizeView;
use onnxfit_rewrite::inline::inline_functions;

use crate::convert::{BytesIn, MADE_UP, refuse_losses};
use crate::gate::{Gate, Kind, MaxDrop, Metric};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::workplace::Workplace;
use crate::{Error, Model, Request, weights};

use bench::{Bench, on_desk};
use calibrate::{calibrate, ranges_of};
use method::{Built, Method, Static, quantize_error};
use search::{Found, search};
use spent::Spent;
use weight_only::Weights;

pub use onnxfit_quantize::ranges::Method as RangeMethod;
pub use onnxfit_quantize::{IntType, Level, Symmetry};

/// How numbers become integers.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheme {
    /// Values and weights, by ranges that were measured.
    Static {
        /// How ranges are found.
        ranges: RangeMethod,
        /// The type of values.
        activation: IntType,
        /// The type of weights.
        weight: IntType,
        /// Whether ranges of values are symmetric.
        symmetry: Symmetry,
        /// Even out weights between convolutions first.
        equalize: bool,
        /// Where ranges are kept while they are measured.
        keep_ranges: Option<PathBuf>,
    },
    /// Weights beforehand, values when they are there.
    Dynamic,
    /// Weights alone; computation stays in float.
    Weights {
        /// The level that is tried first: [`Level::Int8`] or [`Level::Int4`].
        smallest: Level,
        /// Make up for rounding errors by what the samples say of the layers' inputs.
        compensate: bool,
        /// Run nothing: every weight at its smallest, one in memory at a time.
        unseen: bool,
    },
}

/// How a model is to be quantized.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// How numbers become integers.
    pub scheme: Scheme,
    /// The file to write.
    pub output: PathBuf,
    /// Samples to measure and compare on: `.npz` files, arrays with a row for each, or images; `None`
    /// makes inputs up.
    pub calibration: Option<PathBuf>,
    /// A scale for each channel of a weight.
    pub per_channel: bool,
    /// Weights use one bit less, for processors without VNNI.
    pub reduce_range: bool,
    /// Nodes that stay as they are.
    pub exclude: BTreeSet<String>,
    /// How images of the calibration data become floats.
    pub pixels: BytesIn,
    /// The seed of made-up inputs.
    pub seed: u64,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// The limit that replaces the usual tolerance.
    pub max_drop: Option<MaxDrop>,
    /// Prints a number for a model, for [`Metric::Command`].
    pub metric_command: Option<String>,
    /// Rewrite even if unknown fields are lost.
    pub force: bool,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// Quantizes a model and writes it, if its answers stay close enough.
pub fn quantize(
    model: &Model,
    request: &Request,
    options: &QuantizeOptions,
    progress: &dyn Progress,
) -> Result<QuantizeView, Error> {
    let asks_command = options.max_drop.is_some_and(|drop| drop.metric == Metric::Command);
    if asks_command != options.metric_command.is_some() {
        let hint = "give both: `--max-drop command=0.01 --metric-command \"python3 score.py\"`".to_owned();
        return Err(Error::Binding("a command and its limit belong together".to_owned(), Some(hint)));
    }
    let mut diagnostics = Vec::new();
    let mut spent = Spent::new();
    refuse_losses(model, options.force, options.random_weights.is_some())?;
    let workplace = Workplace::begin(&options.output, model)?;
    let rewrite = |message: String| Error::Rewrite { message, hint: None };
    let inlined = inline_functions(model.graph()).map_err(|error| rewrite(error.to_string()))?;
    let graph = inlined.as_ref().unwrap_or(model.graph());
    if let Scheme::Weights { smallest, unseen: true, .. } = options.scheme {
        let source = weights::source(model, options.random_weights);
        progress.doing("rounding weights");
        let done = weight_only::unseen(graph, source.as_ref(), smallest, &workplace.model(), &mut diagnostics)?;
        let mut view = view::unseen(model, options, &done);
        if view.quantized {
            view.files = workplace.finish(&options.output, done.saved.data_name.as_deref())?;
        }
        view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
        return Ok(view);
    }
    let samples = match &options.calibration {
        Some(path) => Samples::of_path(path, graph, &options.pixels)?,
        None if matches!(options.scheme, Scheme::Static { .. }) => {
            let hint = "give it as `--calib DIR`; `--dynamic` and `--weights` need none".to_owned();
            return Err(Error::Binding("static quantization needs calibration data".to_owned(), Some(hint)));
        }
        None => Samples::made_up(graph, request, options.seed, MADE_UP, &mut diagnostics)?,
    };
    let library = crate::library::ensure(options.offline, progress)?;

    let source = weights::source(model, options.random_weights);
    let original = original(model, graph, source.as_ref(), options, &workplace)?;
    let prepared = prepare(graph, source.as_ref()).map_err(quantize_error)?;
    if !prepared.closed_inputs.is_empty() {
        let message = format!("{} inputs were defaults of weights and are none any more", prepared.closed_inputs.len());
        diagnostics.push(Diagnostic::note("closed-inputs", message));
    }
    let mut ready = prepared.model;
    let mut preparation = Vec::new();
    // Ranges are those of the model as it was given: what folding rounds anew is not in them.
    let mut as_given = None;
    if let Scheme::Static { equalize: evens_out, .. } = &options.scheme {
        let (folded, n_folded) = fold_normalizations(&ready, source.as_ref()).map_err(quantize_error)?;
        let unfolded = std::mem::replace(&mut ready, folded);
        if n_folded > 0 {
            as_given = (!evens_out).then_some(unfolded);
            preparation.push(format!("{n_folded} normalizations folded into convolutions"));
        }
        if *evens_out {
            let (evened, n_pairs) = equalize(&ready, source.as_ref()).map_err(quantize_error)?;
            ready = evened;
            preparation.push(format!("{n_pairs} pairs of convolutions equalized"));
        }
    }
    say_where_kernels_run(request, &options.scheme, &mut diagnostics);
    let gate = options.max_drop.map_or_else(|| Gate::of(Kind::Quantized), Gate::Asked);
    progress.doing("running the float model");
    spent.on("preparing");
    let bench = Bench::new(
        &original,
        &ready,
        source.as_ref(),
        workplace.desk(),
        &library,
        &options.worker,
        &samples,
        gate,
        options.metric_command.as_deref(),
    )?;
    spent.on("float model");
    let mut answer = view::Facts { preparation, ..view::Facts::default() };
    let (found, built) = match &options.scheme {
        Scheme::Static { ranges, activation, weight, symmetry, keep_ranges, .. } => {
            let qdq = QdqOptions {
                activation: *activation,
                activation_symmetry: *symmetry,
                weight: *weight,
                per_channel: options.per_channel,
                reduce_range: options.reduce_range,
                excluded: options.exclude.clone(),
            };
            let qdq = Qdq::new(&bench.model, &bench.store, qdq);
            let unfolded = match &as_given {
                Some(model) => Some(on_desk(model, source.as_ref(), &bench.desk.join("as-given.onnx"))?),
                None => None,
            };
            let measured = unfolded.as_ref().unwrap_or(&bench.model);
            let seen = calibrate(&bench, measured, &qdq.values(), *ranges, keep_ranges.as_deref(), progress)?;
            let (low, high) = activation.used_range(*symmetry, false);
            let ranges = ranges_of(&seen, usize::try_from(high - low + 1).unwrap_or(256));
            answer.of_ranges(&seen, &ranges);
            spent.on("ranges");
            let method = Static { qdq, ranges };
            let found = search(&method, &bench, progress)?;
            spent.on("trials");
            answer.layers = method.layers().to_vec();
            let built = method.build(&found.choice)?;
            (found, built)
        }
        Scheme::Dynamic => {
            let dynamic = DynamicOptions {
                per_channel: options.per_channel,
                reduce_range: options.reduce_range,
                excluded: options.exclude.clone(),
            };
            let method = Dynamic::new(&bench.model, &bench.store, dynamic);
            let found = search(&method, &bench, progress)?;
            spent.on("trials");
            answer.layers = method.layers().to_vec();
            let built = Method::build(&method, &found.choice)?;
            (found, built)
        }
        Scheme::Weights { smallest, compensate, .. } => {
            let mut method = Weights::new(&bench.model, &bench.store, *smallest);
            if *compensate {
                method.compensate(&bench, progress)?;
            }
            spent.on("ranges");
            let found = search(&method, &bench, progress)?;
            spent.on("trials");
            answer.layers = method.layers().to_vec();
            let built = method.build(&found.choice)?;
            (found, built)
        }
    };
    spent.on("building");
    finish(model, request, options, &bench, found, &built, answer, spent, diagnostics, &workplace, progress)
}

/// On a card integers of values are no gain: the kernels are those of the CPU provider.
fn say_where_kernels_run(request: &Request, scheme: &Scheme, diagnostics: &mut Vec<Diagnostic>) {
    let Some(target) = request.target.as_ref().filter(|target| target.gpu.is_some()) else { return };
    let message = match scheme {
        Scheme::Dynamic => format!(
            "DynamicQuantizeLinear, MatMulInteger, ConvInteger and DynamicQuantizeLSTM are kernels of the CPU provider: \
             on {} these nodes run on the CPU, with copies there and back",
            target.name
        ),
        Scheme::Static { .. } => format!(
            "QLinearConv and its like are kernels of the CPU provider: on {} the CUDA provider computes in floats \
             between the pairs; TensorRT fuses them",
            target.name
        ),
        // The card has kernels for what they are kept in.
        Scheme::Weights { .. } => return,
    };
    let hint = "weights alone save memory on a card: `onnxfit quantize --weights int8` or `int4`";
    diagnostics.push(Diagnostic::warning("cpu-kernels", message).with_hint(hint.to_owned()));
}

/// The model that answers are compared with: the file itself, or a copy with made-up weights.
fn original(
    model: &Model,
    graph: &onnxfit_graph::Model,
    source: &dyn TensorSource,
    options: &QuantizeOptions,
    workplace: &Workplace,
) -> Result<PathBuf, Error> {
    if options.random_weights.is_none() {
        return Ok(model.file().path().to_owned());
    }
    let path = workplace.desk().join("original.onnx");
    save(&graph.to_proto(), &path, &SaveOptions::new(source))?;
    Ok(path)
}

#[allow(clippy::too_many_arguments, reason = "one call of one step, cut out for reading")]
fn finish(
    model: &Model,
    request: &Request,
    options: &QuantizeOptions,
    bench: &Bench<'_>,
    found: Found,
    built: &Built,
    mut answer: view::Facts,
    mut spent: Spent,
    mut diagnostics: Vec<Diagnostic>,
    workplace: &Workplace,
    progress: &dyn Progress,
) -> Result<QuantizeView, Error> {
    progress.doing("writing the quantized model");
    let path = workplace.model();
    let has_data_file = bench_has_data_file(model);
    let saved = write(built, bench, &path, has_data_file)?;
    spent.on("writing");
    answer.kernels = fused::kernels(bench, &path).unwrap_or_default();
    answer.memory = memory::memory(model, &path, request, bench, &mut diagnostics);
    answer.notes.extend(built.notes.iter().cloned());
    spent.on("looking at the result");
    answer.spent = spent.into_parts();
    let mut view = view::view(model, options, bench, &found, &saved, answer);
    if found.stop.is_good() {
        view.files = workplace.finish(&options.output, saved.data_name.as_deref())?;
    }
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

fn bench_has_data_file(model: &Model) -> bool {
    model.file().proto.graph.iter().flat_map(|graph| &graph.initializer).any(|tensor| tensor.is_external())
}

/// One file where the original was one, weights beside it where it had some beside.
fn write(built: &Built, bench: &Bench<'_>, path: &Path, has_data_file: bool) -> Result<SaveReport, Error> {
    let source: &dyn TensorSource = built.source.as_deref().unwrap_or(&bench.store);
    let mut proto = built.model.to_proto();
    strip_notes(&mut proto);
    const MODEL_BYTES_MAX: u64 = 1 << 30;
    if !has_data_file && bench::file_bytes(&proto) < MODEL_BYTES_MAX {
        fn take_in(graph: &mut onnxfit_onnx::proto::GraphProto, source: &dyn TensorSource) -> Result<(), Error> {
            for tensor in graph.initializer.iter_mut().filter(|tensor| tensor.is_external()) {
                let bytes = source.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
            for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
                if let Some(body) = &mut attribute.g {
                    take_in(body, source)?;
                }
                for body in &mut attribute.graphs {
                    take_in(body, source)?;
                }
            }
            Ok(())
        }
        if let Some(graph) = &mut proto.graph {
            take_in(graph, source)?;
        }
    }
    Ok(save(&proto, path, &SaveOptions::new(source))?)
}
