//! `fix`: make it fit, prove it, write the result.

mod means;
mod measured;
mod rounded;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_hardware::candidates;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_plan::{Account, Fit, Goal, Judged, Outcome, Plan, Precision, Prefer, account, search};
use onnxfit_report::DiagnosticView;
use onnxfit_report::check::BandView;
use onnxfit_report::fix::{AlternativeView, ConsideredView, FixView, InstanceView, VerifyView};
use onnxfit_rewrite::half::{HalfOutcome, HalfType};
use onnxfit_runtime::verify::Exactness;

use crate::artifacts::{self, BatchFile, Folder, MODEL_FILE, PredictedFile, SessionFile, SessionOptionsFile};
use crate::changes::{BatchSplit, batch_split, to_half};
use crate::options::{refused, session_options, verdict};
use crate::oracle::{BatchRequest, Known, TwinOracle};
use crate::progress::{Progress, Stage};
use crate::proof::{ProofRequest, prove_plan};
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::timeline::timeline;
use crate::twin::Twin;
use crate::verify::VerifyInputs;
use crate::{Error, Model, recommend, weights};

use means::Means;
use measured::{Measured, compare_with_plan};
use rounded::{rounded_twin, write_rounded};

/// How a model is to be made to fit.
#[derive(Clone, Debug)]
pub struct FixOptions {
    /// The folder to write; `None` only plans.
    pub output: Option<PathBuf>,
    /// What to keep when not everything can be kept.
    pub prefer: Prefer,
    /// The dimension that the batch is, if its name does not tell.
    pub batch_dim: Option<String>,
    /// Inputs of the proof; `None` skips it.
    pub verify: Option<VerifyInputs>,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// Rewrite even if unknown fields are lost.
    pub force: bool,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// Finds a plan, carries it out, and proves it.
pub fn fix(model: &Model, request: &Request, options: &FixOptions, progress: &dyn Progress) -> Result<FixView, Error> {
    let budget = request.budget().ok_or_else(|| {
        let hint = "give `--on g4dn.xlarge`, `--on T4` or `--on 14GiB`".to_owned();
        Error::Binding("nothing is said about where the model should fit".to_owned(), Some(hint))
    })?;
    let before = crate::check(model, request)?;
    // What a plan rests on must be what was meant.
    if let Some(slip) = before.diagnostics.iter().find(|finding| finding.severity == "error") {
        return Err(Error::Binding(slip.message.clone(), slip.hint.clone()));
    }
    let dims = before.dims.clone();
    let mut diagnostics = Vec::new();

    let original = session_graph(model.graph(), model.file().weights(), request);
    let axes = batch_split(model.graph(), options.batch_dim.as_deref());
    let batch = match &axes {
        Ok(axes) => dims.get(&axes.dim).and_then(|rows| u64::try_from(*rows).ok()).map(|rows| (axes, rows)),
        Err(reason) => {
            diagnostics.push(Diagnostic::note("no-split", reason.clone()));
            None
        }
    };
    let source = weights::source(model, options.random_weights);
    let gpu = request.target.as_ref().and_then(|target| target.gpu);
    let mut means = Means::of(request.provider, gpu);
    let half = halved(model, source.as_ref(), Precision::Half, &mut means, &mut diagnostics);
    let brain = halved(model, source.as_ref(), Precision::Bfloat16, &mut means, &mut diagnostics);
    let graph_of = |half: &HalfOutcome| {
        let graph = session_graph(&half.model, &half.source(source.as_ref()), request);
        Twin::of(Cow::Owned(graph.model.into_owned()), None, request)
    };
    let twin = Twin::new(&original.model, request);
    let goal = Goal {
        batch: batch.as_ref().map(|(_, rows)| *rows),
        may_halve: half.is_some() && means.half,
        may_use_bfloat16: brain.is_some() && means.bfloat16,
        may_round_weights: true,
        weights_dominate: means::weight_bytes(model.graph()) > before.device_peak_bytes.expected.0.get() / 2,
        half_is_fast: means.half_is_fast,
        device_allocator: request.provider == Provider::Cuda,
        prefer: options.prefer,
    };
    let round = |precision: Precision| rounded_twin(model, source.as_ref(), request, precision);
    let judged_so_far = |n_judged: usize| progress.stage(&Stage::Doing(format!("replaying plan {n_judged}")));
    let mut oracle = TwinOracle {
        original: twin,
        half: half.as_ref().map(graph_of),
        bfloat16: brain.as_ref().map(graph_of),
        gpu,
        round: &round,
        rounded: Default::default(),
        dims: dims.clone(),
        batch: batch.as_ref().map(|(axes, rows)| BatchRequest { dim: axes.dim.clone(), rows: *rows }),
        budget,
        tells_arena: request.provider == Provider::Cpu,
        on_judged: &judged_so_far,
        n_judged: 0,
        known: Known::default(),
    };
    let plan = match search(&goal, &mut oracle) {
        Ok(plan) => plan,
        Err(never) => match never {},
    };
    for precision in [Precision::Weights8, Precision::Weights4] {
        if oracle.is_missing(precision) {
            means.refuse(precision, "the weights are absent, or none of them may be rounded".to_owned());
        }
    }
    let mut view = FixView {
        schema: "onnxfit.plan/1",
        fitted: plan.chosen.is_some(),
        model: model.name(),
        target: request.target_view(),
        chosen: plan.chosen.as_ref().map(|judged| alternative_view(judged, goal.batch)),
        options: session_options(&oracle.original, request, &dims),
        refused_options: refused(request),
        alternatives: plan.alternatives.iter().map(|judged| alternative_view(judged, goal.batch)).collect(),
        considered: account(&plan, &goal, &means.refused).into_iter().map(considered_view).collect(),
        stop_reason: plan.stop.text().to_owned(),
        instances: instances(model, request, &plan, &oracle.original, &dims),
        verify: None,
        files: Vec::new(),
        diagnostics: Vec::new(),
        timeline: plan.chosen.as_ref().and_then(|judged| {
            let judgement = oracle.ask(&judged.point)?;
            Some(timeline(&judgement.prediction, None, request))
        }),
        before,
    };
    if let (Some(chosen), Some(output)) = (&plan.chosen, &options.output) {
        let narrow = match chosen.point.precision {
            Precision::Half => half.as_ref(),
            Precision::Bfloat16 => brain.as_ref(),
            _ => None,
        };
        let fitted = narrow.map_or(model.graph(), |narrow| &narrow.model);
        let carry = Carry {
            model,
            fitted,
            source: source.as_ref(),
            half: narrow,
            twin: oracle.twin(chosen.point.precision),
            request,
            options,
            chosen,
            dims: &dims,
            budget,
        };
        carry.out(output, batch.as_ref().map(|(axes, _)| *axes), &mut view, &mut diagnostics, progress)?;
    }
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

/// A plan on its way to the disk.
struct Carry<'a> {
    model: &'a Model,
    fitted: &'a GraphModel,
    source: &'a dyn TensorSource,
    half: Option<&'a HalfOutcome>,
    /// What the plan was made with.
    twin: Option<&'a Twin<'a>>,
    request: &'a Request,
    options: &'a FixOptions,
    chosen: &'a Judged,
    dims: &'a BTreeMap<String, i64>,
    budget: Bytes,
}

impl Carry<'_> {
    fn out(
        &self,
        output: &Path,
        axes: Option<&BatchSplit>,
        view: &mut FixView,
        diagnostics: &mut Vec<Diagnostic>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let folder = Folder::begin(output)?;
        let precision = self.chosen.point.precision;
        let is_half = precision == Precision::Half;
        let absent = if self.options.random_weights.is_some() { Vec::new() } else { weights::absent(self.model) };
        let path = folder.path().join(MODEL_FILE);
        let measured = match (&self.options.verify, absent.is_empty() && is_half) {
            (Some(from), true) => self.write_measured(&folder, axes, from, diagnostics, progress),
            _ => None,
        };
        if precision.is_rounded() {
            write_rounded(self.model, self.request, self.options, precision, &path, diagnostics, progress)?;
            if let Some(planned) = self.twin {
                let sizes = (&self.dims_of_a_run(axes), self.budget);
                rounded::compare_with_plan(planned, &path, self.request, sizes, diagnostics);
            }
        } else if measured.is_none() {
            self.write_model(&path, self.fitted, precision.is_half(), progress)?;
        }
        let session = self.session_file(axes);
        if !absent.is_empty() {
            let message = format!(
                "{} weights are absent, first `{}`: the model was written without them",
                absent.len(),
                absent[0]
            );
            let hint = "put the data file beside the model, or try with `--random-weights SEED`";
            diagnostics.push(Diagnostic::warning("absent-weights", message).with_hint(hint));
        }
        if precision == Precision::Bfloat16 && self.options.verify.is_some() {
            let message = "bfloat16 was not compared: the CPU provider cannot run it".to_owned();
            let hint = "run both on the card: `onnxfit run` with `--provider cuda`".to_owned();
            diagnostics.push(Diagnostic::warning("not-compared", message).with_hint(hint));
        } else if let (Some(from), true) = (&self.options.verify, absent.is_empty()) {
            let original = if !precision.is_exact() || self.options.random_weights.is_none() {
                let path = folder.path().join("original.onnx");
                if self.options.random_weights.is_some() {
                    self.write_model(&path, self.model.graph(), false, progress)?;
                    path
                } else {
                    self.model.file().path().to_owned()
                }
            } else {
                folder.path().join(MODEL_FILE)
            };
            view.verify = Some(self.prove(&original, &folder.path().join(MODEL_FILE), &session, from, progress)?);
            // Only the proof needed it.
            for leftover in ["original.onnx", "original.onnx.data"] {
                let _ = std::fs::remove_file(folder.path().join(leftover));
            }
        }
        view.files = vec![MODEL_FILE.to_owned()];
        let data = format!("{MODEL_FILE}.data");
        if folder.path().join(&data).exists() {
            view.files.push(data);
        }
        view.files.extend(["session.json", "run.py", "plan.json"].map(str::to_owned));
        artifacts::write(&folder, &session, view)?;
        folder.finish()
    }

