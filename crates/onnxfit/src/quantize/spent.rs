//! Where the time of a quantization went, part by part.

use std::time::Instant;

use onnxfit_report::quantize::SpentView;

/// A clock that notes what each part took.
pub(crate) struct Spent {
    since: Instant,
    parts: Vec<SpentView>,
}

impl Spent {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), parts: Vec::new() }
    }

    /// Everything since the last call was this.
    pub(crate) fn on(&mut self, what: &'static str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        match self.parts.iter_mut().find(|part| part.what == what) {
            Some(part) => part.seconds += seconds,
            None => self.parts.push(SpentView { what, seconds }),
        }
    }

    pub(crate) fn into_parts(self) -> Vec<SpentView> {
        self.parts
    }
}
