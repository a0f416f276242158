//! `recommend`: every AWS instance type that a model fits on, as it is or after `fix`.

pub(crate) mod work;

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_hardware::{
    Availability, Candidate, ComputeCapability, Instance, Price, PriceKind, PriceList, candidates_at, gpus, instances,
    ort_support, resolve_target,
};
use onnxfit_plan::{Fit, Goal, Judged, Precision, Prefer, search};
use onnxfit_report::recommend::{CandidateView, RecommendView, SpeedView, WhyView, WorkView};
use onnxfit_report::{DiagnosticView, check::BandView};
use onnxfit_rewrite::half::{HalfOutcome, HalfType};

use crate::changes::{batch_split, to_half};
use crate::oracle::{BatchRequest, Known, TwinOracle};
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::{N_RUNS, Twin};
use crate::{Error, Model, weights};
use work::Work;

/// What to recommend from.
#[derive(Clone, Debug)]
pub struct RecommendOptions {
    /// The region of the prices.
    pub region: String,
    /// The prices; the ones compiled in unless fresher ones were read.
    pub prices: PriceList,
    /// Whether instance types count on which it fits only after `fix`.
    pub with_fix: bool,
    /// Sort by the spot price instead of the price on demand.
    pub by_spot: bool,
    /// Instance types to say yes or no to, with the reason.
    pub why: Vec<String>,
}

impl Default for RecommendOptions {
    fn default() -> Self {
        Self {
            region: onnxfit_hardware::REFERENCE_REGION.to_owned(),
            prices: PriceList::embedded().clone(),
            with_fix: true,
            by_spot: false,
            why: Vec::new(),
        }
    }
}

