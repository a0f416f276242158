//! Who runs the graphs of a training step.

use std::path::Path;

use onnxfit_graph::Model;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_runtime::{Library, RunError, Session, SessionSpec, Tensor, Tensors};

use crate::plan::TrainingPlan;

/// One of the graphs of a [`TrainingPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// [`TrainingPlan::counting`].
    Count,
    /// [`TrainingPlan::gradients`].
    Gradients,
    /// [`TrainingPlan::update`].
    Update,
    /// [`TrainingPlan::whole`].
    Whole,
}

/// Runs the graphs of a training step.
pub trait StepRunner {
    /// Runs a graph once.
    fn run(&mut self, part: Part, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError>;
}

/// Runs them with ONNX Runtime. A session is opened when its graph is first needed.
pub struct SessionRunner {
    library: &'static Library,
    spec: SessionSpec,
    folder: tempfile::TempDir,
    sessions: Vec<(Part, Session)>,
    parts: Vec<Part>,
}

impl SessionRunner {
    /// Writes the plan's graphs into a temporary folder. `spec` says how they are loaded; its model
    /// does not count. `weights` has the bytes of what the plan does not train.
    pub fn new(
        library: &'static Library,
        plan: &TrainingPlan,
        spec: &SessionSpec,
        weights: &dyn TensorSource,
    ) -> Result<Self, RunError> {
        let failed = |error: String| RunError::Option(format!("cannot write the training graphs: {error}"));
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let mut parts = vec![Part::Gradients, Part::Update, Part::Whole];
        let write = |part: Part, model: &Model| -> Result<(), RunError> {
            let path = file(folder.path(), part);
            let options = SaveOptions::new(weights);
            save(&model.to_proto(), &path, &options).map(|_| ()).map_err(|error| failed(error.to_string()))
        };
        write(Part::Gradients, &plan.gradients.model)?;
        write(Part::Update, &plan.update.model)?;
        write(Part::Whole, &plan.whole)?;
        if let Some(counting) = &plan.counting {
            write(Part::Count, counting)?;
            parts.push(Part::Count);
        }
        Ok(Self { library, spec: spec.clone(), folder, sessions: Vec::new(), parts })
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().map(|(_, session)| session)
    }

    /// The session of a graph, opened if it is not yet.
    pub fn session(&mut self, part: Part) -> Result<&mut Session, RunError> {
        if !self.parts.contains(&part) {
            return Err(RunError::Option(format!("the plan has no graph for {part:?}")));
        }
        let at = match self.sessions.iter().position(|(open, _)| *open == part) {
            Some(at) => at,
            None => {
                let spec = SessionSpec { model: file(self.folder.path(), part), ..self.spec.clone() };
                self.sessions.push((part, Session::open(self.library, &spec)?));
                self.sessions.len() - 1
            }
        };
        Ok(&mut self.sessions[at].1)
    }
}

fn file(folder: &Path, part: Part) -> std::path::PathBuf {
    folder.join(format!("{part:?}.onnx").to_lowercase())
}

impl StepRunner for SessionRunner {
    fn run(&mut self, part: Part, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError> {
        let inputs: Tensors = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect();
        self.session(part)?.run(&inputs)
    }
}
