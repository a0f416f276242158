//! Who runs the graphs of a training step.

use std::path::Path;

use onnxfit_graph::Model;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_runtime::{Carry, Library, RunError, Session, SessionSpec, Tensor, Tensors};

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

    /// Keeps weights in its own memory between whole steps, if it can.
    fn holder(&mut self) -> Option<&mut dyn Holder> {
        None
    }
}

/// Holds weights between the runs of [`Part::Whole`].
pub trait Holder {
    /// Takes values: the input and the output of each, and what it is.
    fn take(&mut self, values: &[(&str, &str, &Tensor)]) -> Result<(), RunError>;
    /// Runs once; gives the outputs that are not held.
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError>;
    /// Takes over what the last run wrote.
    fn commit(&mut self) -> Result<(), RunError>;
    /// The values as they are, by input.
    fn fetch(&mut self) -> Result<Tensors, RunError>;
}

/// Runs them with ONNX Runtime. A session is opened when its graph is first needed.
pub struct SessionRunner {
    library: &'static Library,
    spec: SessionSpec,
    folder: tempfile::TempDir,
    sessions: Vec<(Part, Session)>,
    parts: Vec<Part>,
    holds: bool,
    carry: Option<Carry>,
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
        Ok(Self { library, spec: spec.clone(), folder, sessions: Vec::new(), parts, holds: false, carry: None })
    }

    /// Whether weights stay in the runtime's memory between steps of a whole batch. The trainer's
    /// copies are then those of the last [`crate::Trainer::sync`].
    pub fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// Bytes of the weights and states that are held.
    pub fn held_bytes(&self) -> onnxfit_base::Bytes {
        self.carry.as_ref().map_or(onnxfit_base::Bytes::ZERO, Carry::bytes)
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
                let mut spec = SessionSpec { model: file(self.folder.path(), part), ..self.spec.clone() };
                yield_the_cores(part, &mut spec);
                self.sessions.push((part, Session::open(self.library, &spec)?));
                self.sessions.len() - 1
            }
        };
        Ok(&mut self.sessions[at].1)
    }
}

/// Sessions take turns within a step, and the threads of each go on spinning for a while after its
/// run, on the cores that the next one wants (`session.force_spinning_stop`,
/// onnxruntime_session_options_config_keys.h, 1.31.1). Those between the long runs do not.
fn yield_the_cores(part: Part, spec: &mut SessionSpec) {
    match part {
        // Counts labels: too little for a second thread.
        Part::Count => spec.intra_op_threads = Some(1),
        Part::Update => {
            spec.config.entry("session.force_spinning_stop".to_owned()).or_insert_with(|| "1".to_owned());
        }
        Part::Gradients | Part::Whole => {}
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

    fn holder(&mut self) -> Option<&mut dyn Holder> {
        if self.holds { Some(self) } else { None }
    }
}

impl Holder for SessionRunner {
    fn take(&mut self, values: &[(&str, &str, &Tensor)]) -> Result<(), RunError> {
        self.carry = Some(self.session(Part::Whole)?.carry(values)?);
        Ok(())
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError> {
        let Some(mut carry) = self.carry.take() else {
            return Err(RunError::Option("nothing is held".to_owned()));
        };
        let outputs = self.session(Part::Whole).and_then(|session| session.run_carrying(&mut carry, inputs));
        self.carry = Some(carry);
        outputs
    }

    fn commit(&mut self) -> Result<(), RunError> {
        let Some(mut carry) = self.carry.take() else { return Ok(()) };
        let committed = carry.commit(self.session(Part::Whole)?);
        self.carry = Some(carry);
        committed
    }

    fn fetch(&mut self) -> Result<Tensors, RunError> {
        let Some(carry) = self.carry.take() else { return Ok(Tensors::new()) };
        let fetched = self.session(Part::Whole).and_then(|session| session.fetch(&carry));
        self.carry = Some(carry);
        fetched
    }
}
