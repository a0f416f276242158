//! The trace of a session as steps and lifetimes.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use onnxfit_base::Bytes;
use onnxfit_memory::Prediction;
use onnxfit_memory::program::Place;
use onnxfit_memory::simulate::Failure;
use onnxfit_memory::trace::{BlockId, Event, NodeRef, OwnerKind, OwnerRef, Trace};
use onnxfit_report::timeline::{NodeView, PhaseView, StepView, TensorView, TimelineView};

use crate::request::{Provider, Request};

/// More steps than this are drawn together, the highest of each group standing for it.
const STEPS_PER_PHASE_MAX: usize = 20_000;

/// The course of the provider's arena.
pub(crate) fn timeline(prediction: &Prediction, failure: Option<&Failure>, request: &Request) -> TimelineView {
    let (place, text) = match request.provider {
        Provider::Cpu => (Place::Host, "arena of the CPU provider"),
        Provider::Cuda => (Place::Device, "device memory"),
    };
    let trace = &prediction.trace;
    let mut phases = phases(trace, place);
    let longest = phases.iter().map(|phase| phase.steps.len()).max().unwrap_or_default();
    let nodes_per_step = longest.div_ceil(STEPS_PER_PHASE_MAX).max(1);
    for phase in &mut phases {
        phase.thin(nodes_per_step);
    }
    // Equal runs say nothing new.
    phases.dedup_by(|later, earlier| later.is_run() && earlier.is_run() && later.looks_like(earlier));
    let mut view = TimelineView {
        place: text,
        besides_bytes: prediction.breakdown.context_bytes.into(),
        budget_bytes: request.budget().map(Into::into),
        nodes_per_step,
        ..TimelineView::default()
    };
    let mut nodes = Nodes::default();
    for phase in &phases {
        view.phases.push(PhaseView { name: phase.name(), first_step: view.steps.len() });
        for step in &phase.steps {
            view.steps.push(StepView {
                node: step.node.map(|node| nodes.index(trace.node_name(node))),
                in_use_bytes: step.in_use.into(),
                held_bytes: step.held.into(),
                gap_bytes: step.gap.into(),
            });
        }
    }
    view.peak_step = (0..view.steps.len()).rev().max_by_key(|&step| view.steps[step].in_use_bytes).unwrap_or_default();
    view.failed_step = failure.and_then(|failure| failed_step(trace, &phases, failure));
    let ticks: Vec<usize> = phases.iter().flat_map(|phase| phase.steps.iter().map(|step| step.tick)).collect();
    view.tensors = tensors(trace, place, &ticks, &mut nodes);
    view.nodes = nodes.views;
    view
}

/// A step at its highest moment.
#[derive(Clone, Debug)]
struct Step {
    node: Option<NodeRef>,
    /// The event after which most is in use.
    tick: usize,
    in_use: Bytes,
    gap: Bytes,
    held: Bytes,
}

#[derive(Debug)]
struct Phase {
    /// From zero; `None` for load.
    run: Option<usize>,
    steps: Vec<Step>,
}

impl Phase {
    fn is_run(&self) -> bool {
        self.run.is_some()
    }

    fn name(&self) -> String {
        self.run.map_or_else(|| "load".to_owned(), |run| format!("run {}", run + 1))
    }

    fn looks_like(&self, other: &Self) -> bool {
        self.steps.len() == other.steps.len()
            && self
                .steps
                .iter()
                .zip(&other.steps)
                .all(|(left, right)| (left.in_use, left.held, left.gap) == (right.in_use, right.held, right.gap))
    }

    /// Lets the highest of each `nodes_per_step` steps stand for all.
    fn thin(&mut self, nodes_per_step: usize) {
        if nodes_per_step > 1 {
            let highest = |group: &[Step]| group.iter().rev().max_by_key(|step| step.in_use).cloned();
            self.steps = self.steps.chunks(nodes_per_step).filter_map(highest).collect();
        }
    }
}

/// An arena's counters while its events are replayed.
#[derive(Default)]
struct Counters {
    blocks: BTreeMap<BlockId, (Bytes, bool)>,
    occupied: BTreeMap<BlockId, Bytes>,
    in_use: Bytes,
    gap: Bytes,
    held: Bytes,
}

impl Counters {
    fn apply(&mut self, event: &Event, place: Place) {
        match event {
            Event::Held { place: where_, total_allocated_bytes } if *where_ == place => {
                self.held = *total_allocated_bytes;
            }
            Event::Alloc { id, place: where_, bytes, owner, .. } if *where_ == place => {
                let is_pattern = owner.kind == OwnerKind::PatternBlock;
                self.blocks.insert(*id, (*bytes, is_pattern));
                self.in_use += *bytes;
                if is_pattern {
                    self.gap += *bytes;
                }
            }
            Event::Free { id, .. } => {
                if let Some((bytes, is_pattern)) = self.blocks.remove(id) {
                    self.in_use -= bytes;
                    if is_pattern {
                        self.gap = self.gap.saturating_sub(bytes);
                    }
                }
            }
            Event::Put { block, id, bytes, .. } if self.blocks.contains_key(block) => {
                self.occupied.insert(*id, *bytes);
                self.gap = self.gap.saturating_sub(*bytes);
            }
            Event::Drop { id } => {
                if let Some(bytes) = self.occupied.remove(id) {
                    self.gap += bytes;
                }
            }
            _ => {}
        }
    }
}

