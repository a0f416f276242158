//! The answer of `onnxfit convert --uint8-input`: contract `onnxfit.bytes-in/1`.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::write_diagnostics;
use crate::convert::write_verify;
use crate::fix::VerifyView;
use crate::{DiagnosticView, Size};

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct BytesInView {
    /// `onnxfit.bytes-in/1`.
    pub schema: &'static str,
    /// Whether the model was written.
    pub converted: bool,
    /// The model file.
    pub model: String,
    /// The input that takes bytes now.
    pub input: String,
    /// What was fed to it.
    pub feed_before_bytes: Size,
    /// What is fed to it now.
    pub feed_after_bytes: Size,
    /// The comparison.
    pub verify: VerifyView,
    /// Files written, beside each other.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &BytesInView) -> io::Result<()> {
    let verdict = if view.converted { "takes bytes now" } else { "NOT converted" };
    writeln!(
        out,
        "input `{}` {verdict}: {} to feed instead of {}",
        view.input, view.feed_after_bytes, view.feed_before_bytes
    )?;
    write_verify(out, &view.verify)?;
    if !view.files.is_empty() {
        writeln!(out, "\nwritten: {}", view.files.join(", "))?;
    }
    write_diagnostics(out, &view.diagnostics)
}
