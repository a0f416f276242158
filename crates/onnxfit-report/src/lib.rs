//! Views: what onnxfit found, as terminal text, as versioned JSON, as a page, and as a trace.
//!
//! A view is plain data with a schema name; it knows nothing of models or of the twin, and is
//! written to whatever `impl Write` it is given. Sizes in JSON are integers named `*_bytes`.

pub mod blame;
pub mod bytes_in;
pub mod check;
pub mod convert;
pub mod deploy;
pub mod fix;
pub mod html;
pub mod measure;
pub mod prune;
pub mod quantize;
pub mod recommend;
pub mod run;
mod size;
pub mod split;
pub mod table;
pub mod timeline;
pub mod trace;
pub mod train;
pub mod watch;

pub use size::Size;

use onnxfit_base::Diagnostic;
use serde::Serialize;

/// A finding in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiagnosticView {
    /// A stable kebab-case name.
    pub id: String,
    /// `note`, `warning` or `error`.
    pub severity: &'static str,
    /// What, where and how much.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Diagnostic> for DiagnosticView {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            id: diagnostic.id.to_owned(),
            severity: diagnostic.severity.as_str(),
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
        }
    }
}
