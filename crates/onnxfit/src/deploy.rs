//! `deploy`: what Triton, Kubernetes and SageMaker must be told, sized by the twin.
//!
//! Several sessions on one card share its memory but for the context: each gets an equal share, and
//! the most rows that fit that share, through any order of batches that a server may put together.

pub(crate) mod settings;
pub(crate) mod signature;
mod write;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_deploy::kubernetes::Repository;
use onnxfit_hardware::Target;
use onnxfit_plan::{Fit, Goal, Judged, Oracle, Point, Prefer, search};
use onnxfit_report::DiagnosticView;
use onnxfit_report::check::BandView;
use onnxfit_report::deploy::DeployView;

use crate::changes::batch_split;
use crate::fix::{FixOptions, fix};
use crate::oracle::judged;
use crate::progress::{Progress, Stage};
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::{Error, Model, weights};

use signature::Signature;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// The model's name; that of its file, or of the folder around a `model.onnx`.
    pub name: Option<String>,
    /// The dimension that the batch is, if its name does not tell.
    pub batch_dim: Option<String>,
    /// Sessions side by side on each GPU.
    pub n_instances: u64,
    /// How long a server may wait for more rows.
    pub queue_delay_microseconds: u64,
    /// The folder of Triton's model repository; the model is put into a folder of its own there.
    pub triton: Option<PathBuf>,
    /// A Kubernetes manifest.
    pub kubernetes: Option<KubernetesOptions>,
    /// Requests to SageMaker.
    pub sagemaker: Option<SagemakerOptions>,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
}

/// What the catalogue does not know about a cluster.
#[derive(Clone, Debug)]
pub struct KubernetesOptions {
    /// The manifest to write.
    pub file: PathBuf,
    /// The image that brings `tritonserver`.
    pub image: String,
    /// A PersistentVolumeClaim, or an address such as `s3://…`.
    pub models: String,
    /// Pods at least.
    pub replicas_min: u64,
    /// Pods at most.
    pub replicas_max: u64,
}

/// What the catalogue does not know about an account.
#[derive(Clone, Debug)]
pub struct SagemakerOptions {
    /// The folder of requests to write.
    pub folder: PathBuf,
    /// The image of the container.
    pub image: String,
    /// The archive of the repository: `s3://…/model.tar.gz`.
    pub model_data: String,
    /// The role that the endpoint acts as.
    pub role: String,
    /// Instances at the beginning.
    pub n_instances: u64,
}

