//! Whether memory falls: the twin's prediction for the original and for the quantized model, on
//! both providers. Where the CPU provider lays convolutions out in a way that the twin does not imitate, both
//! models are run instead, since it is at hand.

use std::path::Path;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_report::quantize::MemoryView;
use onnxfit_runtime::{SessionSpec, Tensors};

use super::bench::Bench;
use crate::request::{Provider, Request};
use crate::{Model, check};

/// The prediction for both models at the size of the first sample; says where it does not fall.
pub(crate) fn memory(
    model: &Model,
    quantized: &Path,
    request: &Request,
    bench: &Bench<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<MemoryView> {
    let Ok(quantized) = Model::open(quantized) else { return Vec::new() };
    let Ok(sample) = bench.samples.get(0) else { return Vec::new() };
    let mut views = Vec::new();
    for (name, provider) in [("CPU", Provider::Cpu), ("CUDA", Provider::Cuda)] {
        let mut asked = Request { provider, ..request.clone() };
        for (input, tensor) in sample.iter() {
            let shape = tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
            asked.shapes.insert(input.to_owned(), shape);
        }
        let mut is_imitated = true;
        let mut peak = |model: &Model| {
            let answer = check(model, &asked).ok()?;
            is_imitated &= answer.diagnostics.iter().all(|finding| finding.id != "layout-not-imitated");
            answer.arena.runs.iter().map(|run| run.peak_in_use_bytes.0).max()
        };
        let (Some(before), Some(after)) = (peak(model), peak(&quantized)) else { continue };
        let measured = (provider == Provider::Cpu && !is_imitated)
            .then(|| Some((measured(model, bench, &sample)?, measured(&quantized, bench, &sample)?)))
            .flatten();
        let how = if measured.is_some() { "measured" } else { "predicted" };
        let (before, after) = measured.unwrap_or((before, after));
        let falls = after < before;
        if !falls {
            let message = format!("the arena's peak on {name} does not fall: {before} before, {after} after ({how})");
            diagnostics.push(Diagnostic::note("memory-does-not-fall", message));
        }
        views.push(MemoryView {
            provider: name,
            before_peak_bytes: before.into(),
            after_peak_bytes: after.into(),
            how,
            falls,
        });
    }
    views
}

/// The most that the arena of the CPU provider has in use over load and two runs.
fn measured(model: &Model, bench: &Bench<'_>, sample: &Tensors) -> Option<Bytes> {
    bench.with_client(|client| {
        client.open(bench.library, &SessionSpec::new(model.file().path())).ok()?;
        client.run(sample).ok()?;
        Some(client.run(sample).ok()?.measured.arena?.max_in_use)
    })
}
