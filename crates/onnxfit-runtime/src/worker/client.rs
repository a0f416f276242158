//! The caller's side: what the worker is asked, and what its answers mean.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Answer, Opened, Pipe, Ran, Request};
use crate::{RunError, SessionSpec, Tensors};

/// A worker process. Dropping it ends the process.
pub struct Client {
    pipe: Pipe<Answer>,
}

impl Client {
    /// Starts `program` with `arguments`, which must make it call [`super::serve`] on its stdin
    /// and stdout.
    pub fn spawn(program: &Path, arguments: &[&str]) -> Result<Self, RunError> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn_command(command)
    }

    /// Starts a command that the caller has prepared, with limits or variables of its own.
    pub fn spawn_command(command: Command) -> Result<Self, RunError> {
        Ok(Self { pipe: Pipe::spawn(command)? })
    }

    /// Ends the worker when one question and its answer take longer.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.pipe.set_timeout(timeout);
    }

    /// The worker's process id.
    pub fn id(&self) -> u32 {
        self.pipe.id()
    }

    /// Loads a model; an earlier one is dropped first.
    pub fn open(&mut self, library: &Path, spec: &SessionSpec) -> Result<Opened, RunError> {
        let request = Request::Open { library: library.to_owned(), spec: Box::new(spec.clone()) };
        match self.ask("load the model", &request, &Tensors::new())? {
            (Answer::Opened(opened), _) => Ok(*opened),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Runs the model and returns its outputs.
    pub fn run(&mut self, inputs: &Tensors) -> Result<Ran, RunError> {
        self.run_once(inputs, true)
    }

    /// Runs the model for its measurements; the outputs stay where they are.
    pub fn measure(&mut self, inputs: &Tensors) -> Result<Ran, RunError> {
        self.run_once(inputs, false)
    }

    /// The arena's log lines since the last call.
    pub fn take_arena_log(&mut self) -> Result<Vec<String>, RunError> {
        match self.ask("tell its log", &Request::TakeArenaLog, &Tensors::new())? {
            (Answer::ArenaLog { lines }, _) => Ok(lines),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Ends profiling and returns the file it wrote.
    pub fn end_profiling(&mut self) -> Result<PathBuf, RunError> {
        match self.ask("end profiling", &Request::EndProfiling, &Tensors::new())? {
            (Answer::Profile { path }, _) => Ok(path),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn run_once(&mut self, inputs: &Tensors, return_outputs: bool) -> Result<Ran, RunError> {
        match self.ask("run the model", &Request::Run { return_outputs }, inputs)? {
            (Answer::Ran(measured), outputs) => Ok(Ran { outputs, measured: *measured }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, doing: &str, request: &Request, tensors: &Tensors) -> Result<(Answer, Tensors), RunError> {
        match self.pipe.ask(doing, request, tensors)? {
            (Answer::Failed { error }, _) => Err(*error),
            answer => Ok(answer),
        }
    }
}

fn unexpected(answer: &Answer) -> RunError {
    RunError::Worker(format!("answered another question: {answer:?}"))
}
