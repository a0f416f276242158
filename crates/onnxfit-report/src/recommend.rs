//! The answer of `onnxfit recommend`: contract `onnxfit.recommend/1`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::check::{BandView, write_diagnostics};
use crate::table::{Align, write_table};
use crate::{DiagnosticView, Size};

/// One instance type.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateView {
    /// The instance type.
    pub name: String,
    /// Its name on SageMaker, where it is rented out there.
    pub sagemaker_name: Option<String>,
    /// Its GPU.
    pub gpu: String,
    /// How many of them; one session uses one.
    pub n_gpus: u32,
    /// Device memory that one session gets; never the sum over GPUs.
    pub budget_bytes: Size,
    /// What it has more than the smallest GPU on which the request runs, or than the plan takes.
    pub spare_bytes: Size,
    /// The host's memory.
    pub host_memory_bytes: Size,
    /// What loading leaves of it.
    pub host_spare_bytes: Size,
    /// Whether the request runs there without a change.
    pub fits_as_it_is: bool,
    /// What `fix` changes so that it does; empty where it fits as it is.
    pub changes: Vec<String>,
    /// Whether every answer stays as it was.
    pub changes_are_exact: bool,
    /// Dollars an hour, on demand.
    pub usd_per_hour: Option<f64>,
    /// Dollars an hour, spot.
    pub spot_usd_per_hour: Option<f64>,
    /// Region and date of the price.
    pub price_basis: String,
    /// Where and when the spot price is from, or that it is rough.
    pub spot_basis: Option<String>,
    /// How fast, as an estimate; `null` without a data sheet.
    pub speed: Option<SpeedView>,
    /// The newest release of onnxruntime-gpu that runs there.
    pub ort_release: String,
    /// The CUDA it was built for.
    pub cuda: String,
    /// The cuDNN it wants.
    pub cudnn_major: u32,
    /// What to install there.
    pub install: String,
    /// The machine image that brings the driver.
    pub ami: String,
    /// What to know about it.
    pub notes: Vec<DiagnosticView>,
}

/// How fast a GPU may serve the request, by its data sheet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SpeedView {
    /// Rows of the batch a second.
    pub inferences_per_second: f64,
    /// Dollars for a million rows, on demand, the GPU always busy.
    pub usd_per_million: Option<f64>,
    /// The same at the spot price.
    pub spot_usd_per_million: Option<f64>,
}

/// What one request computes.
#[derive(Clone, Debug, Serialize)]
pub struct WorkView {
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes that nodes read and write.
    pub moved_bytes: f64,
    /// Rows of the batch: the answers of one request.
    pub rows: u64,
    /// Nodes whose tensors have no known size.
    pub n_uncounted_nodes: usize,
    /// Loop bodies, which were counted for one turn.
    pub n_loops_counted_once: usize,
    /// What the estimate assumes.
    pub assumptions: &'static str,
}

