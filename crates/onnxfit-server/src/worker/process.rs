//! The server's side: starts the worker, asks, and survives its end.

use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use onnxfit::runtime::guard::Counts;
use onnxfit::runtime::worker::wire;
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
    child: Child,
    asks: Option<BufWriter<ChildStdin>>,
    tells: Receiver<Option<(Tell, Tensors)>>,
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
        let died = |error: std::io::Error| {
            WorkerError::Died(format!("`{}` cannot be started: {error}", program.path.display()))
        };
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(died)?;
        let pipe = "a pipe that was asked for is there";
        let asks = BufWriter::with_capacity(1 << 16, child.stdin.take().expect(pipe));
        let mut stdout = BufReader::with_capacity(1 << 16, child.stdout.take().expect(pipe));
        let (sender, tells) = channel();
        std::thread::spawn(move || {
            loop {
                let told = wire::receive::<Tell>(&mut stdout).ok().flatten();
                let last = told.is_none();
                if sender.send(told).is_err() || last {
                    break;
                }
            }
        });
        Ok(Self { child, asks: Some(asks), tells })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn open(
        &mut self,
        model: &ModelSetup,
        session: &SessionSetup,
        limit_bytes: Option<u64>,
        patience: Duration,
    ) -> Result<Opened, WorkerError> {
        let ask = Ask::Open { model: Box::new(model.clone()), session: Box::new(session.clone()), limit_bytes };
        match self.ask(&ask, &Tensors::new(), patience)? {
            (Tell::Opened { inputs, outputs, memory, .. }, _) => Ok(Opened { inputs, outputs, memory }),
            (other, _) => Err(refused(other)),
        }
    }

    pub(crate) fn run(
        &mut self,
        inputs: &Tensors,
        patience: Duration,
    ) -> Result<(Tensors, Counts, Memory), WorkerError> {
        match self.ask(&Ask::Run, inputs, patience)? {
            (Tell::Ran { counts, memory }, outputs) => Ok((outputs, counts, memory)),
            (other, _) => Err(refused(other)),
        }
    }

    fn ask(&mut self, ask: &Ask, tensors: &Tensors, patience: Duration) -> Result<(Tell, Tensors), WorkerError> {
        let Some(asks) = &mut self.asks else { return Err(WorkerError::Died("it has ended".to_owned())) };
        let sent = wire::send(asks, ask, tensors);
        let told = match sent {
            Ok(()) => self.tells.recv_timeout(patience),
            Err(_) => Ok(None),
        };
        match told {
            Ok(Some(told)) => Ok(told),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => Err(WorkerError::Died(self.obituary())),
            Err(RecvTimeoutError::Timeout) => {
                // Ended below by dropping it; nothing is lost but the run in hand.
                let _ = self.child.kill();
                self.asks = None;
                Err(WorkerError::Died(format!("it did not answer within {} s and was ended", patience.as_secs())))
            }
        }
    }

    fn obituary(&mut self) -> String {
        self.asks = None;
        match self.child.wait() {
            Ok(status) => format!("the worker process ended: {status}"),
            Err(error) => format!("the worker process is gone: {error}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing its input is how it learns that it is no longer needed; a run in hand is ended.
        self.asks = None;
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
