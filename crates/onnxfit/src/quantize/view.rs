//! The answer, from what was found.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_onnx::SaveReport;
use onnxfit_quantize::ranges::{Observers, Range};
use onnxfit_quantize::{Layer, Level, level_of};
use onnxfit_report::fix::VerifyView;
use onnxfit_report::quantize::{
    CalibrationView, CurvePointView, KernelView, LayerView, MemoryView, QuantizeView, RangeView, SpentView,
};

use super::bench::Bench;
use super::search::{Found, StopReason};
use super::weight_only::Unseen;
use super::{QuantizeOptions, Scheme};
use crate::Model;
use crate::convert::{input_bytes, worst};

/// What was gathered on the way.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) layers: Vec<Layer>,
    pub(super) calibration: Option<CalibrationView>,
    pub(super) preparation: Vec<String>,
    pub(super) kernels: BTreeMap<String, usize>,
    pub(super) memory: Vec<MemoryView>,
    pub(super) notes: Vec<String>,
    pub(super) spent: Vec<SpentView>,
}

impl Facts {
    /// Notes what was seen of values.
    pub(super) fn of_ranges(&mut self, seen: &Observers, ranges: &BTreeMap<String, Range>) {
        let range_view = |(name, range): (&String, &Range)| RangeView {
            value: name.clone(),
            lowest: range.lowest,
            highest: range.highest,
        };
        self.calibration = Some(CalibrationView {
            n_samples: seen.iter().map(|(_, seen)| seen.n_samples()).max().unwrap_or(0),
            n_values: ranges.len(),
            n_not_finite: seen.iter().map(|(_, seen)| seen.n_not_finite()).sum(),
            ranges: ranges.iter().map(range_view).collect(),
        });
    }
}

pub(super) fn view(
    model: &Model,
    options: &QuantizeOptions,
    bench: &Bench<'_>,
    found: &Found,
    saved: &SaveReport,
    facts: Facts,
) -> QuantizeView {
    let before = input_bytes(model);
    let after = Bytes(saved.model_bytes.get() + saved.data_bytes.get());
    QuantizeView {
        schema: "onnxfit.quantize/1",
        quantized: found.stop.is_good(),
        scheme: scheme(options),
        model: model.name(),
        output: options.output.display().to_string(),
        before_bytes: before.into(),
        after_bytes: after.into(),
        ratio: after.get() as f64 / before.get().max(1) as f64,
        preparation: facts.preparation,
        calibration: facts.calibration,
        error_name: bench.gate.error_name(),
        error: found.tried.error,
        layers: facts.layers.iter().map(|layer| layer_view(layer, found, bench)).collect(),
        kernels: facts.kernels.into_iter().map(|(kernel, n_nodes)| KernelView { kernel, n_nodes }).collect(),
        curve: found
            .curve
            .iter()
            .map(|point| CurvePointView {
                n_steps_back: point.n_steps,
                size_bytes: Bytes(point.size_bytes).into(),
                error: point.error,
                agrees: point.agrees,
            })
            .collect(),
        memory: facts.memory,
        stop_reason: found.stop.text().to_owned(),
        verify: (found.stop != StopReason::NoLayer).then(|| VerifyView {
            agrees: found.tried.agrees,
            how: format!("both models ran on the CPU provider with {}", bench.samples.text()),
            tolerance: bench.gate.text(),
            outputs: worst(&found.tried.comparisons),
        }),
        notes: facts.notes,
        spent: facts.spent,
        files: Vec::new(),
        diagnostics: Vec::new(),
    }
}

fn scheme(options: &QuantizeOptions) -> &'static str {
    match &options.scheme {
        Scheme::Static { .. } => "static",
        Scheme::Dynamic => "dynamic",
        Scheme::Weights { .. } => "weights",
    }
}

/// The answer where nothing ran.
pub(super) fn unseen(model: &Model, options: &QuantizeOptions, done: &Unseen) -> QuantizeView {
    let before = input_bytes(model);
    let after = Bytes(done.saved.model_bytes.get() + done.saved.data_bytes.get());
    let layer_view = |layer: &Layer| LayerView {
        name: layer.name.clone(),
        op_type: layer.op_type.clone(),
        n_weights: layer.n_weights,
        level: level_of(&done.choice, &layer.name).name(),
        error_alone: None,
        reason: "as small as it may be; nothing ran".to_owned(),
    };
    let quantized = !done.layers.is_empty();
    let stop = if quantized { "the answers were not compared" } else { StopReason::NoLayer.text() };
    QuantizeView {
        schema: "onnxfit.quantize/1",
        quantized,
        scheme: scheme(options),
        model: model.name(),
        output: options.output.display().to_string(),
        before_bytes: before.into(),
        after_bytes: after.into(),
        ratio: after.get() as f64 / before.get().max(1) as f64,
        preparation: Vec::new(),
        calibration: None,
        error_name: "unknown error",
        error: 0.0,
        layers: done.layers.iter().map(layer_view).collect(),
        kernels: Vec::new(),
        curve: Vec::new(),
        memory: Vec::new(),
        stop_reason: stop.to_owned(),
        verify: None,
        notes: Vec::new(),
        spent: Vec::new(),
        files: Vec::new(),
        diagnostics: Vec::new(),
    }
}

fn layer_view(layer: &Layer, found: &Found, bench: &Bench<'_>) -> LayerView {
    let level = level_of(&found.choice, &layer.name);
    let alone = found.alone.get(&layer.name).copied();
    let name = bench.gate.error_name();
    let reason = match (found.stepped.get(&layer.name), alone) {
        (Some(step), Some(alone)) => {
            let rank = step.rank + 1;
            format!(
                "stepped back from {}: {name} {alone:.2e} alone, place {rank} by harm for its bytes",
                step.from.name()
            )
        }
        (Some(step), None) => format!("stepped back from {}", step.from.name()),
        (None, Some(alone)) => format!("{name} {alone:.2e} alone: the gate holds with it"),
        (None, None) if level == Level::Float => "nothing was found that holds the gate".to_owned(),
        (None, None) => "the gate holds with every layer".to_owned(),
    };
    LayerView {
        name: layer.name.clone(),
        op_type: layer.op_type.clone(),
        n_weights: layer.n_weights,
        level: level.name(),
        error_alone: alone.filter(|alone| alone.is_finite()),
        reason,
    }
}