    /// The sizes of one run of the plan.
    fn dims_of_a_run(&self, axes: Option<&BatchSplit>) -> BTreeMap<String, i64> {
        let mut dims = self.dims.clone();
        if let (Some(axes), Some(rows)) = (axes, self.chosen.point.micro_batch) {
            dims.insert(axes.dim.clone(), i64::try_from(rows).unwrap_or(i64::MAX));
        }
        dims
    }

    /// The half-precision model with ranges that were measured; `None` where that could not be done,
    /// and why is said.
    fn write_measured(
        &self,
        folder: &Folder,
        axes: Option<&BatchSplit>,
        from: &VerifyInputs,
        diagnostics: &mut Vec<Diagnostic>,
        progress: &dyn Progress,
    ) -> Option<()> {
        let desk = folder.path().join("desk");
        let path = folder.path().join(MODEL_FILE);
        let done = (|| {
            std::fs::create_dir_all(&desk).map_err(|source| Error::Io {
                action: "create",
                path: desk.clone(),
                source,
            })?;
            let library = crate::library::ensure(self.options.offline, progress)?;
            let measured = Measured {
                model: self.model,
                source: self.source,
                request: self.request,
                dims: self.dims,
                axes,
                from,
                library: &library,
                worker: &self.options.worker,
                desk: &desk,
                path: &path,
            };
            measured.write(diagnostics, progress)
        })();
        let _ = std::fs::remove_dir_all(&desk);
        match done {
            Ok(halved) => {
                if let Some(planned) = self.twin {
                    let (source, sizes) = (self.source, (&self.dims_of_a_run(axes), self.budget));
                    compare_with_plan(planned, &halved, source, self.request, sizes, diagnostics);
                }
                Some(())
            }
            Err(error) => {
                let message =
                    format!("half precision was made by cautious rules, for it could not be measured: {error}");
                diagnostics.push(Diagnostic::note("half-not-measured", message));
                None
            }
        }
    }

