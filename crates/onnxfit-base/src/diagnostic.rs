//! One finding about a model, an option or a prediction.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; changes nothing.
    Note,
    /// The answer is less certain, or a setting does nothing.
    Warning,
    /// The answer cannot be given, or the model cannot run.
    Error,
}

impl Severity {
    /// The word used in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding: a stable id, a sentence, and a hint that is kept apart from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// A stable kebab-case name, such as `unmodelled-op`.
    pub id: &'static str,
    /// What, where and how much; no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding that changes nothing.
    pub fn note(id: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, id, message: message.into(), hint: None }
    }

    /// A finding that makes the answer less certain.
    pub fn warning(id: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, id, message: message.into(), hint: None }
    }

    /// A finding that stops the answer.
    pub fn error(id: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, id, message: message.into(), hint: None }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity.as_str(), self.id, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
