//! Who holds the memory at the peak: by layer, in a sentence, and by what makes it grow.

use std::io::{self, Write};

use onnxfit_base::Bytes;
use serde::Serialize;

use crate::Size;
use crate::table::{Align, shorten, write_table};

/// A layer: everything at the peak whose name begins with the same parts.
///
/// The layers of a [`crate::check::PeakView`] sum to its bytes in use exactly, and so do the
/// `layers` of a layer to its own bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerView {
    /// Its own part of the name, as `layer1` or `0`.
    pub name: String,
    /// All that is alive in it.
    pub bytes: Size,
    /// The part of that which is weights.
    pub weights_bytes: Size,
    /// The layers in it, largest first; empty for a leaf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerView>,
}

/// What one dimension does to the memory, the others staying as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GrowthView {
    /// The dimension.
    pub dim: String,
    /// What it was asked for.
    pub size: i64,
    /// The sizes that were replayed, in order.
    pub points: Vec<GrowthPointView>,
    /// The bytes of the tensors as a polynomial, if they are one exactly.
    pub formula: Option<FormulaView>,
    /// The largest size that fits, if there is one and it was searched for.
    pub largest_that_fits: Option<i64>,
    /// The next larger size that was tried and does not fit; one more than the largest that fits
    /// when the search was carried to its end.
    pub smallest_that_does_not: Option<i64>,
    /// The smallest size that the model itself refuses, if one was met.
    pub refused_by_model: Option<i64>,
}

/// One replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GrowthPointView {
    /// The size of the dimension.
    pub size: i64,
    /// Most bytes that tensors and kernels asked for at once, without rounding.
    pub tensors_bytes: Size,
    /// The predicted device peak.
    pub device_peak_bytes: Size,
    /// Whether it fits the target; `null` without one.
    pub fits: Option<bool>,
}

/// `constant + linear·n + quadratic·n²`, equal to what was replayed at every point in its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FormulaView {
    /// Bytes that do not depend on it.
    pub constant_bytes: i64,
    /// Bytes for each unit.
    pub linear_bytes: i64,
    /// Bytes for each unit squared.
    pub quadratic_bytes: i64,
    /// The smallest size at which it was checked.
    pub from: i64,
    /// The largest.
    pub to: i64,
}

impl FormulaView {
    /// As `97.49 MiB + 8.04 MiB × batch`.
    pub fn text(&self, dim: &str) -> String {
        let mut text = String::new();
        let terms = [
            (self.constant_bytes, String::new()),
            (self.linear_bytes, format!(" × {dim}")),
            (self.quadratic_bytes, format!(" × {dim}²")),
        ];
        for (bytes, factor) in terms.iter().filter(|(bytes, _)| *bytes != 0) {
            let sign = match (text.is_empty(), *bytes < 0) {
                (true, false) => "",
                (true, true) => "−",
                (false, false) => " + ",
                (false, true) => " − ",
            };
            text.push_str(&format!("{sign}{}{factor}", Bytes(bytes.unsigned_abs())));
        }
        if text.is_empty() { "0 B".to_owned() } else { text }
    }
}

impl GrowthView {
    /// What it does to the tensors.
    pub fn formula_text(&self) -> String {
        match &self.formula {
            Some(formula) if formula.linear_bytes == 0 && formula.quadratic_bytes == 0 => {
                "no effect on the tensors at the peak".to_owned()
            }
            Some(formula) => format!(
                "tensors take {} (exact at every size tried from {} to {})",
                formula.text(&self.dim),
                formula.from,
                formula.to
            ),
            None => {
                let points: Vec<String> =
                    self.points.iter().map(|point| format!("{} at {}", point.tensors_bytes, point.size)).collect();
                format!("tensors take {} (no simple formula)", points.join(", "))
            }
        }
    }

    /// Where the target's limit is; empty when there is no target.
    pub fn limit_text(&self) -> String {
        let dim = &self.dim;
        match (self.largest_that_fits, self.smallest_that_does_not, self.refused_by_model) {
            (Some(fits), Some(not), _) if not == fits + 1 => format!("{dim} ≤ {fits} fits"),
            (Some(fits), Some(not), _) => format!("{dim} = {fits} fits, {not} does not"),
            (Some(fits), None, Some(refused)) => {
                format!("{dim} = {fits} fits; the model itself does not take {refused}")
            }
            (Some(fits), None, None) => format!("{dim} = {fits} still fits"),
            (None, Some(not), _) => format!("not even {dim} = {not} fits"),
            (None, None, _) => String::new(),
        }
    }
}

/// The layers as a short flat list, largest parts opened until there are about `n_lines_max`; it
/// sums to what the layers sum to.
pub fn outline(layers: &[LayerView], n_lines_max: usize) -> Vec<LayerView> {
    let mut lines: Vec<LayerView> = layers.to_vec();
    loop {
        let candidates = lines.iter().enumerate().filter(|(_, layer)| !layer.layers.is_empty());
        let Some((at, _)) = candidates.max_by_key(|(_, layer)| layer.bytes) else { break };
        // One that is a small part is not worth opening.
        let total: Bytes = lines.iter().map(|layer| layer.bytes.0).sum();
        if lines.len() + lines[at].layers.len() - 1 > n_lines_max || lines[at].bytes.0.get() * 5 < total.get() {
            break;
        }
        let opened = lines.remove(at);
        lines.extend(opened.layers.into_iter().map(|layer| {
            let name = format!("{}/{}", opened.name, layer.name);
            LayerView { name, ..layer }
        }));
    }
    lines.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.name.cmp(&right.name)));
    lines
}

/// Writes the layers as a table.
pub fn write_layers(out: &mut impl Write, layers: &[LayerView]) -> io::Result<()> {
    const LINES_MAX: usize = 12;
    let total: Bytes = layers.iter().map(|layer| layer.bytes.0).sum();
    let lines = outline(layers, LINES_MAX);
    let row = |name: String, bytes: Bytes, weights: Bytes| {
        let share = format!("{:.0} %", 100.0 * bytes.ratio_to(total));
        vec![bytes.to_string(), share, weights.to_string(), name]
    };
    let mut rows: Vec<Vec<String>> = lines
        .iter()
        .take(LINES_MAX)
        .map(|layer| row(shorten(&layer.name, 60), layer.bytes.0, layer.weights_bytes.0))
        .collect();
    if let Some(rest) = lines.get(LINES_MAX..).filter(|rest| !rest.is_empty()) {
        let bytes = rest.iter().map(|layer| layer.bytes.0).sum();
        let weights = rest.iter().map(|layer| layer.weights_bytes.0).sum();
        rows.push(row(format!("{} more", rest.len()), bytes, weights));
    }
    let header =
        [("bytes", Align::Right), ("share", Align::Right), ("of it weights", Align::Right), ("layer", Align::Left)];
    write_table(out, 2, &header, &rows)
}

/// Writes what the dimensions do.
pub fn write_growth(out: &mut impl Write, growth: &[GrowthView]) -> io::Result<()> {
    for dim in growth {
        writeln!(out, "  {}: {}", dim.dim, dim.formula_text())?;
        match dim.limit_text().as_str() {
            "" => {}
            limit => writeln!(out, "  {:width$}  {limit}", "", width = dim.dim.chars().count())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
