//! `prune`: a smaller model, its cut proved, its price told.
//!
//! Nothing appears under the final name unless the pruned model answers as the whole one does with
//! the same weights set to zero.

mod distill;
mod gradients;
mod judge;
mod runs;
mod sensitivity;
mod statistics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::{ModelFile, SaveOptions, TensorSource, save};
use onnxfit_prune::{Analysis, Axis, CuttingSource, Importance, Moments, Pruned, Sparsity};
use onnxfit_report::DiagnosticView;
use onnxfit_report::prune::{ChangeView, GroupView, PruneView};
use onnxfit_rewrite::inline::inline_functions;

use crate::convert::{BytesIn, refuse_losses};
use crate::probe::Probe;
use crate::progress::Progress;
use crate::samples::Samples;
use crate::workplace::Workplace;
use crate::{Error, Model, Request, weights};
use judge::Judge;
use runs::Runs;

/// How channels are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PruneImportance {
    /// By their weights.
    Magnitude,
    /// By their weights and what flows through them.
    #[default]
    Wanda,
    /// By their weights and the gradients of the answers.
    Taylor,
}

impl PruneImportance {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Magnitude => "magnitude",
            Self::Wanda => "wanda",
            Self::Taylor => "taylor",
        }
    }
}

/// What is done for the answers afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PruneRecovery {
    /// Nothing.
    Off,
    /// What is left of the channels takes over, in closed form.
    #[default]
    Refit,
    /// The refit, and then the pruned model learns from the original.
    Distill {
        /// How often it goes through the data.
        n_epochs: u64,
        /// The learning rate.
        rate: f64,
    },
}

impl PruneRecovery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Refit => "refit",
            Self::Distill { .. } => "distill",
        }
    }
}

/// What counts as memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PruneMeasure {
    /// The arena at its peak, weights and activations, as the twin predicts it for the request.
    #[default]
    Arena,
    /// The weights.
    Weights,
}

/// How much is to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruneTarget {
    /// At most this share of the bytes is left.
    Memory(f64, PruneMeasure),
    /// This share of the channels of each group goes on average.
    Sparsity(f64),
    /// Weights become zero; shapes stay.
    Zeros(ZeroPattern),
}

/// Which weights become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZeroPattern {
    /// The smallest ones, this share.
    Unstructured(f64),
    /// Two of every four.
    TwoOfFour,
}

/// How a model is to be pruned.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How much is to go.
    pub target: PruneTarget,
    /// How channels are compared.
    pub importance: PruneImportance,
    /// What is done for the answers afterwards.
    pub recovery: PruneRecovery,
    /// The file to write.
    pub output: PathBuf,
    /// An `.npz` file or a folder of them; `None` makes inputs up.
    pub data: Option<PathBuf>,
    /// The seed of made-up inputs.
    pub seed: u64,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// Rewrite even if unknown fields are lost.
    pub force: bool,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// A model that is held against others: its graph and weights, all on the disk.
struct Base {
    probe: Probe,
    model: GraphModel,
    file: ModelFile,
}