impl RecommendOptions {
    /// Puts the prices of a file, as AWS hands them out, over those that are known.
    pub fn read_prices(&mut self, path: &Path) -> Result<(), Error> {
        let read = |source| Error::Io { action: "read", path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(read)?;
        let fresh = PriceList::from_aws(&text)
            .map_err(|error| Error::Binding(format!("`{}`: {error}", path.display()), Some(error.hint().to_owned())))?;
        self.prices = fresh.over(&self.prices);
        Ok(())
    }
}

/// Names the instance types that hold a request, cheapest first.
pub fn recommend(model: &Model, request: &Request, options: &RecommendOptions) -> Result<RecommendView, Error> {
    let request = Request { provider: Provider::Cuda, target: None, ..request.clone() };
    let source = weights::source(model, None);
    let graph = session_graph(model.graph(), source.as_ref(), &request);
    let twin = Twin::new(&graph.model, &request);
    twin.refuse(&request.dims, &request.shapes)?;
    let answer = twin.ask();
    let dims = answer.dims.clone();
    let least = smallest_device(&twin, &dims);
    let budgets = budgets();
    let too_small: Vec<Bytes> =
        budgets.iter().copied().filter(|budget| least.is_none_or(|least| *budget < least)).collect();

    let axes = batch_split(model.graph(), None).ok();
    // A size for a name that the model does not have says nothing about its rows.
    let known = crate::sizes::named_dims(&model.graph().graph);
    let own: BTreeMap<String, i64> = dims.clone().into_iter().filter(|(name, _)| known.contains(name)).collect();
    let rows = rows_of(axes.as_ref().map(|axes| axes.dim.as_str()), &own);
    let half = (options.with_fix && !too_small.is_empty())
        .then(|| to_half(model.graph(), source.as_ref(), HalfType::Float16).ok())
        .flatten();
    let half_graph =
        half.as_ref().map(|half: &HalfOutcome| session_graph(&half.model, &half.source(source.as_ref()), &request));
    let goal = Goal {
        batch: axes.as_ref().and_then(|axes| u64::try_from(*dims.get(&axes.dim)?).ok()),
        may_halve: half.is_some(),
        may_use_bfloat16: false,
        may_round_weights: false,
        weights_dominate: false,
        half_is_fast: true,
        device_allocator: true,
        prefer: Prefer::Exact,
    };
    let as_it_is = Work::of(&graph.model.graph, &twin.sizes(&dims));
    let mut oracle = TwinOracle {
        original: twin,
        half: half_graph.as_ref().map(|graph| Twin::new(&graph.model, &request)),
        bfloat16: None,
        gpu: None,
        round: &|_| None,
        rounded: Default::default(),
        dims: dims.clone(),
        batch: axes.as_ref().zip(goal.batch).map(|(axes, rows)| BatchRequest { dim: axes.dim.clone(), rows }),
        budget: Bytes::ZERO,
        tells_arena: false,
        on_judged: &|_| (),
        n_judged: 0,
        known: Known::default(),
    };
    let plans = if options.with_fix { plans_for(&goal, &mut oracle, &too_small) } else { BTreeMap::new() };

    let host = host_bytes(model);
    let lowest = plans.keys().next().copied().or(least);
    let found = lowest.map(|lowest| candidates_at(&options.prices, lowest, host, &options.region)).unwrap_or_default();
    let mut shown: Vec<CandidateView> = Vec::new();
    for candidate in &found {
        let plan = plans.get(&candidate.budget);
        let fits_as_it_is = least.is_some_and(|least| candidate.budget >= least);
        if !fits_as_it_is && plan.is_none() {
            continue;
        }
        let plan = plan.filter(|_| !fits_as_it_is);
        let speed = speed(&oracle, plan, &as_it_is, rows, candidate);
        shown.push(candidate_view(candidate, plan, goal.batch, least, speed));
    }
    if options.by_spot {
        let cost = |view: &CandidateView| view.spot_usd_per_hour.unwrap_or(f64::INFINITY);
        shown.sort_by(|left, right| cost(left).total_cmp(&cost(right)));
    }
    let band = &answer.judgement.band;
    let mut diagnostics = graph.diagnostics;
    diagnostics.extend(answer.diagnostics);
    let needed = Needed { least, lowest, host, region: &options.region };
    Ok(RecommendView {
        schema: "onnxfit.recommend/1",
        model: model.name(),
        dims,
        region: options.region.clone(),
        device_peak_bytes: BandView { low: band.low.into(), expected: band.expected.into(), high: band.high.into() },
        least_device_bytes: least.map(Into::into),
        host_bytes: host.into(),
        work: WorkView {
            operations: as_it_is.operations(),
            moved_bytes: as_it_is.bytes(),
            rows,
            n_uncounted_nodes: as_it_is.n_unknown,
            n_loops_counted_once: as_it_is.n_loops,
            assumptions: work::ASSUMPTIONS,
        },
        why: options.why.iter().map(|name| why(name, &shown, &needed)).collect(),
        instances: shown,
        diagnostics: diagnostics.iter().map(DiagnosticView::from).collect(),
    })
}

/// The least memory of any GPU on which the request runs, found by replaying it on each.
pub(crate) fn smallest_device(twin: &Twin<'_>, dims: &BTreeMap<String, i64>) -> Option<Bytes> {
    let mut budgets: Vec<Bytes> = gpus().iter().map(|gpu| gpu.cuda_total().0).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let runs = vec![dims.clone(); N_RUNS];
    let levers = twin.request_levers();
    let free = twin.unhindered(&runs, levers);
    let fits = |budget: &Bytes| twin.brief(&runs, levers, *budget, &free).fit == Fit::Fits;
    budgets.into_iter().find(fits)
}

/// Host memory that loading takes: the file twice, and a process with CUDA.
///
/// ort-memory: parsing holds the file and its tensors at once; 1 to 5 GB of host memory for a CUDA
/// process (onnxruntime#13662).
pub(crate) fn host_bytes(model: &Model) -> Bytes {
    let file = model.file().size();
    Bytes::gib(2) + file + file
}

/// What the instance types that can be rented, and that a wheel runs on, offer one session.
fn budgets() -> Vec<Bytes> {
    let runs = |instance: &&Instance| {
        let gpu = instance.gpu();
        instance.availability != Availability::Retired
            && gpu.is_some_and(|gpu| ort_support(gpu.compute_capability, instance.cpu_arch).newest().is_some())
    };
    let offered = instances().iter().filter(runs).filter_map(Instance::session_memory).map(|(budget, _)| budget);
    let mut offered: Vec<Bytes> = offered.collect();
    offered.sort_unstable();
    offered.dedup();
    offered
}

/// The plan of `fix` for each memory that is too small as it is; from the largest down, until there
/// is none: what does not fit there does not fit in less.
fn plans_for(goal: &Goal, oracle: &mut TwinOracle<'_>, too_small: &[Bytes]) -> BTreeMap<Bytes, Judged> {
    let mut plans = BTreeMap::new();
    for budget in too_small.iter().rev() {
        oracle.budget = *budget;
        let plan = match search(goal, oracle) {
            Ok(plan) => plan,
            Err(never) => match never {},
        };
        match plan.chosen.filter(|chosen| chosen.fit == Fit::Fits) {
            Some(chosen) => plans.insert(*budget, chosen),
            None => break,
        };
    }
    plans
}

/// How many answers one request has: the size of its batch, where it has one.
fn rows_of(split: Option<&str>, dims: &BTreeMap<String, i64>) -> u64 {
    let named = || dims.iter().find(|(name, _)| name.to_lowercase().contains("batch")).map(|(_, size)| *size);
    let rows = split.and_then(|dim| dims.get(dim).copied()).or_else(named);
    rows.and_then(|rows| u64::try_from(rows).ok()).filter(|rows| *rows > 0).unwrap_or(1)
}

/// How fast a request may be served there, and what that costs.
fn speed(
    oracle: &TwinOracle<'_>,
    plan: Option<&Judged>,
    as_it_is: &Work,
    rows: u64,
    candidate: &Candidate,
) -> Option<SpeedView> {
    let share = candidate.instance.device_share.min(1.0);
    let seconds = match plan {
        None => as_it_is.seconds_on(candidate.gpu, share)?,
        Some(plan) => {
            let twin = oracle.twin(plan.point.precision)?;
            let mut dims = oracle.dims.clone();
            let mut n_runs = 1;
            if let (Some(piece), Some(batch)) = (plan.point.micro_batch, &oracle.batch) {
                dims.insert(batch.dim.clone(), i64::try_from(piece).ok()?);
                n_runs = batch.rows.div_ceil(piece);
            }
            n_runs as f64 * Work::of(twin.graph(), &twin.sizes(&dims)).seconds_on(candidate.gpu, share)?
        }
    };
    let inferences_per_second = rows as f64 / seconds;
    let dollars = |price: &Price| price.usd_per_hour / (inferences_per_second * 3600.0) * 1e6;
    Some(SpeedView {
        inferences_per_second,
        usd_per_million: candidate.price.as_ref().map(dollars),
        spot_usd_per_million: candidate.spot.as_ref().map(dollars),
    })
}

fn candidate_view(
    candidate: &Candidate,
    plan: Option<&Judged>,
    batch: Option<u64>,
    least: Option<Bytes>,
    speed: Option<SpeedView>,
) -> CandidateView {
    let basis = |price: &Price| format!("{}, {}", price.region, price.date);
    let mut notes: Vec<Diagnostic> = candidate.notes.clone();
    let too_old_for_half = plan.is_some_and(|plan| plan.point.precision == Precision::Half)
        && candidate.gpu.compute_capability < ComputeCapability::new(7, 0);
    if too_old_for_half {
        let message = format!("the {} computes half precision no faster than single", candidate.gpu.key);
        notes.push(Diagnostic::note("half-is-slow", message));
    }
    let taken = plan.map(|plan| plan.peak.high).or(least).unwrap_or(Bytes::ZERO);
    CandidateView {
        name: candidate.instance.name.clone(),
        sagemaker_name: candidate.instance.sagemaker_name(),
        gpu: candidate.gpu.key.clone(),
        n_gpus: candidate.instance.device_count,
        budget_bytes: candidate.budget.into(),
        spare_bytes: candidate.budget.saturating_sub(taken).into(),
        host_memory_bytes: candidate.instance.host_memory.into(),
        host_spare_bytes: candidate.host_spare.into(),
        fits_as_it_is: plan.is_none(),
        changes: plan.map(|plan| plan.point.changes(batch)).unwrap_or_default(),
        changes_are_exact: plan.is_none_or(|plan| plan.point.precision.is_exact()),
        usd_per_hour: candidate.price.as_ref().map(|price| price.usd_per_hour),
        spot_usd_per_hour: candidate.spot.as_ref().map(|price| price.usd_per_hour),
        price_basis: candidate.price.as_ref().map(basis).unwrap_or_default(),
        spot_basis: candidate.spot.as_ref().map(|price| match price.kind {
            PriceKind::SpotEstimate => format!("rough, {}", basis(price)),
            _ => format!("{}, {}", price.source, price.date),
        }),
        speed,
        ort_release: candidate.release.version.to_string(),
        cuda: candidate.release.cuda.clone(),
        cudnn_major: candidate.release.cudnn_major,
        install: candidate.install.clone(),
        ami: ami(candidate).to_owned(),
        notes: notes.iter().map(DiagnosticView::from).collect(),
    }
}

/// Which machine image brings the driver (release notes of the Deep Learning AMIs, 2026).
fn ami(candidate: &Candidate) -> &'static str {
    let (instance, gpu) = (candidate.instance, candidate.gpu);
    if instance.device_share < 1.0 {
        return "any Linux image, with AWS's GRID driver installed: it is a share of a GPU";
    }
    if gpu.compute_capability < ComputeCapability::new(7, 5) {
        return "Deep Learning Base AMI with the proprietary NVIDIA driver";
    }
    match instance.cpu_arch {
        onnxfit_hardware::CpuArch::X86_64 => "Deep Learning Base OSS Nvidia Driver AMI (x86_64)",
        onnxfit_hardware::CpuArch::Arm64 => "Deep Learning Base OSS Nvidia Driver AMI (ARM64)",
    }
}

