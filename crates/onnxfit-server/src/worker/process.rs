//! The server's side: starts the worker and asks it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use onnxfit::runtime::guard::Counts;
use onnxfit::runtime::worker::Pipe;
use onnxfit::runtime::{TensorInfo, Tensors};

use super::{Ask, Memory, Tell};
use crate::refusal::{Refusal, RefusalKind};
use crate::setup::{ModelSetup, SessionSetup};

/// A program and its arguments that lead to [`super::serve_worker`].
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A worker process. Dropping it ends the process.
pub(crate) struct Worker {
    pipe: Pipe<Tell>,
}

/// What the model's worker said when it was loaded.
pub(crate) struct Opened {
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    pub(crate) memory: Memory,
}

/// Why a worker did not answer.
#[derive(Debug)]
pub(crate) enum WorkerError {
    /// It answered: no.
    Refused(Refusal),
    /// It is gone.
    Died(String),
}

impl Worker {
    pub(crate) fn spawn(program: &WorkerProgram) -> Result<Self, WorkerError> {
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        Pipe::spawn(command).map(|pipe| Self { pipe }).map_err(|error| WorkerError::Died(error.to_string()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.pipe.id()
    }

    pub(crate) fn open(
        &mut self,
        model: &ModelSetup,
        session: &SessionSetup,
        limit_bytes: Option<u64>,
        patience: Duration,
    ) -> Result<Opened, WorkerError> {
        let ask = Ask::Open { model: Box::new(model.clone()), session: Box::new(session.clone()), limit_bytes };
        match self.ask("load the model", &ask, &Tensors::new(), patience)? {
            (Tell::Opened { inputs, outputs, memory }, _) => Ok(Opened { inputs, outputs, memory }),
            (other, _) => Err(refused(other)),
        }
    }

    pub(crate) fn run(
        &mut self,
        inputs: &Tensors,
        patience: Duration,
    ) -> Result<(Tensors, Counts, Memory), WorkerError> {
        match self.ask("run the model", &Ask::Run, inputs, patience)? {
            (Tell::Ran { counts, memory }, outputs) => Ok((outputs, counts, memory)),
            (other, _) => Err(refused(other)),
        }
    }

    fn ask(
        &mut self,
        doing: &str,
        ask: &Ask,
        tensors: &Tensors,
        patience: Duration,
    ) -> Result<(Tell, Tensors), WorkerError> {
        self.pipe.set_timeout(Some(patience));
        self.pipe.ask(doing, ask, tensors).map_err(|error| WorkerError::Died(error.to_string()))
    }
}

fn refused(tell: Tell) -> WorkerError {
    WorkerError::Refused(match tell {
        Tell::DoesNotFit { message } => Refusal::new(RefusalKind::DoesNotFit, message),
        Tell::WrongInput { message } => Refusal::bad(message),
        Tell::Failed { message } => Refusal::new(RefusalKind::Internal, message),
        Tell::Opened { .. } | Tell::Ran { .. } => {
            Refusal::new(RefusalKind::Internal, "the worker process answered another question")
        }
    })
}
