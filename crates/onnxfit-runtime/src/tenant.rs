//! Another session in the same arena, which takes memory and gives it back: a rehearsal of what a
//! card that others share does to a session.
//!
//! What it takes follows from a seed, so that a rehearsal can be repeated.

use std::io::Write;

use onnxfit_base::Bytes;

use crate::tiny_model::{model, node, value_info};
use crate::{ElementType, Library, Outputs, RunError, Session, SessionSpec, Tensor, Tensors};

/// Of ten requests, those before which it changes its mind.
const CHANGES_OF_TEN: u64 = 6;
/// Bytes of one step of what it takes.
const STEP: u64 = 1024;

/// A session that only takes memory.
pub struct Tenant {
    // Before the session whose memory it is.
    holding: Option<(u64, Outputs)>,
    session: Session,
    most: Bytes,
    state: u64,
}

impl Tenant {
    /// Loads a model and a tenant into one arena, with the settings of the model's session. The
    /// tenant has no weights: what the arena holds after loading is the model's.
    pub fn beside(
        library: &'static Library,
        spec: &SessionSpec,
        most: Bytes,
        seed: u64,
    ) -> Result<(Session, Self), RunError> {
        let cannot = |error: std::io::Error| RunError::Option(format!("the tenant's model cannot be written: {error}"));
        let mut file = tempfile::Builder::new().suffix(".onnx").tempfile().map_err(cannot)?;
        let bytes = model(
            &[node("Neg", "take", &["x"], &["y"])],
            &[],
            &[value_info("x", 1, &[-1])],
            &[value_info("y", 1, &[-1])],
        );
        file.write_all(&bytes).map_err(cannot)?;
        let mut own = SessionSpec::new(file.path());
        own.cpu_arena = spec.cpu_arena;
        own.intra_op_threads = Some(1);
        own.run_config.insert("memory.enable_memory_arena_shrinkage".to_owned(), "cpu:0".to_owned());
        let mut sessions = Session::open_together(library, &[spec.clone(), own])?.into_iter();
        let both = "two sessions were opened";
        let (first, session) = (sessions.next().expect(both), sessions.next().expect(both));
        Ok((first, Self { holding: None, session, most, state: seed }))
    }

    /// Before a request: in six of ten cases it takes another random part of what it may.
    pub fn stir(&mut self) {
        if self.draw(10) < CHANGES_OF_TEN {
            let bytes = self.draw(self.most.get() / STEP) * STEP;
            self.hold(Bytes(bytes));
        }
    }

    /// Takes this much, and gives back what it had; less if there is not so much.
    pub fn hold(&mut self, bytes: Bytes) {
        let bytes = bytes.get();
        if self.holding.as_ref().is_some_and(|(held, _)| *held == bytes) {
            return;
        }
        self.holding = None;
        let mut left = bytes;
        while left >= STEP {
            let count = left / 4;
            let zeros = vec![0; usize::try_from(count * 4).unwrap_or(0)];
            let Ok(values) = Tensor::from_bytes(ElementType::Float, vec![count], zeros) else { return };
            let inputs: Tensors = [("x".to_owned(), values)].into_iter().collect();
            // A run that fails gives back what the arena does not use, so the second try has it.
            for _ in 0..2 {
                if let Ok(outputs) = self.session.run_holding(&inputs) {
                    self.holding = Some((bytes, outputs));
                    return;
                }
            }
            left /= 2;
        }
    }

    /// A number below `n`, from the seed.
    fn draw(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) % n.max(1)
    }
}
