//! The answer of `onnxfit split`: contract `onnxfit.split/1`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::check::{BandView, TargetView, write_diagnostics};
use crate::fix::VerifyView;
use crate::table::{Align, write_table};
use crate::{DiagnosticView, Size};

/// A tensor at the end of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// How large it is; zero where that is unknown.
    pub bytes: Size,
    /// Whether the caller feeds it.
    pub is_fed: bool,
    /// Whether it is an answer.
    pub is_answer: bool,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageView {
    /// Its name, and that of its folder.
    pub name: String,
    /// Its nodes.
    pub n_nodes: usize,
    /// Its weights.
    pub weights_bytes: Size,
    /// Predicted peak, context included.
    pub peak_bytes: BandView,
    /// Whether a device of the target holds it.
    pub fits: bool,
    /// What it is fed.
    pub inputs: Vec<TensorView>,
    /// What it makes for others.
    pub outputs: Vec<TensorView>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct SplitView {
    /// `onnxfit.split/1`.
    pub schema: &'static str,
    /// Whether each stage fits a device of its own.
    pub fits: bool,
    /// The model file.
    pub model: String,
    /// The name it is served under.
    pub name: String,
    /// Where.
    pub target: TargetView,
    /// Devices that the target has; `null` where it does not say.
    pub n_devices: Option<u32>,
    /// The dimensions it was sized for.
    pub dims: BTreeMap<String, i64>,
    /// What the whole model takes on one device.
    pub whole_bytes: BandView,
    /// The stages in order.
    pub stages: Vec<StageView>,
    /// What goes from stage to stage in one run.
    pub traffic_bytes: Size,
    /// The proof; `null` when it was not asked for.
    pub verify: Option<VerifyView>,
    /// Files written, relative to the output folder.
    pub files: Vec<String>,
    /// What else is to be said.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a reader.
pub fn write_text(out: &mut impl Write, view: &SplitView) -> io::Result<()> {
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let on = if view.target.name.is_empty() { String::new() } else { format!(" on {}", view.target.name) };
    let budget = view.target.budget_bytes.map_or_else(String::new, |budget| format!(", {budget} a device"));
    let verdict = if view.fits { "" } else { ": does not fit" };
    writeln!(out, "{} in {} stages{on}{budget}{verdict}", view.name, view.stages.len())?;
    writeln!(out, "sized for {}; the whole takes {}", dims.join(" "), view.whole_bytes.expected)?;
    writeln!(out)?;
    let headings = [
        ("stage", Align::Left),
        ("nodes", Align::Right),
        ("weights", Align::Right),
        ("peak", Align::Right),
        ("from earlier stages", Align::Left),
    ];
    let rows: Vec<Vec<String>> = view
        .stages
        .iter()
        .map(|stage| {
            let crossing: Vec<&TensorView> = stage.inputs.iter().filter(|input| !input.is_fed).collect();
            let bytes: onnxfit_base::Bytes = crossing.iter().map(|input| input.bytes.0).sum();
            let from = match crossing.len() {
                0 => "-".to_owned(),
                1 => format!("{bytes} in 1 tensor"),
                n => format!("{bytes} in {n} tensors"),
            };
            let mark = if stage.fits { "" } else { " !" };
            vec![
                stage.name.clone(),
                stage.n_nodes.to_string(),
                stage.weights_bytes.to_string(),
                format!("{}{mark}", stage.peak_bytes.expected),
                from,
            ]
        })
        .collect();
    write_table(out, 2, &headings, &rows)?;
    writeln!(out, "\n{} from stage to stage in one run", view.traffic_bytes)?;
    if let Some(verify) = &view.verify {
        let worst = verify.outputs.iter().map(|output| output.max_absolute_error).fold(0.0, f64::max);
        let word = if verify.agrees { "proved" } else { "NOT the same" };
        writeln!(out, "{word}: {}, max abs error {worst:.2e}", verify.how)?;
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten")?;
        for file in &view.files {
            writeln!(out, "  {file}")?;
        }
    }
    write_diagnostics(out, &view.diagnostics)
}
