//! The worker's side: answers until nobody asks any more.

use std::io::{self, Read, Write};
use std::time::Instant;

use onnxfit_base::Bytes;

use super::{Answer, Measured, Opened, Request, wire};
use crate::live::LiveFile;
use crate::{ArenaStats, Library, RunError, Session, SessionSpec, Tensors};

/// Answers requests until the other side closes its end. An error is one of the pipe; a model's
/// errors are answers.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut session = None;
    while let Some((request, inputs)) = wire::receive::<Request>(&mut input)? {
        let (answer, outputs) = answer(request, inputs, &mut session)
            .unwrap_or_else(|error| (Answer::Failed { error: Box::new(error) }, Tensors::new()));
        wire::send(&mut output, &answer, &outputs)?;
    }
    Ok(())
}

/// A loaded model, and what `onnxfit watch` is told of it.
struct Loaded {
    session: Session,
    live: Option<LiveFile>,
    n_runs: u64,
}

impl Loaded {
    fn tell(&mut self, arena: Option<&ArenaStats>) {
        if let (Some(live), Some(arena)) = (&mut self.live, arena) {
            live.tell(arena, self.n_runs);
        }
    }
}

fn answer(request: Request, inputs: Tensors, session: &mut Option<Loaded>) -> Result<(Answer, Tensors), RunError> {
    let answer = match request {
        Request::Open { library, spec } => {
            *session = None;
            let (opened, information) = open(Library::load(&library)?, &spec)?;
            *session = Some(opened);
            Answer::Opened(Box::new(information))
        }
        Request::Run { return_outputs } => return run(known(session)?, &inputs, return_outputs),
        Request::TakeArenaLog => Answer::ArenaLog { lines: known(session)?.session.take_arena_log() },
        Request::EndProfiling => Answer::Profile { path: known(session)?.session.end_profiling()? },
    };
    Ok((answer, Tensors::new()))
}

fn known(session: &mut Option<Loaded>) -> Result<&mut Loaded, RunError> {
    session.as_mut().ok_or_else(|| RunError::Worker("was asked to run before it loaded a model".to_owned()))
}

fn open(library: &'static Library, spec: &SessionSpec) -> Result<(Loaded, Opened), RunError> {
    let start = Instant::now();
    let session = Session::open(library, spec)?;
    let information = Opened {
        version: library.version().to_owned(),
        inputs: session.inputs().to_vec(),
        outputs: session.outputs().to_vec(),
        arena: session.arena_stats().ok(),
        trace: session.take_trace(),
        seconds: start.elapsed().as_secs_f64(),
    };
    let limit = information.arena.and_then(|arena| arena.limit).map(Bytes::get);
    let live = LiveFile::announce(&spec.model, session.card(), limit);
    let mut loaded = Loaded { session, live, n_runs: 0 };
    loaded.tell(information.arena.as_ref());
    Ok((loaded, information))
}

fn run(loaded: &mut Loaded, inputs: &Tensors, return_outputs: bool) -> Result<(Answer, Tensors), RunError> {
    let session = &mut loaded.session;
    // What was seen between runs belongs to none.
    session.take_trace();
    let start = Instant::now();
    let held = session.run_holding(inputs)?;
    let seconds = start.elapsed().as_secs_f64();
    let arena_with_outputs = session.arena_stats().ok();
    let outputs = if return_outputs { held.to_tensors()? } else { Tensors::new() };
    drop(held);
    let measured = Measured {
        arena_with_outputs,
        arena: session.arena_stats().ok(),
        trace: session.take_trace(),
        seconds,
        warnings: Library::loaded().map(Library::take_warnings).unwrap_or_default(),
    };
    loaded.n_runs += 1;
    loaded.tell(measured.arena.as_ref());
    Ok((Answer::Ran(Box::new(measured)), outputs))
}