    /// An untouched model with all its bytes in one file is copied; any other is written anew.
    fn write_model(
        &self,
        path: &Path,
        graph: &GraphModel,
        changed: bool,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let file = self.model.file();
        let proto = graph.to_proto();
        let has_external = has_external_data(&file.proto);
        if !changed && !has_external {
            return Ok(file.copy_to(path)?);
        }
        if let (Some(first), false) = (&file.first_unknown_field, self.options.force) {
            return Err(
                onnxfit_onnx::OnnxError::WouldLose { path: file.path().to_owned(), first: first.clone() }.into()
            );
        }
        let written = |done: Bytes, total: Bytes| {
            let what = "writing weights".to_owned();
            progress.stage(&Stage::Counted { what, done: done.get(), total: total.get() });
        };
        let converting = self.half.filter(|_| changed).map(|half| half.source(self.source));
        let source: &dyn TensorSource = converting.as_ref().map_or(self.source, |source| source);
        save(&proto, path, &SaveOptions { progress: Some(&written), ..SaveOptions::new(source) })?;
        Ok(())
    }

    fn session_file(&self, axes: Option<&BatchSplit>) -> SessionFile {
        let levers = self.chosen.point.levers;
        let mut config = BTreeMap::new();
        if levers.device_allocator_for_initializers {
            config.insert("session.use_device_allocator_for_initializers".to_owned(), "1".to_owned());
        }
        let batch = axes.zip(self.chosen.point.micro_batch).map(|(axes, max_rows)| BatchFile {
            max_rows,
            inputs: axes.inputs.clone(),
            outputs: axes.outputs.clone(),
        });
        SessionFile {
            schema: "onnxfit.session/1",
            model: MODEL_FILE,
            provider: match self.request.provider {
                Provider::Cpu => "CPUExecutionProvider",
                Provider::Cuda => "CUDAExecutionProvider",
            },
            provider_options: artifacts::provider_options(self.request, levers),
            session_options: SessionOptionsFile {
                graph_optimization_level: self.request.optimization.as_str(),
                enable_mem_pattern: levers.mem_pattern,
                intra_op_num_threads: if self.request.provider == Provider::Cpu { self.request.n_threads } else { 0 },
                config,
            },
            run_options: levers
                .shrink_after_run
                .then(|| artifacts::shrinkage(self.request.provider))
                .into_iter()
                .collect(),
            cpu_arena: artifacts::cpu_arena(self.request, levers),
            batch,
            predicted: PredictedFile {
                peak_bytes: band_view(self.chosen),
                held_bytes: self.chosen.held.into(),
                budget_bytes: Some(self.budget.into()),
                target: self.request.target.as_ref().map_or_else(String::new, |target| target.name.clone()),
                dims: self.dims.clone(),
            },
            versions: BTreeMap::from([
                ("onnxfit".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
                ("onnxruntime".to_owned(), self.request.ort_version.clone()),
            ]),
        }
    }

    fn prove(
        &self,
        original: &Path,
        fitted: &Path,
        session: &SessionFile,
        from: &VerifyInputs,
        progress: &dyn Progress,
    ) -> Result<VerifyView, Error> {
        let library = crate::library::ensure(self.options.offline, progress)?;
        prove_plan(
            &ProofRequest {
                model: self.model.graph(),
                request: self.request,
                dims: self.dims,
                session,
                original,
                fitted,
                exactness: match self.chosen.point.precision {
                    Precision::Original => Exactness::Exact,
                    Precision::Half | Precision::Bfloat16 => Exactness::Half,
                    Precision::Weights8 | Precision::Weights4 => Exactness::Quantized,
                },
                from,
                library: &library,
                worker: &self.options.worker,
            },
            progress,
        )
    }
}

/// The model in half the width; `None`, and why, where it cannot be had.
fn halved(
    model: &Model,
    source: &dyn TensorSource,
    precision: Precision,
    means: &mut Means,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<HalfOutcome> {
    let (target, may) = match precision {
        Precision::Bfloat16 => (HalfType::Bfloat16, means.bfloat16),
        _ => (HalfType::Float16, means.half),
    };
    if !may {
        return None;
    }
    match to_half(model.graph(), source, target) {
        Ok(half) => Some(half),
        Err(reason) => {
            if precision == Precision::Half {
                diagnostics.push(Diagnostic::note("no-half", reason.clone()));
            }
            means.refuse(precision, reason);
            None
        }
    }
}

fn considered_view(account: Account) -> ConsideredView {
    ConsideredView {
        change: account.change,
        outcome: match account.outcome {
            Outcome::Taken => "taken",
            Outcome::NotTaken => "not taken",
            Outcome::NotEnough => "not enough",
            Outcome::NotPossible => "not possible",
        },
        reason: account.reason,
    }
}

fn band_view(judged: &Judged) -> BandView {
    BandView { low: judged.peak.low.into(), expected: judged.peak.expected.into(), high: judged.peak.high.into() }
}

fn alternative_view(judged: &Judged, batch: Option<u64>) -> AlternativeView {
    AlternativeView {
        changes: judged.point.changes(batch),
        accuracy: if judged.point.precision.is_exact() { "exact" } else { "approximate" },
        micro_batch: judged.point.micro_batch,
        n_runs: batch.zip(judged.point.micro_batch).map_or(1, |(batch, rows)| batch.div_ceil(rows)),
        peak_bytes: band_view(judged),
        held_bytes: judged.held.into(),
        verdict: verdict(judged.fit),
    }
}

/// Where the request fits as it is; asked only when it does not fit where it should.
fn instances(
    model: &Model,
    request: &Request,
    plan: &Plan,
    twin: &Twin<'_>,
    dims: &BTreeMap<String, i64>,
) -> Vec<InstanceView> {
    const SHOWN_MAX: usize = 5;
    const REGION: &str = "us-east-1";
    if plan.before.fit == Fit::Fits || request.provider == Provider::Cpu {
        return Vec::new();
    }
    let Some(needed) = recommend::smallest_device(twin, dims) else { return Vec::new() };
    let found = candidates(needed, recommend::host_bytes(model), REGION);
    let views = found.iter().take(SHOWN_MAX).map(|candidate| InstanceView {
        name: candidate.instance.name.clone(),
        gpu: candidate.gpu.key.clone(),
        budget_bytes: candidate.budget.into(),
        usd_per_hour: candidate.price.as_ref().map(|price| price.usd_per_hour),
        price_basis: candidate
            .price
            .as_ref()
            .map(|price| format!("{}, {}", price.region, price.date))
            .unwrap_or_default(),
    });
    views.collect()
}

/// Whether any initializer of the main graph lies in another file.
pub(crate) fn has_external_data(proto: &ModelProto) -> bool {
    proto.graph.iter().flat_map(|graph| &graph.initializer).any(|tensor| tensor.is_external())
}
