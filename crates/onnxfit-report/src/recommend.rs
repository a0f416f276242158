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
    /// Its GPU.
    pub gpu: String,
    /// Device memory that one session gets; never the sum over GPUs.
    pub budget_bytes: Size,
    /// What it has more than the smallest GPU on which the request runs.
    pub spare_bytes: Size,
    /// The host's memory.
    pub host_memory_bytes: Size,
    /// Dollars an hour, on demand.
    pub usd_per_hour: Option<f64>,
    /// Dollars an hour, spot, a rough figure.
    pub spot_usd_per_hour: Option<f64>,
    /// Region and date of the price.
    pub price_basis: String,
    /// What to install there.
    pub install: String,
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
    /// What it takes on a device with room to spare.
    pub device_peak_bytes: BandView,
    /// The memory of the smallest GPU on which it runs for certain: an arena that may not grow as
    /// it likes takes less. `null` when it runs on none.
    pub least_device_bytes: Option<Size>,
    /// Instance types that hold it, cheapest first.
    pub instances: Vec<CandidateView>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &RecommendView) -> io::Result<()> {
    const SHOWN_MAX: usize = 8;
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    writeln!(out, "{} {}", view.model, dims.join(" "))?;
    let band = &view.device_peak_bytes;
    writeln!(out, "takes {} (predicted, {} to {}) where there is room", band.expected, band.low, band.high)?;
    if let Some(least) = view.least_device_bytes {
        writeln!(out, "runs for certain on one GPU with {least}")?;
    }
    writeln!(out)?;
    if view.instances.is_empty() {
        writeln!(out, "no AWS instance type has that much on one GPU")?;
    }
    let dollars = |usd: Option<f64>| usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.3}"));
    let rows: Vec<Vec<String>> = view
        .instances
        .iter()
        .take(SHOWN_MAX)
        .map(|instance| {
            vec![
                instance.name.clone(),
                instance.gpu.clone(),
                instance.budget_bytes.to_string(),
                instance.spare_bytes.to_string(),
                dollars(instance.usd_per_hour),
                dollars(instance.spot_usd_per_hour),
                instance.price_basis.clone(),
            ]
        })
        .collect();
    let header = [
        ("type", Align::Left),
        ("GPU", Align::Left),
        ("memory", Align::Right),
        ("spare", Align::Right),
        ("$/h", Align::Right),
        ("spot", Align::Right),
        ("price of", Align::Left),
    ];
    write_table(out, 0, &header, &rows)?;
    if view.instances.len() > SHOWN_MAX {
        writeln!(out, "and {} dearer ones", view.instances.len() - SHOWN_MAX)?;
    }
    if let Some(best) = view.instances.first() {
        writeln!(out, "\non {}: {}", best.name, best.install)?;
        write_diagnostics(out, &best.notes)?;
    }
    write_diagnostics(out, &view.diagnostics)
}
