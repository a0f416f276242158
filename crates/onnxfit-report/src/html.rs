//! A report as one HTML file: no network, no framework, readable without colour and on paper.
//!
//! Tables, layers and findings are plain HTML; only the timeline needs the script. Everything that
//! comes from a model is escaped, and the page's own policy forbids it to load anything.

mod data;
pub(crate) mod escape;
mod sections;

use std::io::{self, Write};

use crate::Size;
use crate::check::{CheckView, Verdict};
use crate::fix::FixView;
use crate::measure::{MeasureView, figures};

use data::{Chart, write_data};
pub(crate) use escape::Escaped;

/// What a report shows.
#[derive(Clone, Copy, Debug)]
pub struct ReportView<'a> {
    /// The model as it is.
    pub check: &'a CheckView,
    /// How it is made to fit.
    pub fix: Option<&'a FixView>,
    /// What was measured.
    pub measured: Option<&'a MeasuredView>,
    /// Where the report was made, as names and values.
    pub environment: &'a [(String, String)],
}

/// Measured against predicted.
#[derive(Clone, Debug, Default)]
pub struct MeasuredView {
    /// What was run, and where.
    pub source: String,
    /// Number by number.
    pub rows: Vec<MeasuredRowView>,
}

/// One number, predicted and measured.
#[derive(Clone, Debug, Default)]
pub struct MeasuredRowView {
    /// What it is.
    pub name: String,
    /// The prediction.
    pub predicted_bytes: Size,
    /// The measurement.
    pub measured_bytes: Size,
}

impl MeasuredView {
    /// Whether every figure is equal.
    fn is_as_predicted(&self) -> bool {
        self.rows.iter().all(|row| row.predicted_bytes.0 == row.measured_bytes.0)
    }

    /// How many figures are equal, in words.
    fn text(&self) -> String {
        let equal = self.rows.iter().filter(|row| row.predicted_bytes.0 == row.measured_bytes.0).count();
        format!("measured: {equal} of {} figures as predicted", self.rows.len())
    }

    /// Most that the arena held, predicted and measured.
    fn held(&self) -> Option<(Size, Size)> {
        let held = self.rows.iter().filter(|row| row.name.ends_with("held"));
        held.map(|row| (row.predicted_bytes, row.measured_bytes)).max_by_key(|(_, measured)| measured.0)
    }

    /// The figures that a real run and the prediction both have.
    pub fn of_measure(view: &MeasureView) -> Self {
        let mut source = format!(
            "ONNX Runtime {} on the {} provider; {}. {}",
            view.ort_version, view.provider, view.inputs, view.accuracy.text
        );
        if view.accuracy.n_nodes > 0 {
            source += &format!(
                "; after {} of {} nodes the arena is in the predicted state to the byte",
                view.accuracy.n_nodes_equal, view.accuracy.n_nodes
            );
        }
        let rows = view.stages.iter().flat_map(|stage| {
            figures(stage).into_iter().filter_map(|(name, predicted, measured)| {
                let name = format!("{}, {name}", stage.stage);
                Some(MeasuredRowView { name, predicted_bytes: predicted?, measured_bytes: measured? })
            })
        });
        Self { source, rows: rows.collect() }
    }
}

impl<'a> ReportView<'a> {
    /// The report of a check with a real run beside it.
    pub fn of_measure(check: &'a CheckView, measured: &'a MeasuredView, environment: &'a [(String, String)]) -> Self {
        Self { check, fix: None, measured: Some(measured), environment }
    }

    /// The report of a check.
    pub fn of_check(check: &'a CheckView, environment: &'a [(String, String)]) -> Self {
        Self { check, fix: None, measured: None, environment }
    }

    /// The report of a plan.
    pub fn of_fix(fix: &'a FixView, environment: &'a [(String, String)]) -> Self {
        Self { check: &fix.before, fix: Some(fix), measured: None, environment }
    }
}

/// Writes the whole page.
pub fn write_html(out: &mut impl Write, report: &ReportView<'_>) -> io::Result<()> {
    let model = base_name(&report.check.model);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{} – onnxfit</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        Escaped(model),
        include_str!("html/page.css")
    )?;
    sections::header(out, report, model)?;
    writeln!(out, "<main id=\"main\">")?;
    sections::summary(out, report)?;
    if let Some(fix) = report.fix {
        sections::plan(out, fix)?;
    }
    if let Some(measured) = report.measured {
        sections::measured(out, measured)?;
    }
    let charts = charts(report);
    sections::timelines(out, &charts)?;
    sections::owners(out, report.check)?;
    sections::growth(out, report.check)?;
    sections::arena(out, report.check)?;
    sections::settings(out, report)?;
    sections::findings(out, report)?;
    writeln!(out, "</main>")?;
    write!(out, "<script type=\"application/json\" id=\"timelines\">")?;
    write_data(out, &charts)?;
    write!(
        out,
        "</script>\n<script>\n{}\n{}</script>\n</body>\n</html>\n",
        include_str!("html/chart.js"),
        include_str!("html/page.js")
    )
}

fn charts<'a>(report: &ReportView<'a>) -> Vec<Chart<'a>> {
    let before = Chart { title: "as it is", view: &report.check.timeline };
    let after = report.fix.and_then(|fix| fix.timeline.as_ref()).map(|view| Chart { title: "with the plan", view });
    let is_the_same = after.is_some_and(|after| after.view == before.view);
    [Some(before), after.filter(|_| !is_the_same)]
        .into_iter()
        .flatten()
        .filter(|chart| !chart.view.steps.is_empty())
        .collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// A sign that says the verdict without colour, and the class that colours it.
fn badge(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Fits => ("✓", "good"),
        Verdict::Tight => ("≈", "unsure"),
        Verdict::DoesNotFit => ("✕", "bad"),
        Verdict::Unknown => ("?", "unsure"),
    }
}

#[cfg(test)]
mod tests;
