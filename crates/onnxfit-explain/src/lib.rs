//! Reads an error log of ONNX Runtime and says what it means.
//!
//! Text in, [`Explanation`] out: is it out of memory at all, which memory, in which phase, at
//! which node, how much was asked for, the causes with their evidence, what to do in order, and
//! what will not help though it is often advised. [`lint_options`] does the same for settings.
//!
//! Pure: no files, no clock, no environment. [`LogReader`] takes a log in chunks of any size and
//! keeps a bounded part of it, so a log of any length can be read. Breadth grows by a file and a
//! registry line: one per wrapper (`dialects`), per message form (`forms`), per cause (`causes`).

mod advice;
mod attention;
mod causes;
mod clean;
mod context;
mod decide;
mod dialects;
mod evidence;
mod explanation;
mod facts;
mod forms;
mod lint;
mod number;
mod reader;
mod reading;
mod releases;
mod render;
mod words;

pub use advice::{Advice, NotHelping};
pub use context::{Context, DimHint, ModelHints, TensorHint};
pub use explanation::{Cause, Confidence, Explanation, Memory, Phase, SCHEMA};
pub use lint::lint_options;
pub use reader::LogReader;
pub use reading::SizeReading;

/// Explains one log that is wholly in memory.
pub fn explain(log: &[u8]) -> Explanation {
    explain_with(log, &Context::default())
}

/// Explains one log with what is known besides it: the model, the GPU, the options.
pub fn explain_with(log: &[u8], context: &Context<'_>) -> Explanation {
    let mut reader = LogReader::new();
    reader.feed(log);
    reader.explain(context)
}

/// The ids of all causes, look-alikes included, in registry order.
pub fn cause_ids() -> impl Iterator<Item = &'static str> {
    causes::CAUSES.iter().map(|cause| cause.id)
}