/// Sizes a deployment and writes what was asked for; if nothing fits, only says so.
pub fn deploy(
    model: &Model,
    request: &Request,
    options: &DeployOptions,
    progress: &dyn Progress,
) -> Result<DeployView, Error> {
    let target = request.target.clone().ok_or_else(|| {
        let hint = "give `--on g4dn.xlarge`, `--on T4` or `--on 14GiB`".to_owned();
        Error::Binding("nothing is said about where the model should run".to_owned(), Some(hint))
    })?;
    let n_instances = options.n_instances.max(1);
    let share = share(request, &target, n_instances);
    let mut request = request.clone();
    // Alone on a card nobody else is harmed by what it takes.
    if n_instances > 1 || request.provider == Provider::Cpu {
        let arena = share.saturating_sub(context(&request, &target));
        request.arena_limit = Some(request.arena_limit.map_or(arena, |limit| limit.min(arena)));
    }
    let request = &request;

    let source = weights::source(model, options.random_weights);
    let graph = session_graph(model.graph(), source.as_ref(), request);
    let twin = Twin::new(&graph.model, request);
    twin.refuse(&request.dims, &request.shapes)?;
    progress.doing("replaying the request");
    let asked = twin.ask();
    if let Some(slip) = asked.diagnostics.iter().find(|finding| finding.severity == onnxfit_base::Severity::Error) {
        return Err(Error::Binding(slip.message.clone(), slip.hint.clone()));
    }
    let mut diagnostics = graph.diagnostics.clone();
    let mut dims = asked.dims.clone();
    let split = match batch_split(model.graph(), options.batch_dim.as_deref()) {
        Ok(split) => Some(split),
        Err(reason) => {
            let hint = "a server may not put requests together; each runs as it comes".to_owned();
            diagnostics.push(Diagnostic::note("no-split", reason).with_hint(hint));
            None
        }
    };
    let wanted = split.as_ref().map(|split| {
        let given = request.dims.get(&split.dim).and_then(|rows| u64::try_from(*rows).ok());
        let rows = given.unwrap_or(ROWS_WANTED).max(1);
        if given.is_none() {
            let message = format!("looked for at most {rows} rows in one run");
            let hint = format!("say how many are wanted with `--dim {}=N`", split.dim);
            diagnostics.push(Diagnostic::note("rows-assumed", message).with_hint(hint));
        }
        dims.insert(split.dim.clone(), i64::try_from(rows).unwrap_or(i64::MAX));
        (split.dim.clone(), rows)
    });
    let is_about_batch = |finding: &&Diagnostic| finding.id != "open-dims" || !only_batch_is_open(finding, &wanted);
    diagnostics.extend(asked.diagnostics.iter().filter(is_about_batch).cloned());

    let goal = Goal {
        batch: wanted.as_ref().map(|(_, rows)| *rows),
        may_halve: false,
        may_use_bfloat16: false,
        may_round_weights: false,
        weights_dominate: false,
        half_is_fast: false,
        device_allocator: request.provider == Provider::Cuda,
        prefer: Prefer::Exact,
    };
    let tried = |n_judged: usize| progress.stage(&Stage::Doing(format!("replaying batch {n_judged}")));
    let mut oracle =
        ServedOracle { twin: &twin, dims: &dims, batch: wanted.clone(), share, tried: &tried, n_judged: 0 };
    let plan = match search(&goal, &mut oracle) {
        Ok(plan) => plan,
        Err(never) => match never {},
    };
    // A plan inside the band may fail at night.
    let chosen = plan.chosen.filter(|chosen| chosen.fit == Fit::Fits);
    let rows_max =
        wanted.as_ref().map(|(_, rows)| chosen.as_ref().and_then(|plan| plan.point.micro_batch).unwrap_or(*rows));
    if let (Some((dim, _)), Some(rows)) = (&wanted, rows_max) {
        dims.insert(dim.clone(), i64::try_from(rows).unwrap_or(i64::MAX));
    }
    let signature = Signature::of(model.graph(), request, &dims)?;
    let batches = split.as_ref().filter(|split| signature.has_rows_first(split));
    if let (Some(split), None) = (&split, batches) {
        let message = format!("rows of `{}` do not lie along the first axis of every input and output", split.dim);
        let hint = "Triton puts no requests together then; send whole batches".to_owned();
        diagnostics.push(Diagnostic::note("no-first-axis", message).with_hint(hint));
    }
    let name = options.name.clone().unwrap_or_else(|| name_of(model));
    let mut view = DeployView {
        schema: "onnxfit.deploy/1",
        fits: chosen.is_some(),
        model: model.name(),
        name: onnxfit_deploy::plain_name(&name),
        target: request.target_view(),
        dims: dims.clone(),
        batch_dim: wanted.as_ref().map(|(dim, _)| dim.clone()),
        rows_wanted: wanted.as_ref().map(|(_, rows)| *rows),
        rows_max: rows_max.filter(|_| chosen.is_some()),
        server_batches: batches.is_some(),
        n_instances,
        changes: chosen.as_ref().map(|plan| plan.point.levers.changes()).unwrap_or_default(),
        arena_limit_bytes: request.arena_limit.map(Into::into),
        instance_bytes: chosen.as_ref().map(band),
        sessions_max: 0,
        processes_max: 0,
        host_bytes: Bytes::ZERO.into(),
        stop_reason: plan.stop.text().to_owned(),
        fix: None,
        files: Vec::new(),
        next: Vec::new(),
        diagnostics: Vec::new(),
    };
    let Some(chosen) = chosen else {
        view.fix = Some(fix_plan(model, request, options, wanted.as_ref(), progress)?);
        view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
        return Ok(view);
    };
    let context = context(request, &target);
    let whole = budget(request, &target);
    let arena = chosen.peak.high.saturating_sub(context).get().max(1);
    view.sessions_max = whole.saturating_sub(context).get() / arena;
    view.processes_max = whole.get() / chosen.peak.high.get().max(1);
    let held = asked.judgement.prediction.breakdown.weights_bytes;
    let host = host_bytes(model, held, request, &chosen, n_instances);
    view.host_bytes = host.into();
    let writing = write::Writing {
        model,
        request,
        target: &target,
        options,
        chosen: &chosen,
        signature: &signature,
        batching: batches.and(rows_max),
        source: source.as_ref(),
        weights_bytes: held,
        host_bytes: host,
    };
    writing.all(&mut view, &mut diagnostics, progress)?;
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

/// Judges what a server does: full batches, smaller ones between them, and full ones again.
struct ServedOracle<'a> {
    twin: &'a Twin<'a>,
    dims: &'a BTreeMap<String, i64>,
    batch: Option<(String, u64)>,
    share: Bytes,
    tried: &'a dyn Fn(usize),
    n_judged: usize,
}

