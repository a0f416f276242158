//! The answer of `onnxfit train` and `onnxfit distill`: contract `onnxfit.train/1`.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{TargetView, write_diagnostics};
use crate::html::escape::Escaped;
use crate::{DiagnosticView, Size};

/// One step: a line of the log, a point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointView {
    /// The step, counted from 0.
    pub step: u64,
    /// The pass over the data, counted from 0.
    pub epoch: u64,
    /// The loss over the batch, before the parameters changed.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The norm of all gradients together.
    pub gradient_norm: f64,
    /// Samples in the batch.
    pub n_samples: u64,
    /// Samples that went through at once.
    pub micro_batch: u64,
    /// How often the step was redone.
    pub n_retries: u32,
    /// Time since the process began its first step.
    pub seconds: f64,
}

impl PointView {
    /// Reads a line of a log.
    pub fn of_json(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }
}

/// How the model answered to samples that it does not learn from, at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationPoint {
    /// Steps that were made before.
    pub step: u64,
    /// The pass over the data that had just ended, counted from 0.
    pub epoch: u64,
    /// The loss over all samples.
    pub loss: f64,
    /// The share of labels that have the largest score; `null` where answers are no classes.
    pub accuracy: Option<f64>,
    /// Samples it was asked.
    pub n_samples: u64,
}

/// All validations of a run.
#[derive(Clone, Debug, Serialize)]
pub struct ValidationView {
    /// The data.
    pub data: String,
    /// One for each pass.
    pub points: Vec<ValidationPoint>,
    /// Steps after which the model was as it is written: where the loss was least.
    pub kept_step: Option<u64>,
}

/// What recomputing was chosen for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecomputeView {
    /// Segments that are computed again.
    pub n_segments: usize,
    /// Nodes that run twice, as a share of those on the way forward.
    pub repeated_share: f64,
    /// Activations kept without it.
    pub kept_before_bytes: Size,
    /// Activations kept with it.
    pub kept_after_bytes: Size,
    /// Samples that would fit at once without it.
    pub micro_batch_without: u64,
}

/// Memory, predicted and measured.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryView {
    /// Where it ran.
    pub target: TargetView,
    /// What all arenas were to take at most.
    pub predicted_bytes: Size,
    /// What they took from the device.
    pub measured_bytes: Size,
    /// Samples that were to go through at once.
    pub predicted_micro_batch: u64,
    /// What stops one sample more at once, where it does not fit.
    pub one_more: Option<String>,
    /// Activations that are computed again; `null` if all are kept.
    pub recompute: Option<RecomputeView>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct TrainView {
    /// `onnxfit.train/1`.
    pub schema: &'static str,
    /// The model file.
    pub model: String,
    /// The file that was written.
    pub output: String,
    /// The data.
    pub data: String,
    /// Samples in it.
    pub n_samples: u64,
    /// Numbers that were trained.
    pub n_parameters: u64,
    /// Tensors that were trained.
    pub n_trained: usize,
    /// Samples of a step.
    pub batch: u64,
    /// Samples that went through at once in the end.
    pub micro_batch: u64,
    /// Passes over the data.
    pub n_epochs: u64,
    /// Steps in all.
    pub n_steps: u64,
    /// The step of the checkpoint that the run went on from.
    pub resumed_from: Option<u64>,
    /// Bad samples that were left out.
    pub n_skipped: u64,
    /// The loss of the first step.
    pub first_loss: Option<f64>,
    /// The loss of the last step.
    pub last_loss: Option<f64>,
    /// Time of this process's steps.
    pub seconds: f64,
    /// Samples a second in them.
    pub samples_per_second: f64,
    /// Memory.
    pub memory: MemoryView,
    /// Every step.
    pub curve: Vec<PointView>,
    /// Samples that it did not learn from; `null` if there are none.
    pub validation: Option<ValidationView>,
    /// The log.
    pub log: String,
    /// The folder of checkpoints.
    pub checkpoints: String,
    /// Files written, beside each other.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &TrainView) -> io::Result<()> {
    let loss = |loss: Option<f64>| loss.map_or_else(|| "none".to_owned(), |loss| format!("{loss:.6}"));
    writeln!(
        out,
        "trained {} numbers in {} tensors: {} steps, loss {} to {}",
        view.n_parameters,
        view.n_trained,
        view.n_steps,
        loss(view.first_loss),
        loss(view.last_loss)
    )?;
    if let Some(step) = view.resumed_from {
        writeln!(out, "  went on from step {step}")?;
    }
    let n_parts = view.batch.div_ceil(view.micro_batch.max(1));
    writeln!(
        out,
        "  {} samples, batch {} as {n_parts} x {}, {:.1} samples/s",
        view.n_samples, view.batch, view.micro_batch, view.samples_per_second
    )?;
    if view.n_skipped > 0 {
        writeln!(out, "  {} bad samples were left out", view.n_skipped)?;
    }
    for point in view.validation.iter().flat_map(|validation| &validation.points) {
        let kept = view.validation.as_ref().is_some_and(|validation| validation.kept_step == Some(point.step));
        writeln!(out, "  epoch {}: {}{}", point.epoch + 1, validated(point), if kept { ", kept" } else { "" })?;
    }
    let memory = &view.memory;
    let budget = memory.target.budget_bytes.map_or_else(String::new, |budget| {
        if memory.target.provider == "cpu" { format!(", each arena at most {budget}") } else { format!(" of {budget}") }
    });
    writeln!(out, "  memory: predicted {}, measured {}{budget}", memory.predicted_bytes, memory.measured_bytes)?;
    if let Some(one_more) = &memory.one_more {
        writeln!(out, "  {} samples at once fit; one more does not: {one_more}", memory.predicted_micro_batch)?;
    }
    if let Some(again) = &memory.recompute {
        writeln!(
            out,
            "  computed again: {:.0} % of the nodes in {} segments, activations {} to {}",
            100.0 * again.repeated_share,
            again.n_segments,
            again.kept_before_bytes,
            again.kept_after_bytes
        )?;
    }
    writeln!(out, "\nwritten: {}\nlog: {}\ncheckpoints: {}", view.files.join(", "), view.log, view.checkpoints)?;
    write_diagnostics(out, &view.diagnostics)
}