/// What an instance type has to have.
struct Needed<'a> {
    least: Option<Bytes>,
    lowest: Option<Bytes>,
    host: Bytes,
    region: &'a str,
}

/// Why an instance type is in the list, or is not.
fn why(name: &str, shown: &[CandidateView], needed: &Needed<'_>) -> WhyView {
    let answer = |fits: Option<bool>, reason: String, hint: Option<String>, notes: &[Diagnostic]| WhyView {
        name: name.to_owned(),
        fits,
        reason,
        hint,
        notes: notes.iter().map(DiagnosticView::from).collect(),
    };
    let target = match resolve_target(name) {
        Ok(target) => target,
        Err(error) => return answer(Some(false), error.to_string(), Some(error.hint()), &[]),
    };
    let plain = name.to_lowercase();
    let plain = plain.strip_prefix("ml.").unwrap_or(&plain);
    if let Some(view) = shown.iter().find(|view| view.name == plain) {
        let how = if view.fits_as_it_is {
            "it fits as it is".to_owned()
        } else {
            format!("it fits after `fix`: {}", view.changes.join("; "))
        };
        return answer(Some(true), how, None, &target.notes);
    }
    if target.release.is_none() && target.gpu.is_some() {
        let no_wheel = target.notes.iter().find(|note| note.id == "no-wheel");
        let reason = no_wheel.map_or("no onnxruntime-gpu wheel runs there".to_owned(), |note| note.message.clone());
        return answer(Some(false), reason, no_wheel.and_then(|note| note.hint.clone()), &target.notes);
    }
    let Some(lowest) = needed.lowest else {
        return answer(Some(false), "no GPU that AWS rents out has enough memory".to_owned(), None, &target.notes);
    };
    if target.budget < lowest {
        let least = needed.least.map_or(lowest, |least| least);
        let reason = format!(
            "one session gets {} there; as it is it needs a GPU with {least}, and `fix` finds none smaller than {lowest}",
            target.budget
        );
        return answer(Some(false), reason, None, &target.notes);
    }
    if let Some(have) = target.host_memory.filter(|have| *have < needed.host) {
        let reason = format!("the GPU is large enough, but the host has {have} and loading takes {}", needed.host);
        return answer(Some(false), reason, Some("a larger size of the same family".to_owned()), &target.notes);
    }
    let reason = match target.instance.map(|instance| instance.availability) {
        Some(Availability::Retired) => "EC2 no longer describes it as a type to launch".to_owned(),
        None => "it is a GPU or an amount of memory, no instance type; its memory is enough".to_owned(),
        _ => format!("no price of it is known in `{}`, so it is taken as not sold there", needed.region),
    };
    answer(None, reason, None, &target.notes)
}

#[cfg(test)]
mod tests;
