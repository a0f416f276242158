//! The sequence in which the nodes of two devices really run.
//!
//! Each device has a stream of steps; one thread runs the first until it meets a barrier whose
//! other side has not arrived, and a finished node runs what waits for it at once
//! (`stream_execution_context.cc:RunSince`, `allocation_planner.cc:BuildExecutionPlan`, ORT 1.31).

use std::collections::BTreeMap;

use crate::program::{NodeIdx, NodeProvider, Program};

/// The nodes of each device in planned order: the device that comes first in the order comes first.
pub(crate) fn streams(program: &Program, order: &[NodeIdx]) -> Vec<Vec<NodeIdx>> {
    let mut streams: Vec<(NodeProvider, Vec<NodeIdx>)> = Vec::new();
    for &index in order {
        let provider = program.node(index).provider;
        match streams.iter_mut().find(|(other, _)| *other == provider) {
            Some((_, stream)) => stream.push(index),
            None => streams.push((provider, vec![index])),
        }
    }
    streams.into_iter().map(|(_, stream)| stream).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Goes on once both sides have been here.
    Barrier(usize),
    Launch(NodeIdx),
    /// Runs the streams that wait for this node.
    Trigger(NodeIdx),
}

/// The nodes in the order in which one thread launches them.
pub(crate) fn launch_order(program: &Program, streams: &[Vec<NodeIdx>]) -> Vec<NodeIdx> {
    if streams.len() < 2 {
        return streams.concat();
    }
    let (steps, waiters, n_barriers) = steps(program, streams);
    let mut arrivals_missing = vec![2_u8; n_barriers];
    let mut launched = Vec::with_capacity(program.nodes.len());
    for stream in 0..steps.len() {
        let mut stack = vec![(stream, 0_usize)];
        while let Some((stream, mut at)) = stack.pop() {
            while let Some(step) = steps[stream].get(at) {
                at += 1;
                match *step {
                    Step::Launch(node) => launched.push(node),
                    Step::Barrier(barrier) => {
                        arrivals_missing[barrier] = arrivals_missing[barrier].saturating_sub(1);
                        if arrivals_missing[barrier] > 0 {
                            break;
                        }
                    }
                    Step::Trigger(node) => {
                        stack.push((stream, at));
                        let waiting = waiters.get(&node).map_or(&[][..], Vec::as_slice);
                        stack.extend(waiting.iter().rev());
                        break;
                    }
                }
            }
        }
    }
    launched
}

/// Where a stream goes on when a node triggers it: the stream and its step.
type Waiters = BTreeMap<NodeIdx, Vec<(usize, usize)>>;

fn steps(program: &Program, streams: &[Vec<NodeIdx>]) -> (Vec<Vec<Step>>, Waiters, usize) {
    let producers = program.producers();
    let mut stream_of = vec![0_usize; program.nodes.len()];
    for (stream, nodes) in streams.iter().enumerate() {
        for node in nodes {
            stream_of[node.index()] = stream;
        }
    }
    let feeders = |node: NodeIdx| {
        let mut feeders: Vec<NodeIdx> =
            program.node(node).reads().filter_map(|value| producers[value.index()]).collect();
        feeders.sort_unstable_by_key(|feeder| (program.node(*feeder).runtime_index, *feeder));
        feeders.dedup();
        feeders.retain(|feeder| stream_of[feeder.index()] != stream_of[node.index()]);
        feeders
    };
    let mut triggers = vec![false; program.nodes.len()];
    for node in program.node_indices() {
        for feeder in feeders(node) {
            triggers[feeder.index()] = true;
        }
    }
    let mut all_steps = Vec::new();
    let mut waiters = Waiters::new();
    let mut n_barriers = 0;
    for (stream, nodes) in streams.iter().enumerate() {
        let mut steps = Vec::new();
        for &node in nodes {
            for feeder in feeders(node) {
                waiters.entry(feeder).or_default().push((stream, steps.len()));
                steps.push(Step::Barrier(n_barriers));
                n_barriers += 1;
            }
            steps.push(Step::Launch(node));
            if triggers[node.index()] {
                steps.push(Step::Trigger(node));
            }
        }
        all_steps.push(steps);
    }
    (all_steps, waiters, n_barriers)
}

#[cfg(test)]
mod tests;
