//! An inference that is asked again at other sizes: only what they reach is inferred anew.
//!
//! A rule's answer follows from the facts that its node reads, unless it made a name up, reported
//! something or looked at either. So a node whose inputs are what they were keeps its facts; one
//! that did any of that runs every time, and the answer is that of [`infer`](crate::infer).

use std::collections::BTreeMap;

use onnxfit_graph::{Graph, Model, Node};

use crate::bindings::Bindings;
use crate::engine::{Call, Versions, constant_fact, infer_model, input_fact, run_node};
use crate::fact::Fact;
use crate::inference::{GraphFacts, Inference};
use crate::state::{State, count_nodes};

/// The last inference of one model, and what the next one needs.
#[derive(Debug, Default)]
pub struct Incremental {
    inference: Inference,
    steps: Option<Steps>,
}

/// The walk over a graph that has no cycle.
#[derive(Debug)]
struct Steps {
    calls: Vec<Call>,
    /// By step: whether it runs even if what it reads is as it was.
    always_runs: Vec<bool>,
    n_nodes: usize,
}

impl Incremental {
    /// Infers types and shapes of everything in a model, always the same one.
    pub fn infer(&mut self, model: &Model, bindings: &Bindings) -> &Inference {
        let graph = &model.graph;
        let is_first = self.steps.is_none();
        if is_first {
            self.steps = Steps::of(model);
            self.inference.graph = initial(graph);
        }
        let done = match &mut self.steps {
            Some(steps) => steps.run(&mut self.inference, model, bindings, is_first),
            None => false,
        };
        if !done {
            // A cycle, or too much work: nothing to go on from.
            *self = Self { inference: infer_model(model, bindings), steps: None };
        }
        &self.inference
    }
}

/// What is known without looking at any node.
fn initial(graph: &Graph) -> GraphFacts {
    let mut facts = vec![Fact::default(); graph.n_values()];
    for (id, value) in graph.values() {
        if let Some(constant) = value.constant.as_ref().filter(|_| !value.is_captured && !value.is_input) {
            facts[id.index()] = constant_fact(constant);
        }
    }
    GraphFacts { facts, subgraphs: BTreeMap::new() }
}

impl Steps {
    /// `None` for a graph with a cycle.
    fn of(model: &Model) -> Option<Self> {
        let versions = Versions::of(model.opset_imports());
        let order = model.graph.topological_order().ok()?;
        let calls: Vec<Call> = order.into_iter().map(|id| versions.call(&model.graph, id)).collect();
        Some(Self { always_runs: vec![true; calls.len()], calls, n_nodes: count_nodes(model) })
    }

    /// Brings an inference to other bindings; false if the work that is allowed did not suffice.
    fn run(&mut self, inference: &mut Inference, model: &Model, bindings: &Bindings, is_first: bool) -> bool {
        let graph = &model.graph;
        let mut state = State::of(model, bindings, self.n_nodes);
        let GraphFacts { facts, subgraphs } = &mut inference.graph;
        // Nodes with subgraphs always run.
        subgraphs.clear();
        let mut changed = vec![is_first; facts.len()];
        for id in graph.inputs() {
            let fact = input_fact(&mut state, graph, *id);
            changed[id.index()] = is_first || facts[id.index()] != fact;
            facts[id.index()] = fact;
        }
        for (call, always_runs) in self.calls.iter().zip(&mut self.always_runs) {
            if !state.may_work() {
                return false;
            }
            let node = graph.node(call.id);
            if !*always_runs && !node.inputs.iter().flatten().any(|input| changed[input.index()]) {
                continue;
            }
            state.take_was_asked();
            let (outputs, inner) = run_node(&mut state, graph, *call, facts, model.opset_imports());
            *always_runs = state.take_was_asked() || call.rule.is_none() || has_subgraphs(node);
            if !inner.is_empty() {
                subgraphs.insert(call.id, inner);
            }
            for (output, fact) in node.outputs.iter().zip(outputs) {
                if let Some(output) = output {
                    let known = &mut facts[output.index()];
                    changed[output.index()] = is_first || *known != fact;
                    *known = fact;
                }
            }
        }
        inference.upper_bounds = std::mem::take(&mut state.upper_bounds);
        inference.made_up = std::mem::take(&mut state.made_up).into_iter().collect();
        inference.diagnostics = state.into_diagnostics();
        true
    }
}

fn has_subgraphs(node: &Node) -> bool {
    node.subgraphs().next().is_some()
}