/// Prunes a model and writes it, if the cut is right.
pub fn prune(
    model: &Model,
    request: &Request,
    options: &PruneOptions,
    progress: &dyn Progress,
) -> Result<PruneView, Error> {
    check_shares(options)?;
    let mut diagnostics = Vec::new();
    refuse_losses(model, options.force, options.random_weights.is_some())?;
    let workplace = Workplace::begin(&options.output, model)?;
    let inlined = inline_functions(model.graph()).map_err(|error| rewrite(&error))?;
    let source = weights::source(model, options.random_weights);
    progress.doing("looking for what depends on what");
    let base = {
        let graph = inlined.as_ref().unwrap_or(model.graph());
        let path = workplace.desk().join("base.onnx");
        let probe = Probe::write(graph, source.as_ref(), &path)?;
        let file = ModelFile::open(&path)?;
        let model = GraphModel::from_proto(&file.proto).map_err(|error| rewrite(&error))?;
        Base { probe, model, file }
    };
    let analysis = Analysis::of(&base.model).map_err(|error| rewrite(&error))?;
    diagnostics.extend(analysis.diagnostics.iter().cloned());
    let library = crate::library::ensure(options.offline, progress)?;
    let samples = match &options.data {
        Some(path) => Samples::of_path(path, &base.model, &BytesIn::default())?,
        None => Samples::made_up(&base.model, request, options.seed, 1, &mut diagnostics)?,
    };
    let runs = Runs { library: &library, worker: &options.worker, desk: workplace.desk(), samples: &samples };
    let judge = Judge { request, analysis: &analysis, weights: base.file.weights(), samples: &samples };
    let job = Job { options, base: &base, analysis: &analysis, runs: &runs, judge: &judge, progress };
    let mut view = job.view(model);
    let path = workplace.model();
    match options.target {
        PruneTarget::Zeros(pattern) => {
            let made = job.zeros(pattern, &mut view, &mut diagnostics)?;
            write(&made, model, base.file.weights(), &path)?;
        }
        _ if analysis.groups.is_empty() => {
            let message = "no channels, heads or features of this model can be proved free".to_owned();
            diagnostics.push(Diagnostic::warning("nothing-to-prune", message));
        }
        _ => {
            let knowledge = job.learn(&mut diagnostics)?;
            job.structured(model, &knowledge, &path, &mut view, &mut diagnostics)?;
        }
    }
    if path.exists() {
        view.drift = Some(runs.drift(base.probe.path(), &path, progress)?);
        view.pruned = view.reached && view.proof.as_ref().is_none_or(|proof| proof.agrees);
        if view.pruned {
            let data = format!("{}.data", path.file_name().unwrap_or_default().to_string_lossy());
            let data = path.with_file_name(&data).exists().then_some(data);
            view.files = workplace.finish(&options.output, data.as_deref())?;
        }
    }
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

/// Refuses shares that are none.
fn check_shares(options: &PruneOptions) -> Result<(), Error> {
    let (share, name) = match options.target {
        PruneTarget::Memory(share, _) => (share, "--target-memory"),
        PruneTarget::Sparsity(share) => (share, "--sparsity"),
        PruneTarget::Zeros(ZeroPattern::Unstructured(share)) => (share, "--unstructured"),
        PruneTarget::Zeros(ZeroPattern::TwoOfFour) => (0.5, ""),
    };
    if share > 0.0 && share < 1.0 {
        return Ok(());
    }
    let hint = format!("give `{name}` a number between 0 and 1, such as 0.6");
    Err(Error::Binding(format!("{share} is no share of a model"), Some(hint)))
}

fn rewrite(error: &dyn std::fmt::Display) -> Error {
    Error::Rewrite { message: error.to_string(), hint: None }
}

/// Writes the result: in one file if the original was one and it fits.
fn write(made: &Pruned, original: &Model, weights: &dyn TensorSource, path: &Path) -> Result<(), Error> {
    const INLINE_MAX: u64 = 1 << 30;
    let source = CuttingSource::new(weights, &made.cuts);
    let mut proto = made.model.to_proto();
    let tensors = original.file().proto.graph.iter().flat_map(|graph| &graph.initializer);
    let was_external = tensors.into_iter().any(|tensor| tensor.is_external());
    if let Some(graph) = proto.graph.as_mut().filter(|_| !was_external) {
        let total: u64 = graph.initializer.iter().filter_map(|tensor| tensor.size_bytes().ok()).map(Bytes::get).sum();
        for tensor in graph.initializer.iter_mut().filter(|tensor| total <= INLINE_MAX && !tensor.is_inline()) {
            let bytes = source.tensor_bytes(tensor)?;
            tensor.set_raw(bytes);
        }
    }
    save(&proto, path, &SaveOptions::new(&source))?;
    Ok(())
}

/// What must be known before anything is cut.
struct Knowledge {
    /// What flows into each weight.
    moments: BTreeMap<Axis, Moments>,
    /// How much each atom matters.
    scores: Vec<f64>,
    /// How much each group matters.
    sensitivity: Vec<f64>,
}

/// Cuts that are made until the measured arena is small enough.
const N_ROUNDS_MAX: usize = 4;
/// How much less is asked for than the last measurement suggests.
const CAUTION: f64 = 0.99;

/// All that the steps need.
struct Job<'a> {
    options: &'a PruneOptions,
    base: &'a Base,
    analysis: &'a Analysis,
    runs: &'a Runs<'a>,
    judge: &'a Judge<'a>,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn view(&self, model: &Model) -> PruneView {
        let analysis = self.analysis;
        let before = analysis.weights_bytes(&[]);
        let all: Vec<usize> = analysis.groups.iter().flat_map(|group| group.atoms.iter().copied().skip(1)).collect();
        PruneView {
            schema: "onnxfit.prune/1",
            pruned: false,
            model: model.name(),
            output: self.options.output.display().to_string(),
            importance: String::new(),
            recover: self.options.recovery.as_str().to_owned(),
            n_groups: 0,
            n_atoms: 0,
            n_removed: 0,
            least_weights_bytes: analysis.weights_bytes(&all).into(),
            weights: ChangeView::new(before, before),
            predicted_peak: None,
            measured_peak: None,
            target: String::new(),
            reached: false,
            n_refitted: 0,
            distilled: None,
            groups: Vec::new(),
            proof: None,
            drift: None,
            files: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Zeros inside weights.
    fn zeros(
        &self,
        pattern: ZeroPattern,
        view: &mut PruneView,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Pruned, Error> {
        let sparsity = match pattern {
            ZeroPattern::Unstructured(share) => Sparsity::Unstructured(share),
            ZeroPattern::TwoOfFour => Sparsity::TwoOfFour,
        };
        let (made, n_zero, n_all) =
            self.analysis.sparsify(sparsity, self.base.file.weights()).map_err(|error| rewrite(&error))?;
        view.target = format!("{n_zero} of {n_all} weights are zero");
        view.recover = PruneRecovery::Off.as_str().to_owned();
        view.reached = n_zero > 0;
        let message = "zeros inside weights save no memory: ONNX Runtime's CUDA provider stores and computes them as any \
                       number, and has no kernel for two of four";
        diagnostics.push(
            Diagnostic::warning("no-memory-gained", message)
                .with_hint("`--target-memory` or `--sparsity` take whole channels and heads away"),
        );
        Ok(made)
    }

    /// What must be known before anything is cut.
    fn learn(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Knowledge, Error> {
        let refits = self.options.recovery != PruneRecovery::Off;
        let needs_moments = refits || self.options.importance == PruneImportance::Wanda;
        let moments = if needs_moments { statistics::moments(self, diagnostics)? } else { BTreeMap::new() };
        let scores = self.scores(&moments, diagnostics)?;
        let sensitivity = sensitivity::measure(self, &scores)?;
        Ok(Knowledge { moments, scores, sensitivity })
    }

    /// Whole channels. Where the arena is to be smaller, it is measured, and more goes if the twin
    /// was too hopeful.
    fn structured(
        &self,
        model: &Model,
        knowledge: &Knowledge,
        path: &Path,
        view: &mut PruneView,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), Error> {
        view.importance = self.options.importance.as_str().to_owned();
        view.n_groups = self.analysis.groups.len();
        view.n_atoms = self.analysis.groups.iter().map(|group| group.atoms.len()).sum();
        let before = self.runs.arena_peak(self.base.probe.path(), self.judge.request)?;
        let mut target = self.options.target;
        for _ in 0..N_ROUNDS_MAX {
            let removed = self.removed(target, knowledge, view)?;
            let Some(made) = self.proved(&removed, view)? else { return Ok(()) };
            let made = self.recovered(made, &removed, knowledge, view, diagnostics)?;
            write(&made, model, self.base.file.weights(), path)?;
            self.progress.doing("measuring the arena");
            let after = self.runs.arena_peak(path, self.judge.request)?;
            view.measured_peak = before.zip(after).map(|(before, after)| ChangeView::new(before, after));
            let (PruneTarget::Memory(wanted, PruneMeasure::Arena), PruneTarget::Memory(asked, measure)) =
                (self.options.target, target)
            else {
                break;
            };
            let ratio = view.measured_peak.as_ref().map_or(0.0, |change| change.ratio);
            let may_go_on = view.reached && ratio > wanted;
            view.reached &= ratio <= wanted;
            if !may_go_on {
                break;
            }
            target = PruneTarget::Memory(asked * wanted / ratio * CAUTION, measure);
        }
        Ok(())
    }

    /// What goes for a target.
    fn removed(&self, target: PruneTarget, knowledge: &Knowledge, view: &mut PruneView) -> Result<Vec<usize>, Error> {
        let Knowledge { scores, sensitivity, .. } = knowledge;
        let analysis = self.analysis;
        let factors = sensitivity::factors(sensitivity);
        let (removed, reached) = match target {
            PruneTarget::Memory(share, what) => self.judge.least(share, what, &factors, scores, self.progress)?,
            PruneTarget::Sparsity(share) => {
                let shares: Vec<f64> = factors.iter().map(|factor| share * factor).collect();
                (analysis.choose(scores, &shares), true)
            }
            PruneTarget::Zeros(_) => (Vec::new(), false),
        };
        view.target = match self.options.target {
            PruneTarget::Memory(share, PruneMeasure::Arena) => {
                format!("{:.1} % of the arena's peak is left", 100.0 * share)
            }
            PruneTarget::Memory(share, PruneMeasure::Weights) => {
                format!("{:.1} % of the weights' bytes are left", 100.0 * share)
            }
            PruneTarget::Sparsity(share) => format!("{:.1} % of each group's channels go on average", 100.0 * share),
            PruneTarget::Zeros(_) => String::new(),
        };
        view.reached = reached;
        view.n_removed = removed.len();
        view.weights = ChangeView::new(analysis.weights_bytes(&[]), analysis.weights_bytes(&removed));
        view.groups = self.group_views(&removed, sensitivity);
        Ok(removed)
    }

    /// The cut, if it is right.
    fn proved(&self, removed: &[usize], view: &mut PruneView) -> Result<Option<Pruned>, Error> {
        let (analysis, weights) = (self.analysis, self.base.file.weights());
        let made = analysis.cut(removed).map_err(|error| rewrite(&error))?;
        let masked = analysis.mask(removed).map_err(|error| rewrite(&error))?;
        self.progress.doing("proving the cut");
        let proof = self.runs.prove(self.base, &masked, &made, &analysis.proof_values())?;
        let agrees = proof.agrees;
        view.proof = Some(proof);
        let before = self.judge.arena_of(&self.base.model, weights);
        let after = self.judge.arena_of(&made.model, &CuttingSource::new(weights, &made.cuts));
        view.predicted_peak = before.zip(after).map(|(before, after)| ChangeView::new(before, after));
        Ok(agrees.then_some(made))
    }

    /// The model after what was asked for its answers.
    fn recovered(
        &self,
        mut made: Pruned,
        removed: &[usize],
        knowledge: &Knowledge,
        view: &mut PruneView,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Pruned, Error> {
        view.n_refitted = 0;
        if self.options.recovery != PruneRecovery::Off {
            for one in self.analysis.contractions() {
                let Some(moments) = knowledge.moments.get(&one.input) else { continue };
                match self.analysis.refit(&mut made, removed, one, moments, self.base.file.weights()) {
                    Ok(done) => view.n_refitted += usize::from(done),
                    Err(error) => diagnostics.push(Diagnostic::note("not-refitted", error.to_string())),
                }
            }
        }
        if let PruneRecovery::Distill { n_epochs, rate } = self.options.recovery {
            view.distilled = distill::distill(self, &mut made, n_epochs, rate, diagnostics)?;
        }
        Ok(made)
    }

    fn scores(&self, moments: &BTreeMap<Axis, Moments>, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<f64>, Error> {
        let weights = self.base.file.weights();
        let found = match self.options.importance {
            PruneImportance::Magnitude => self.analysis.scores(&Importance::Magnitude, weights),
            PruneImportance::Wanda => {
                let squares = moments.iter().map(|(axis, moments)| (*axis, moments.squares())).collect();
                self.analysis.scores(&Importance::Activation(&squares), weights)
            }
            PruneImportance::Taylor => {
                let gradients = gradients::gradients(self, diagnostics)?;
                self.analysis.scores(&Importance::Gradient(&gradients), weights)
            }
        };
        found.map_err(|error| rewrite(&error))
    }

    /// The groups that lost something.
    fn group_views(&self, removed: &[usize], sensitivity: &[f64]) -> Vec<GroupView> {
        let graph = &self.analysis.model.graph;
        let mut views = Vec::new();
        for (group, moved) in self.analysis.groups.iter().zip(sensitivity) {
            let n_gone = group.atoms.iter().filter(|atom| removed.binary_search(atom).is_ok()).count();
            let shown = group.axes.iter().find(|axis| graph.constant_tensor(axis.value).is_some());
            let axis = shown
                .or(group.axes.first())
                .map_or(String::new(), |axis| format!("axis {} of `{}`", axis.axis, graph.value(axis.value).name));
            if n_gone > 0 {
                let sensitivity = moved.is_finite().then_some(*moved);
                let n_before = group.atoms.len();
                views.push(GroupView { axis, n_before, n_after: n_before - n_gone, sensitivity });
            }
        }
        views.sort_by(|a, b| {
            let lost = |view: &GroupView| view.n_before - view.n_after;
            lost(b).cmp(&lost(a)).then_with(|| a.axis.cmp(&b.axis))
        });
        views
    }
}