/// Why a named instance type is in the list, or is not.
#[derive(Clone, Debug, Serialize)]
pub struct WhyView {
    /// The name as it was given.
    pub name: String,
    /// Whether the request runs there; `null` where that cannot be told.
    pub fits: Option<bool>,
    /// Why.
    pub reason: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// What to know about it.
    pub notes: Vec<DiagnosticView>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct RecommendView {
    /// `onnxfit.recommend/1`.
    pub schema: &'static str,
    /// The model file.
    pub model: String,
    /// The dimensions it was asked for.
    pub dims: BTreeMap<String, i64>,
    /// The region of the prices.
    pub region: String,
    /// What it takes on a device with room to spare.
    pub device_peak_bytes: BandView,
    /// The memory of the smallest GPU on which it runs for certain: an arena that may not grow as
    /// it likes takes less. `null` when it runs on none.
    pub least_device_bytes: Option<Size>,
    /// Host memory that loading takes.
    pub host_bytes: Size,
    /// What it computes.
    pub work: WorkView,
    /// Instance types that hold it, cheapest first.
    pub instances: Vec<CandidateView>,
    /// The instance types that were asked about by name.
    pub why: Vec<WhyView>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a person: the cheapest types, or all of them.
pub fn write_text(out: &mut impl Write, view: &RecommendView, all: bool) -> io::Result<()> {
    const SHOWN_MAX: usize = 10;
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    writeln!(out, "{} {}", view.model, dims.join(" "))?;
    let band = &view.device_peak_bytes;
    writeln!(out, "takes {} (predicted, {} to {}) where there is room", band.expected, band.low, band.high)?;
    match view.least_device_bytes {
        Some(least) => writeln!(out, "runs for certain on one GPU with {least}, and {} on the host", view.host_bytes)?,
        None => writeln!(out, "runs as it is on no GPU that AWS rents out")?,
    }
    writeln!(out)?;
    if view.instances.is_empty() {
        writeln!(out, "no AWS instance type holds it, not even after `fix`")?;
    }
    let n_shown = if all { view.instances.len() } else { SHOWN_MAX };
    let rows: Vec<Vec<String>> = view.instances.iter().take(n_shown).map(row).collect();
    let header = [
        ("type", Align::Left),
        ("GPU", Align::Left),
        ("memory", Align::Right),
        ("spare", Align::Right),
        ("$/h", Align::Right),
        ("spot", Align::Right),
        ("rows/s*", Align::Right),
        ("$/million*", Align::Right),
        ("price of", Align::Left),
        ("how", Align::Left),
    ];
    write_table(out, 0, &header, &rows)?;
    if view.instances.len() > n_shown {
        writeln!(out, "and {} more (`--all`)", view.instances.len() - n_shown)?;
    }
    if view.instances.iter().any(|instance| instance.speed.is_some()) {
        writeln!(out, "* {}", view.work.assumptions)?;
        writeln!(
            out,
            "  one request: {} row{}, {:.3} billion operations, {:.1} MB moved",
            view.work.rows,
            if view.work.rows == 1 { "" } else { "s" },
            view.work.operations / 1e9,
            view.work.moved_bytes / 1e6
        )?;
    }
    if let Some(best) = view.instances.first() {
        writeln!(out, "\non {}:", best.name)?;
        if let Some(name) = &best.sagemaker_name {
            writeln!(out, "  on SageMaker: {name}")?;
        }
        writeln!(out, "  image: {}", best.ami)?;
        writeln!(out, "  {}   # CUDA {}, cuDNN {}", best.install, best.cuda, best.cudnn_major)?;
        if !best.fits_as_it_is {
            let accuracy = if best.changes_are_exact { "exact" } else { "approximate" };
            writeln!(
                out,
                "  first: onnxfit fix {} --on {} -o fitted   # {accuracy}: {}",
                view.model,
                best.name,
                best.changes.join("; ")
            )?;
        }
        write_diagnostics(out, &best.notes)?;
    }
    for why in &view.why {
        let verdict = match why.fits {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known",
        };
        writeln!(out, "\n{}: {verdict}: {}", why.name, why.reason)?;
        if let Some(hint) = &why.hint {
            writeln!(out, "  hint: {hint}")?;
        }
        let others: Vec<DiagnosticView> = why.notes.iter().filter(|note| note.message != why.reason).cloned().collect();
        write_diagnostics(out, &others)?;
    }
    write_diagnostics(out, &view.diagnostics)
}

fn row(instance: &CandidateView) -> Vec<String> {
    let dollars = |usd: Option<f64>| usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.3}"));
    let how = match (&instance.changes[..], instance.changes_are_exact) {
        ([], _) => "as it is".to_owned(),
        (changes, true) => format!("fix: {}", changes.join("; ")),
        (changes, false) => format!("fix, approximate: {}", changes.join("; ")),
    };
    vec![
        instance.name.clone(),
        instance.gpu.clone(),
        instance.budget_bytes.to_string(),
        instance.spare_bytes.to_string(),
        dollars(instance.usd_per_hour),
        dollars(instance.spot_usd_per_hour),
        instance.speed.map_or_else(|| "-".to_owned(), |speed| significant(speed.inferences_per_second)),
        instance.speed.and_then(|speed| speed.usd_per_million).map_or_else(|| "-".to_owned(), significant),
        instance.price_basis.clone(),
        how,
    ]
}

/// Two digits: an estimate has no more.
fn significant(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return "-".to_owned();
    }
    let unit = 10_f64.powi(value.log10().floor() as i32 - 1);
    let rounded = (value / unit).round() * unit;
    if rounded >= 10.0 { format!("{rounded:.0}") } else { format!("{rounded:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_shown_with_two_digits() {
        for (value, shown) in [(1234.5, "1200"), (87.6, "88"), (9.87, "9.90"), (0.123, "0.12"), (0.0, "-")] {
            assert_eq!(significant(value), shown, "{value}");
        }
    }
}
