//! The log of a training: one line of JSON for each step.
//!
//! A run that goes on from a checkpoint first drops the lines of steps that are made again, so the
//! file always is the curve of one run.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use onnxfit_report::train::{PointView, ValidationPoint};
use serde_json::{Value, json};

use crate::Error;

/// What a log says of the steps before a checkpoint.
#[derive(Default)]
pub(super) struct Earlier {
    pub(super) curve: Vec<PointView>,
    pub(super) validations: Vec<ValidationPoint>,
}

/// The log of a training.
pub(super) struct Journal {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Journal {
    /// Opens the log; keeps the points of steps before `step` and gives them.
    pub(super) fn open(path: &Path, step: u64, facts: &Value) -> Result<(Self, Earlier), Error> {
        let io = |action| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        let mut earlier = Earlier::default();
        let mut kept = String::new();
        if step > 0 && path.exists() {
            let text = std::fs::read_to_string(path).map_err(io("read"))?;
            for line in text.lines() {
                // The last line of a killed process may be half a line.
                let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
                match value.get("step").and_then(Value::as_u64) {
                    Some(at) if at >= step => continue,
                    Some(_) if value.get("event").is_some() => {
                        earlier.validations.extend(serde_json::from_value::<ValidationPoint>(value));
                    }
                    Some(_) => earlier.curve.extend(PointView::of_json(&value)),
                    None => {}
                }
                kept.push_str(line);
                kept.push('\n');
            }
        }
        if kept.is_empty() {
            kept = format!("{facts}\n");
        }
        let part = path.with_extension("jsonl.part");
        std::fs::write(&part, &kept).map_err(io("write"))?;
        std::fs::rename(&part, path).map_err(io("write"))?;
        let file = OpenOptions::new().append(true).open(path).map_err(io("open"))?;
        Ok((Self { path: path.to_owned(), out: BufWriter::new(file) }, earlier))
    }

    /// Adds a step.
    pub(super) fn step(&mut self, point: &PointView) -> Result<(), Error> {
        self.line(&serde_json::to_value(point).unwrap_or_default())
    }

    /// Adds a validation.
    pub(super) fn validation(&mut self, point: &ValidationPoint) -> Result<(), Error> {
        let mut value = serde_json::to_value(point).unwrap_or_default();
        value["event"] = "validation".into();
        self.line(&value)
    }

    /// Adds something that happened between steps.
    pub(super) fn event(&mut self, name: &str, text: &str) -> Result<(), Error> {
        self.line(&json!({ "event": name, "text": text }))
    }

    fn line(&mut self, value: &Value) -> Result<(), Error> {
        let written = writeln!(self.out, "{value}").and_then(|()| self.out.flush());
        written.map_err(|source| Error::Io { action: "write", path: self.path.clone(), source })
    }
}
