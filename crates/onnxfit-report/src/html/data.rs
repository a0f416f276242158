//! The timelines as compact JSON inside the page.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::timeline::TimelineView;

/// A timeline with its heading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) view: &'a TimelineView,
}

/// Rows are flat so that thousands of them stay small: steps have four numbers (node or -1, in
/// use, held, unoccupied), tensors six (name, kind, node or -1, bytes, first and last step).
#[derive(Serialize)]
struct ChartData<'a> {
    title: &'a str,
    place: &'a str,
    besides: u64,
    budget: Option<u64>,
    phases: Vec<(&'a str, usize)>,
    nodes: Vec<(&'a str, &'a str)>,
    names: Vec<&'a str>,
    kinds: Vec<&'a str>,
    steps: Vec<i64>,
    tensors: Vec<i64>,
    peak: usize,
    failed: Option<usize>,
    nodes_per_step: usize,
}

/// Writes the charts so that they can stand in a `script` element: no `<` is left in the text.
pub(super) fn write_data(out: &mut impl Write, charts: &[Chart<'_>]) -> io::Result<()> {
    let data: Vec<ChartData<'_>> = charts.iter().map(chart_data).collect();
    let text = serde_json::to_string(&data)?;
    // In JSON these stand only inside strings, where an escape means the same.
    let safe = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    out.write_all(safe.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").as_bytes())
}

fn chart_data<'a>(chart: &Chart<'a>) -> ChartData<'a> {
    let view = chart.view;
    let mut names = Words::default();
    let mut kinds = Words::default();
    let mut tensors = Vec::with_capacity(view.tensors.len() * 6);
    for tensor in &view.tensors {
        tensors.extend([
            names.number(&tensor.name),
            kinds.number(tensor.kind),
            number(tensor.node),
            whole(tensor.bytes.0.get()),
            number(Some(tensor.first_step)),
            number(Some(tensor.last_step)),
        ]);
    }
    let steps = view.steps.iter().flat_map(|step| {
        let bytes = [step.in_use_bytes, step.held_bytes, step.gap_bytes].map(|size| whole(size.0.get()));
        [number(step.node), bytes[0], bytes[1], bytes[2]]
    });
    ChartData {
        title: chart.title,
        place: view.place,
        besides: view.besides_bytes.0.get(),
        budget: view.budget_bytes.map(|budget| budget.0.get()),
        phases: view.phases.iter().map(|phase| (phase.name.as_str(), phase.first_step)).collect(),
        nodes: view.nodes.iter().map(|node| (node.name.as_str(), node.op_type.as_str())).collect(),
        steps: steps.collect(),
        names: names.words,
        kinds: kinds.words,
        tensors,
        peak: view.peak_step,
        failed: view.failed_step,
        nodes_per_step: view.nodes_per_step,
    }
}

fn number(index: Option<usize>) -> i64 {
    index.map_or(-1, |index| i64::try_from(index).unwrap_or(i64::MAX))
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Words, each once.
#[derive(Default)]
struct Words<'a> {
    known: BTreeMap<&'a str, i64>,
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn number(&mut self, word: &'a str) -> i64 {
        *self.known.entry(word).or_insert_with(|| {
            self.words.push(word);
            number(Some(self.words.len() - 1))
        })
    }
}
