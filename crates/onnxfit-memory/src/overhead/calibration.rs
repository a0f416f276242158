//! What is known about the overhead of a card: published figures, replaced by measured ones.
//!
//! The entries are `calibration.txt`; each says when and how it came about.

use std::sync::LazyLock;

use onnxfit_base::Bytes;

use super::Band;

/// How an entry came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalibrationKind {
    /// From documentation or the reports of others.
    Published,
    /// Measured on such a card.
    Measured,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationEntry {
    /// `7.5`, a generation such as `9.x`, or `*`.
    pub capability: String,
    /// The card.
    pub card: String,
    /// Driver, CUDA, cuDNN and onnxruntime; empty where not said.
    pub versions: [String; 4],
    /// When.
    pub date: String,
    /// How.
    pub kind: CalibrationKind,
    /// Context with the code that every session loads.
    pub context: Band,
    /// Code that cuDNN and cuBLAS load for their first convolution or product.
    pub library_code: Band,
    /// The workspace of one cuBLAS handle.
    pub handle: Band,
    /// The command that measured it, or the source that says so.
    pub evidence: String,
}

/// What to expect of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// How the entries that it is made from came about.
    pub kind: CalibrationKind,
    /// Context with the code that every session loads.
    pub context: Band,
    /// Code that cuDNN and cuBLAS load for their first convolution or product.
    pub library_code: Band,
    /// The workspace of one cuBLAS handle.
    pub handle: Band,
    /// The evidence of each entry.
    pub evidence: Vec<String>,
}

/// What is known about cards of a compute capability, such as `(7, 5)`; without one, about any.
pub fn calibration_for(compute_capability: Option<(u32, u32)>) -> Calibration {
    calibration_from(&ENTRIES, compute_capability)
}

/// The same, with entries of one's own: where one fits, it is taken alone.
pub fn calibration_with(own: &[CalibrationEntry], compute_capability: Option<(u32, u32)>) -> Calibration {
    let found = calibration_from(own, compute_capability);
    if found.evidence.is_empty() { calibration_for(compute_capability) } else { found }
}

/// The entries of a file, or the first line that is none.
pub fn read_entries(text: &str) -> Result<Vec<CalibrationEntry>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|(number, line)| entry(line).ok_or_else(|| format!("line {} is no entry: `{line}`", number + 1)))
        .collect()
}

/// The best entries: measured before published, exact before generation before any.
pub(super) fn calibration_from(entries: &[CalibrationEntry], compute_capability: Option<(u32, u32)>) -> Calibration {
    let rank = |entry: &CalibrationEntry| {
        let closeness = match compute_capability {
            Some((major, minor)) if entry.capability == format!("{major}.{minor}") => 2,
            Some((major, _)) if entry.capability == format!("{major}.x") => 1,
            _ if entry.capability == "*" => 0,
            _ => return None,
        };
        Some((entry.kind, closeness))
    };
    let best = entries.iter().filter_map(rank).max();
    let chosen: Vec<&CalibrationEntry> = entries.iter().filter(|entry| best.is_some() && rank(entry) == best).collect();
    let band = |of: fn(&CalibrationEntry) -> Band| around(chosen.iter().map(|entry| of(entry)));
    Calibration {
        kind: best.map_or(CalibrationKind::Published, |(kind, _)| kind),
        context: band(|entry| entry.context),
        library_code: band(|entry| entry.library_code),
        handle: band(|entry| entry.handle),
        evidence: chosen.iter().map(|entry| entry.evidence.clone()).collect(),
    }
}

/// From the lowest to the highest of several bands, around the middle of what they expect.
fn around(bands: impl Iterator<Item = Band>) -> Band {
    let bands: Vec<Band> = bands.collect();
    let mut expected: Vec<Bytes> = bands.iter().map(|band| band.expected).collect();
    expected.sort_unstable();
    Band {
        low: bands.iter().map(|band| band.low).min().unwrap_or_default(),
        expected: expected.get(expected.len() / 2).copied().unwrap_or_default(),
        high: bands.iter().map(|band| band.high).max().unwrap_or_default(),
    }
}

static ENTRIES: LazyLock<Vec<CalibrationEntry>> = LazyLock::new(|| entries(include_str!("calibration.txt")));

/// Reads entries; lines that are none are left out.
pub(super) fn entries(text: &str) -> Vec<CalibrationEntry> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<CalibrationEntry> {
    let fields: Vec<&str> = line.splitn(12, '|').map(str::trim).collect();
    let &[capability, card, driver, cuda, cudnn, runtime, date, kind, context, code, handle, evidence] =
        fields.as_slice()
    else {
        return None;
    };
    Some(CalibrationEntry {
        capability: capability.to_owned(),
        card: card.to_owned(),
        versions: [driver, cuda, cudnn, runtime].map(str::to_owned),
        date: date.to_owned(),
        kind: match kind {
            "measured" => CalibrationKind::Measured,
            "published" => CalibrationKind::Published,
            _ => return None,
        },
        context: band(context)?,
        library_code: band(code)?,
        handle: band(handle)?,
        evidence: evidence.to_owned(),
    })
}

/// `low expected high` in MiB.
fn band(text: &str) -> Option<Band> {
    let sizes: Vec<u64> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let &[low, expected, high] = sizes.as_slice() else { return None };
    let ordered = low <= expected && expected <= high && high < 1 << 20;
    ordered.then(|| Band { low: Bytes::mib(low), expected: Bytes::mib(expected), high: Bytes::mib(high) })
}
