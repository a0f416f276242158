//! A session that does not fail on memory, fed by the memory twin.
//!
//! Puts together what [`onnxfit_runtime::guard`] asks for: the session that a request describes,
//! the proof that its batch may be cut, and what each size takes.

pub(crate) mod needs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::{Dim, Model as GraphModel};
use onnxfit_runtime::guard::{Cut, Guard, GuardError, GuardOptions, LearnedLimits};
use onnxfit_runtime::{Library, SessionSpec, Tenant};
use onnxfit_shape::{Bindings, infer};

use crate::changes::{BatchSplit, batch_split};
use crate::progress::Progress;
use crate::request::{Provider, Request};
use crate::session_spec::session_spec;
use crate::verify::runtime_error;
use crate::{Error, Model};

pub use needs::TwinNeeds;

/// How a model is to be guarded.
#[derive(Clone, Debug, Default)]
pub struct GuardSetup {
    /// The dimension that the batch is, if its name does not tell.
    pub batch_dim: Option<String>,
    /// Where to keep what is learned about the machine.
    pub learned: Option<PathBuf>,
    /// The most that a run may take where neither target nor arena says: host memory that is
    /// free, for one.
    pub limit: Option<Bytes>,
    /// Install nothing.
    pub offline: bool,
}

/// Everything that a guarded session is made of.
pub struct GuardPlan {
    /// The session.
    pub spec: SessionSpec,
    /// How it is guarded.
    pub options: GuardOptions,
    /// Why requests may not be cut, and the like.
    pub diagnostics: Vec<Diagnostic>,
}

/// Says how a model is guarded, and loads nothing.
pub fn guard_plan(model: &Model, request: &Request, setup: &GuardSetup) -> Result<GuardPlan, Error> {
    let mut diagnostics = Vec::new();
    let split = batch_split(model.graph(), setup.batch_dim.as_deref());
    let cut = match &split {
        Ok(split) => Some(cut(model.graph(), split)),
        Err(reason) => {
            let hint = "requests run whole; what does not fit is an error".to_owned();
            diagnostics.push(Diagnostic::note("no-split", reason.clone()).with_hint(hint));
            None
        }
    };
    let spec = session_spec(model.file().path(), request);
    let needs = TwinNeeds::new(model, request, cut.as_ref());
    let learned = setup.learned.as_ref().map(|path| LearnedLimits { path: path.clone(), key: key(model, request) });
    let options = GuardOptions {
        cut,
        needs: Box::new(needs),
        // On CUDA the card's memory bounds a run, beside its own limit; on the CPU the arena's does.
        limit: match request.provider {
            Provider::Cuda => request.arena_limit.or(request.budget()),
            Provider::Cpu => request.limit(),
        }
        .or(setup.limit),
        learned,
        ..GuardOptions::default()
    };
    Ok(GuardPlan { spec, options, diagnostics })
}

/// Loads a model and guards it.
pub fn guard(
    model: &Model,
    request: &Request,
    setup: &GuardSetup,
    progress: &dyn Progress,
) -> Result<(Guard, Vec<Diagnostic>), Error> {
    let plan = guard_plan(model, request, setup)?;
    let path = crate::library::ensure(setup.offline, progress)?;
    progress.doing("loading the model");
    let library = Library::load(Path::new(&path)).map_err(runtime_error)?;
    let guard = Guard::open(library, &plan.spec, plan.options).map_err(guard_error)?;
    Ok((guard, plan.diagnostics))
}

/// [`guard`] beside a tenant that takes up to `most` bytes of the arena: a rehearsal of a card that
/// others share, whose memory the arena's counters do not show.
pub fn guard_beside_tenant(
    model: &Model,
    request: &Request,
    setup: &GuardSetup,
    most: Bytes,
    progress: &dyn Progress,
) -> Result<Guard, Error> {
    let GuardPlan { spec, options, .. } = guard_plan(model, request, setup)?;
    let path = crate::library::ensure(setup.offline, progress)?;
    progress.doing("loading the model");
    let library = Library::load(Path::new(&path)).map_err(runtime_error)?;
    let (session, tenant) = Tenant::beside(library, &spec, most, 1).map_err(runtime_error)?;
    let options = GuardOptions { reads_counters: false, ..options };
    let mut guard = Guard::over(session, options).map_err(guard_error)?;
    guard.announce(model.file().path());
    guard.rehearse(tenant);
    Ok(guard)
}

impl From<GuardError> for Error {
    fn from(error: GuardError) -> Self {
        guard_error(error)
    }
}

fn guard_error(error: GuardError) -> Error {
    let hint = match &error {
        GuardError::DoesNotFit(reason) if reason.cuttable => {
            Some("`onnxfit fix` looks for settings or a precision that need less; or take a larger card".to_owned())
        }
        GuardError::DoesNotFit(_) => Some("send fewer rows at once, or name the batch with `--batch-dim`".to_owned()),
        GuardError::LimitBelowWeights { .. } => Some("raise `--arena-limit` above what loading takes".to_owned()),
        GuardError::Run(error) => error.hint().map(str::to_owned),
        GuardError::Learned { .. } => None,
    };
    Error::Runtime { message: error.to_string(), hint }
}

/// The sizes of the smallest request, as [`TwinNeeds`] counts them: dimensions as named, the others
/// one. `None` if an input's rank is not declared.
pub fn smallest_sizes(model: &Model, dims: &BTreeMap<String, i64>) -> Option<Vec<u64>> {
    let graph = &model.graph().graph;
    let mut sizes = Vec::new();
    for id in graph.required_inputs() {
        for dim in graph.value(id).ty.as_tensor()?.shape.as_ref()? {
            let size = match dim {
                Dim::Known(size) => *size,
                Dim::Symbol(name) => dims.get(name).copied().unwrap_or(1),
                Dim::Unknown => 1,
            };
            sizes.push(u64::try_from(size).unwrap_or(1));
        }
    }
    Some(sizes)
}

/// The cut as the guard needs it.
fn cut(model: &GraphModel, split: &BatchSplit) -> Cut {
    let facts = infer(model, &Bindings::default()).graph;
    let graph = &model.graph;
    let symbols = |id| {
        let shape = facts.get(id).and_then(|fact| fact.shape.as_ref())?;
        Some(shape.iter().flat_map(|dim| dim.symbols()).map(|symbol| symbol.name().to_owned()).collect::<Vec<_>>())
    };
    let fed: Vec<String> = graph.required_inputs().filter_map(symbols).flatten().collect();
    let follows = |names: Vec<String>| names.iter().all(|name| fed.contains(name));
    Cut {
        dim: split.dim.clone(),
        inputs: split.inputs.clone(),
        outputs: split.outputs.clone(),
        shapes_follow: graph.outputs().iter().all(|id| symbols(*id).is_some_and(follows)),
    }
}

/// Whose memory it is that something was learned about.
fn key(model: &Model, request: &Request) -> String {
    let limit = request.limit().map_or_else(|| "none".to_owned(), |limit| limit.get().to_string());
    let file = model.file();
    let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{name} of {} bytes, {}, limit {limit}", file.size().get(), request.provider.as_str())
}

#[cfg(test)]
mod tests;