/// One validation in words.
pub fn validated(point: &ValidationPoint) -> String {
    let accuracy = point.accuracy.map_or_else(String::new, |share| format!(", accuracy {:.2} %", 100.0 * share));
    format!("validation loss {:.6}{accuracy}", point.loss)
}

/// Points that a curve is drawn with at most.
const POINTS_MAX: usize = 1000;

/// Writes a page with the curve of the loss, which needs no network and no script.
pub fn write_html(out: &mut impl Write, view: &TrainView) -> io::Result<()> {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 320.0;
    let step = view.curve.len().div_ceil(POINTS_MAX).max(1);
    let points: Vec<(f64, f64)> = view
        .curve
        .chunks(step)
        .map(|chunk| {
            let mean = chunk.iter().map(|point| point.loss).sum::<f64>() / chunk.len() as f64;
            (chunk[0].step as f64, mean)
        })
        .collect();
    let last_step = points.last().map_or(1.0, |point| point.0).max(1.0);
    let (low, high) = points
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.1), high.max(point.1)));
    let span = (high - low).max(1e-12);
    let place = |(x, y): &(f64, f64)| {
        format!("{:.1},{:.1}", 60.0 + x / last_step * (WIDTH - 80.0), 20.0 + (high - y) / span * (HEIGHT - 60.0))
    };
    let line: Vec<String> = points.iter().map(place).collect();
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{0} – onnxfit</title>\n<style>\n{1}</style>\n</head>\n<body>\n<main id=\"main\">\n<h1>{0}</h1>\n",
        Escaped(&view.model),
        include_str!("html/page.css")
    )?;
    write!(
        out,
        "<h2>Loss</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"100%\" role=\"img\" \
         aria-label=\"loss from {high:.4} to {low:.4} over {} steps\">\n\
         <polyline fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\" points=\"{}\"/>\n\
         <text x=\"4\" y=\"24\" fill=\"currentColor\" font-size=\"12\">{high:.4}</text>\n\
         <text x=\"4\" y=\"{}\" fill=\"currentColor\" font-size=\"12\">{low:.4}</text>\n\
         <text x=\"60\" y=\"{}\" fill=\"currentColor\" font-size=\"12\">step 0</text>\n\
         <text x=\"{}\" y=\"{}\" fill=\"currentColor\" font-size=\"12\">step {last_step}</text>\n</svg>\n",
        view.curve.len(),
        line.join(" "),
        HEIGHT - 38.0,
        HEIGHT - 12.0,
        WIDTH - 110.0,
        HEIGHT - 12.0,
    )?;
    let memory = &view.memory;
    let rows = [
        ("data", view.data.clone()),
        ("samples", view.n_samples.to_string()),
        ("trained numbers", view.n_parameters.to_string()),
        ("steps", view.n_steps.to_string()),
        ("batch", format!("{} as parts of {}", view.batch, view.micro_batch)),
        ("bad samples left out", view.n_skipped.to_string()),
        ("samples per second", format!("{:.1}", view.samples_per_second)),
        ("memory predicted", memory.predicted_bytes.to_string()),
        ("memory measured", memory.measured_bytes.to_string()),
        ("written", view.output.clone()),
    ];
    writeln!(out, "<h2>Facts</h2>\n<table>")?;
    for (name, value) in rows {
        writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Escaped(&value))?;
    }
    for point in view.validation.iter().flat_map(|validation| &validation.points) {
        let (epoch, text) = (point.epoch + 1, validated(point));
        writeln!(out, "<tr><th scope=\"row\">epoch {epoch}</th><td>{}</td></tr>", Escaped(&text))?;
    }
    writeln!(out, "</table>\n</main>\n</body>\n</html>")
}
