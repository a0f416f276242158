//! Runs the float model on every sample and watches values go by.
//!
//! Each sample goes once through a chain of pieces of the model, each of which gives back a bounded
//! number of bytes; numbers are read where ONNX Runtime left them. What is remembered does not grow
//! with the samples, and is kept on the disk when asked, so that an interrupted measurement goes on
//! where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onnxfit_graph::Model as GraphModel;
use onnxfit_quantize::ranges::{Method, Observer, Observers, Range};
use onnxfit_runtime::ElementType;
use prost::Message as _;

use super::bench::Bench;
use super::state::State;
use crate::Error;
use crate::chain::{Chain, on_all_cores};
use crate::progress::{Progress, Stage};

/// What was seen is kept after so many samples.
const SAMPLES_PER_KEEPING: usize = 8;

/// What was seen of these values over all samples, in a float model whose weights lie on the desk.
pub(crate) fn calibrate(
    bench: &Bench<'_>,
    model: &GraphModel,
    values: &BTreeSet<String>,
    method: Method,
    keep_at: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Observers, Error> {
    let samples = bench.samples;
    let mut chain = Chain::open(bench.library, bench.desk, model, &model.to_proto(), &samples.get(0)?, |name| {
        values.contains(name)
    })?;
    let mut state = State::begin(keep_at, &fingerprint(bench, model, values, method), method, progress)?;
    for index in state.n_samples..samples.len() {
        let (done, total) = (index as u64, samples.len() as u64);
        progress.stage(&Stage::Counted { what: "measuring ranges".to_owned(), done, total });
        let sample = samples.get(index)?;
        chain.run(&sample, |floats| watch(&mut state.observers, floats))?;
        for (name, tensor) in sample.iter() {
            if values.contains(name) && tensor.element_type() == ElementType::Float {
                let (numbers, _) = tensor.bytes().unwrap_or_default().as_chunks::<4>();
                let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
                state.observers.observe(name, &numbers);
            }
        }
        state.n_samples = index + 1;
        if state.n_samples.is_multiple_of(SAMPLES_PER_KEEPING) {
            state.keep()?;
        }
    }
    state.keep()?;
    Ok(state.observers)
}

/// The ranges for integers of `n_levels`, found on all cores.
pub(crate) fn ranges_of(observers: &Observers, n_levels: usize) -> BTreeMap<String, Range> {
    let method = observers.method();
    let mut jobs: Vec<(&str, &Observer, Option<Range>)> =
        observers.iter().map(|(name, seen)| (name, seen, None)).collect();
    on_all_cores(&mut jobs, |(_, seen, range)| *range = seen.range(method, n_levels));
    jobs.into_iter().filter_map(|(name, _, range)| Some((name.to_owned(), range?))).collect()
}

/// All values of one run, on all cores.
fn watch(observers: &mut Observers, values: &[(&str, &[f32])]) {
    let mut jobs: Vec<(&str, &[f32], Observer)> =
        values.iter().map(|(name, numbers)| (*name, *numbers, observers.take(name))).collect();
    // The long ones first, so that none of them is left at the end.
    jobs.sort_by_key(|(_, numbers, _)| std::cmp::Reverse(numbers.len()));
    on_all_cores(&mut jobs, |(_, numbers, observer)| observer.observe(numbers));
    for (name, _, observer) in jobs {
        observers.insert(name, observer);
    }
}

/// What a kept measurement must have been made of, to go on from it.
fn fingerprint(bench: &Bench<'_>, model: &GraphModel, values: &BTreeSet<String>, method: Method) -> String {
    let last = values.last().map(String::as_str).unwrap_or_default();
    let model_bytes = model.to_proto().encoded_len();
    format!("{method:?} {} {} {last} {model_bytes}", bench.samples.text(), values.len())
}
