//! The parent's end of a child process that answers questions: starts it, asks, survives its end.
//!
//! What is asked and answered is the caller's; tensors travel behind either. However the child ends,
//! it becomes a [`RunError`] that says how, and what it wrote last.

use std::collections::VecDeque;
use std::io::{self, BufReader, BufWriter, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::alarm::Alarm;
use super::wire;
use crate::library::lock;
use crate::{RunError, Tensors};

/// Bytes of the worker's stderr that are kept for its obituary.
const STDERR_BYTES_MAX: usize = 4 << 10;
/// How long a worker may take to end by itself when its input is closed.
const GOODBYE: Duration = Duration::from_secs(2);
/// What a pipe is asked to hold, so that a tensor passes in few turns; what any user may ask for
/// (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;
/// Bytes of small messages that are read or written at once; larger blocks pass by.
const BUFFER_BYTES: usize = 64 << 10;

/// A child process that gives answers of one kind. Dropping it ends the process.
pub struct Pipe<A> {
    child: Arc<Mutex<Child>>,
    id: u32,
    // `None` once closed; closing it is how the worker learns that it is no longer needed.
    requests: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
    alarm: Alarm,
    stderr_tail: Arc<Mutex<VecDeque<u8>>>,
    stderr_reader: Option<JoinHandle<()>>,
    timeout: Option<Duration>,
    kind: std::marker::PhantomData<fn() -> A>,
}

impl<A: DeserializeOwned> Pipe<A> {
    /// Starts a command that the caller has prepared, with limits or variables of its own. It must
    /// answer on its stdout what it is asked on its stdin, in the frames of [`wire`].
    pub fn spawn(mut command: Command) -> Result<Self, RunError> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
                RunError::Worker(format!("`{}` cannot be started: {error}", command.get_program().display()))
            })?;
        let pipe = "a pipe that was asked for is there";
        let (stdin, stdout) = (child.stdin.take().expect(pipe), child.stdout.take().expect(pipe));
        #[cfg(target_os = "linux")]
        {
            // A smaller pipe is a slower one, and no more.
            let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
            let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        }
        let mut stderr = child.stderr.take().expect(pipe);
        let stderr_tail = Arc::new(Mutex::new(VecDeque::new()));
        let tail = Arc::clone(&stderr_tail);
        let stderr_reader = std::thread::spawn(move || {
            let mut buffer = [0u8; 1024];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let mut tail = lock(&tail);
                tail.extend(&buffer[..length]);
                let surplus = tail.len().saturating_sub(STDERR_BYTES_MAX);
                tail.drain(..surplus);
            }
        });
        let id = child.id();
        let child = Arc::new(Mutex::new(child));
        Ok(Self {
            id,
            alarm: Alarm::new(&child),
            child,
            requests: Some(BufWriter::with_capacity(BUFFER_BYTES, stdin)),
            answers: BufReader::with_capacity(BUFFER_BYTES, stdout),
            stderr_tail,
            stderr_reader: Some(stderr_reader),
            timeout: None,
            kind: std::marker::PhantomData,
        })
    }

    /// Asks, and waits for the answer. `doing` names it, as the rest of "it was to".
    pub fn ask(&mut self, doing: &str, request: &impl Serialize, tensors: &Tensors) -> Result<(A, Tensors), RunError> {
        let Some(requests) = &mut self.requests else {
            return Err(RunError::Worker("has ended already".to_owned()));
        };
        if let Some(timeout) = self.timeout {
            self.alarm.set(timeout);
        }
        // A pipe that nobody reads any more means the same as one that nobody answers on.
        let received = match wire::send(requests, request, tensors) {
            Ok(()) => wire::receive(&mut self.answers),
            Err(_) => Ok(None),
        };
        self.alarm.cancel();
        match received {
            Ok(Some(answer)) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.end(Duration::ZERO);
                Err(RunError::Worker(format!("sent an answer that cannot be read: {error}")))
            }
            Ok(None) | Err(_) => {
                let obituary = self.obituary(doing);
                match self.timeout {
                    Some(timeout) if self.alarm.rang() => {
                        Err(RunError::WorkerTimeout { doing: doing.to_owned(), seconds: timeout.as_secs() })
                    }
                    _ => Err(obituary),
                }
            }
        }
    }
}

impl<A> Pipe<A> {
    /// Ends the worker when one question and its answer take longer.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// The worker's process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits for a worker that has closed its pipe, and tells how it ended.
    fn obituary(&mut self, doing: &str) -> RunError {
        let status = self.end(GOODBYE);
        let tail: Vec<u8> = lock(&self.stderr_tail).iter().copied().collect();
        RunError::WorkerDied {
            signal: status.and_then(signal_of),
            exit_code: status.and_then(|status| status.code()),
            doing: doing.to_owned(),
            stderr_tail: String::from_utf8_lossy(&tail).trim().to_owned(),
        }
    }

    /// Closes the worker's input, gives it a moment to end by itself, then kills it.
    fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Some(requests) = self.requests.take() {
            // Without flushing: a worker that does not read would block this forever.
            let (pipe, _unsent) = requests.into_parts();
            drop(pipe);
        }
        let start = Instant::now();
        let status = loop {
            let mut child = lock(&self.child);
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if start.elapsed() < patience => {
                    drop(child);
                    sleep(Duration::from_millis(5));
                }
                _ => {
                    let _ = child.kill();
                    break child.wait().ok();
                }
            }
        };
        if let Some(reader) = self.stderr_reader.take()
            && patience > Duration::ZERO
        {
            // The process is gone, so its stderr ends, unless a grandchild keeps it open.
            let start = Instant::now();
            while !reader.is_finished() && start.elapsed() < patience {
                sleep(Duration::from_millis(5));
            }
        }
        status
    }
}

impl<A> Drop for Pipe<A> {
    fn drop(&mut self) {
        self.end(GOODBYE);
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}