/// Cuts the trace into load and runs, and those into steps.
fn phases(trace: &Trace, place: Place) -> Vec<Phase> {
    let mut counters = Counters::default();
    let mut phases = vec![Phase { run: None, steps: Vec::new() }];
    let mut open: Option<Step> = None;
    let begin = |counters: &Counters, tick: usize, node: Option<NodeRef>| {
        Some(Step { node, tick, in_use: counters.in_use, gap: counters.gap, held: counters.held })
    };
    let mut n_runs = 0;
    for (tick, event) in trace.events.iter().enumerate() {
        if tick == 0 {
            open = begin(&counters, 0, None);
        }
        counters.apply(event, place);
        let boundary = match event {
            Event::Node(node) => Some(begin(&counters, tick, Some(*node))),
            Event::RunBegins => Some(begin(&counters, tick, None)),
            Event::Loaded | Event::RunEnds => Some(None),
            _ => None,
        };
        match (boundary, &mut open) {
            (Some(next), _) => {
                if let (Some(step), Some(phase)) = (std::mem::replace(&mut open, next), phases.last_mut()) {
                    phase.steps.push(step);
                }
                if *event == Event::RunBegins {
                    phases.push(Phase { run: Some(n_runs), steps: Vec::new() });
                    n_runs += 1;
                }
            }
            (None, Some(step)) => {
                step.held = step.held.max(counters.held);
                let higher = counters.in_use > step.in_use;
                if higher || (counters.in_use == step.in_use && counters.gap < step.gap) {
                    *step = Step {
                        node: step.node.take(),
                        tick,
                        in_use: counters.in_use,
                        gap: counters.gap,
                        held: step.held,
                    };
                }
            }
            (None, None) => {}
        }
    }
    phases
}

fn failed_step(trace: &Trace, phases: &[Phase], failure: &Failure) -> Option<usize> {
    let node = failure.node.as_ref()?;
    let mut first = 0;
    for phase in phases {
        if phase.run == failure.run {
            let is_it = |step: &Step| step.node.is_some_and(|step| trace.node_name(step).0 == node.name);
            return Some(first + phase.steps.iter().position(is_it)?);
        }
        first += phase.steps.len();
    }
    None
}

/// Nodes, each once, in the order they are first seen.
#[derive(Default)]
struct Nodes<'a> {
    known: HashMap<(&'a str, &'a str), usize>,
    views: Vec<NodeView>,
}

impl<'a> Nodes<'a> {
    fn index(&mut self, node: (&'a str, &'a str)) -> usize {
        *self.known.entry(node).or_insert_with(|| {
            self.views.push(NodeView { name: node.0.to_owned(), op_type: node.1.to_owned() });
            self.views.len() - 1
        })
    }
}

/// Everything that is alive at one of the steps' moments.
fn tensors<'a>(trace: &'a Trace, place: Place, ticks: &[usize], nodes: &mut Nodes<'a>) -> Vec<TensorView> {
    let mut open: BTreeMap<BlockId, (OwnerRef, Bytes, usize)> = BTreeMap::new();
    let mut blocks: BTreeSet<BlockId> = BTreeSet::new();
    let mut views = Vec::new();
    // The first step whose moment is at or after an event.
    let step_from = |tick: usize| ticks.partition_point(|&moment| moment < tick);
    let mut close = |(owner, bytes, first_step): (OwnerRef, Bytes, usize), end: usize| {
        if first_step < end {
            let node = owner.node().map(|node| trace.node_name(node)).filter(|node| *node != ("", ""));
            views.push(TensorView {
                name: trace.name(owner).to_owned(),
                kind: owner.kind.as_str(),
                node: node.map(|node| nodes.index(node)),
                bytes: bytes.into(),
                first_step,
                last_step: end - 1,
            });
        }
    };
    for (tick, event) in trace.events.iter().enumerate() {
        match event {
            Event::Alloc { id, place: where_, bytes, owner, .. } if *where_ == place => {
                if owner.kind == OwnerKind::PatternBlock {
                    blocks.insert(*id);
                } else {
                    open.insert(*id, (*owner, *bytes, step_from(tick)));
                }
            }
            Event::Put { block, id, bytes, owner, .. } if blocks.contains(block) => {
                open.insert(*id, (*owner, *bytes, step_from(tick)));
            }
            Event::Free { id, .. } | Event::Drop { id } => {
                if let Some(tensor) = open.remove(id) {
                    close(tensor, step_from(tick));
                }
            }
            _ => {}
        }
    }
    for (_, tensor) in open {
        close(tensor, ticks.len());
    }
    views.sort_by(|left, right| left.first_step.cmp(&right.first_step).then(right.bytes.cmp(&left.bytes)));
    views
}

#[cfg(test)]
mod tests;