impl Oracle for ServedOracle<'_> {
    type Error = Infallible;

    fn judge(&mut self, point: Point) -> Result<Judged, Infallible> {
        self.n_judged += 1;
        (self.tried)(self.n_judged);
        let full = point.micro_batch.or(self.batch.as_ref().map(|(_, rows)| *rows)).unwrap_or(1);
        let runs: Vec<BTreeMap<String, i64>> = [full, full, full.div_ceil(2), full, 1, full, full]
            .into_iter()
            .map(|rows| {
                let mut dims = self.dims.clone();
                if let Some((dim, _)) = &self.batch {
                    dims.insert(dim.clone(), i64::try_from(rows).unwrap_or(i64::MAX));
                }
                dims
            })
            .collect();
        Ok(judged(point, &self.twin.ask_sequence(&runs, point.levers, Some(self.share))))
    }
}

/// What fix would do on the whole card, said when nothing exact is enough.
fn fix_plan(
    model: &Model,
    request: &Request,
    options: &DeployOptions,
    wanted: Option<&(String, u64)>,
    progress: &dyn Progress,
) -> Result<onnxfit_report::fix::FixView, Error> {
    let mut request = request.clone();
    if request.provider == Provider::Cuda && options.n_instances > 1 {
        request.arena_limit = None;
    }
    if let Some((dim, rows)) = wanted {
        request.dims.insert(dim.clone(), i64::try_from(*rows).unwrap_or(i64::MAX));
    }
    let planning = FixOptions {
        output: None,
        prefer: Prefer::Exact,
        batch_dim: options.batch_dim.clone(),
        verify: None,
        random_weights: options.random_weights,
        force: false,
        offline: true,
        worker: PathBuf::new(),
    };
    fix(model, &request, &planning, progress)
}

/// What one session may take, context included.
fn share(request: &Request, target: &Target, n_instances: u64) -> Bytes {
    let context = context(request, target);
    context + Bytes(budget(request, target).saturating_sub(context).get() / n_instances)
}

/// What the process takes besides its arenas, at most; all sessions of a process share it.
fn context(request: &Request, target: &Target) -> Bytes {
    match request.provider {
        Provider::Cuda => target.context.high,
        Provider::Cpu => Bytes::ZERO,
    }
}

/// What the whole server may take.
fn budget(request: &Request, target: &Target) -> Bytes {
    match request.provider {
        Provider::Cuda => target.budget,
        Provider::Cpu => target.host_memory.unwrap_or(target.budget),
    }
}

/// Host memory: that of loading, and of everything that runs there.
fn host_bytes(model: &Model, weights: Bytes, request: &Request, chosen: &Judged, n_instances: u64) -> Bytes {
    let file = model.file().size().max(weights);
    // As `recommend` counts it: the file and its tensors at once, and a process with CUDA.
    let loading = Bytes::gib(2) + file + file;
    match request.provider {
        Provider::Cuda => loading,
        Provider::Cpu => loading + Bytes(chosen.peak.high.get().saturating_mul(n_instances)),
    }
}

fn band(judged: &Judged) -> BandView {
    BandView { low: judged.peak.low.into(), expected: judged.peak.expected.into(), high: judged.peak.high.into() }
}

/// The file's name, or that of the folder when the file has the name that all have.
pub(crate) fn name_of(model: &Model) -> String {
    let path = model.file().path();
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().and_then(|folder| text(folder.file_name()));
    if stem == "model" { folder.unwrap_or(stem) } else { stem }
}

/// Whether all that a finding assumed is the batch, which is looked for anyway.
fn only_batch_is_open(finding: &Diagnostic, wanted: &Option<(String, u64)>) -> bool {
    wanted.as_ref().is_some_and(|(dim, _)| finding.message == format!("assumed {dim}=1"))
}

/// A Kubernetes repository as it is written on a command line.
fn repository(text: &str) -> Repository {
    if text.contains("://") { Repository::Address(text.to_owned()) } else { Repository::Claim(text.to_owned()) }
}

/// Rows that are looked for when nobody says how many are wanted.
const ROWS_WANTED: u64 = 64;
