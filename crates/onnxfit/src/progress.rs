//! What a long job says while it works; the caller decides how it looks.

/// Where a long job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Something whose end cannot be told.
    Doing(String),
    /// Something that is counted.
    Counted {
        /// What.
        what: String,
        /// How much is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// A line worth keeping.
    Said(String),
}

/// Takes notice of progress.
pub trait Progress {
    /// A step was made.
    fn stage(&self, stage: &Stage);

    /// Something began whose end cannot be told.
    fn doing(&self, what: &str) {
        self.stage(&Stage::Doing(what.to_owned()));
    }

    /// A line worth keeping.
    fn said(&self, line: &str) {
        self.stage(&Stage::Said(line.to_owned()));
    }
}

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _: &Stage) {}
}
