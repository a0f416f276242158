//! Progress bars on stderr, for what takes longer than a moment.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use onnxfit::{Progress, Stage};

/// A spinner with a bar where the end is known; silent when stderr is no terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn stage(&self, stage: &Stage) {
        match stage {
            Stage::Counted { what, done, total } => {
                if self.bar.length() != Some(*total) {
                    self.bar.set_length(*total);
                    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent} % {eta}");
                    self.bar.set_style(style.expect("the template is well formed").progress_chars("=> "));
                }
                self.bar.set_message(what.clone());
                self.bar.set_position(*done);
            }
            Stage::Doing(what) => {
                let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
                self.bar.set_style(style.expect("the template is well formed"));
                self.bar.set_message(what.clone());
            }
            Stage::Said(line) => self.bar.suspend(|| eprintln!("{line}")),
        }
    }
}
