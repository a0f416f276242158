//! The child's side: loads one guarded model and answers until nobody asks any more.

use std::io::{self, Read, Write};

use onnxfit::runtime::guard::{Guard, GuardError};
use onnxfit::runtime::worker::wire;
use onnxfit::runtime::{RunError, Tensors};
use onnxfit::{Bytes, GuardSetup, Model, Quiet};

use super::{Ask, Memory, Tell};
use crate::setup::{ModelSetup, SessionSetup};

/// Answers until the other side closes its end. An error is one of the pipe; a model's errors are
/// answers.
pub fn serve_worker(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut guard: Option<Guard> = None;
    while let Some((ask, inputs)) = wire::receive::<Ask>(&mut input)? {
        let (tell, outputs) = match (ask, &mut guard) {
            (Ask::Open { model, session, limit_bytes }, guard) => match open(&model, &session, limit_bytes) {
                Ok(opened) => {
                    let opened = guard.insert(opened);
                    let session = opened.session();
                    let tell = Tell::Opened {
                        inputs: session.inputs().to_vec(),
                        outputs: session.outputs().to_vec(),
                        memory: memory(opened),
                    };
                    (tell, Tensors::new())
                }
                Err(error) => (Tell::Failed { message: error.to_string() }, Tensors::new()),
            },
            (Ask::Run, None) => (Tell::Failed { message: "no model is loaded".to_owned() }, Tensors::new()),
            (Ask::Run, Some(guard)) => match guard.run(&inputs) {
                Ok(outputs) => (Tell::Ran { counts: guard.counts(), memory: memory(guard) }, outputs),
                Err(error) => (told(&error), Tensors::new()),
            },
        };
        wire::send(&mut output, &tell, &outputs)?;
    }
    Ok(())
}

fn open(model: &ModelSetup, session: &SessionSetup, limit_bytes: Option<u64>) -> Result<Guard, onnxfit::Error> {
    let request = session.request(limit_bytes)?;
    let setup = GuardSetup { batch_dim: model.batch_dim.clone(), offline: session.offline, ..GuardSetup::default() };
    let model = Model::open(&model.path)?;
    match session.rehearsal_bytes {
        Some(most) => onnxfit::guard_beside_tenant(&model, &request, &setup, Bytes(most), &Quiet),
        None => onnxfit::guard(&model, &request, &setup, &Quiet).map(|(guard, _)| guard),
    }
}

fn memory(guard: &Guard) -> Memory {
    guard.session().arena_stats().map_or_else(
        |_| Memory::default(),
        |stats| Memory {
            in_use_bytes: stats.in_use.get(),
            held_bytes: stats.total_allocated.get(),
            peak_bytes: stats.max_in_use.get(),
        },
    )
}

fn told(error: &GuardError) -> Tell {
    let message = error.to_string();
    match error {
        GuardError::DoesNotFit(_) => Tell::DoesNotFit { message },
        GuardError::Run(RunError::Input { .. }) => Tell::WrongInput { message },
        // ONNX Runtime's code for what the caller got wrong stands in its text (status.cc, ORT 1.31).
        GuardError::Run(RunError::Failed { message: text, .. })
            if text.contains("INVALID_ARGUMENT") || text.contains("Got invalid dimensions") =>
        {
            Tell::WrongInput { message }
        }
        _ => Tell::Failed { message },
    }
}
