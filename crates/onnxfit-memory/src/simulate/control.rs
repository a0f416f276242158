//! Control flow: a node whose kernel runs a program of its own.
//!
//! `providers/cpu/controlflow/{if,loop}.cc` (ORT 1.31). Bodies share the session's arenas and keep
//! patterns of their own.

use std::collections::BTreeMap;
use std::rc::Rc;

use onnxfit_base::Bytes;

use super::frame::{Fetch, Frame, Refusal, Sink};
use super::machine::Machine;
use super::sequences::{Blocks, give_up};
use super::{Compiled, Failure};
use crate::program::{DeclaredDim, Node, NodeIdx, Place, ValueIdx};
use crate::sizes::{BodyRun, RunSizes};

/// Hands a body's requests to the outputs of the node that owns it.
struct OwnerOutputs<'f, 'a, 's> {
    frame: &'f mut Frame<'a>,
    node: &'f Node,
    sink: &'f mut Option<&'s mut dyn Sink>,
}

impl Sink for OwnerOutputs<'_, '_, '_> {
    fn allocate(&mut self, position: usize, bytes: Bytes, machine: &mut Machine) -> Result<(), Refusal> {
        match self.node.output(position) {
            Some(output) => self.frame.allocate(output, bytes, machine, self.sink),
            None => Ok(()),
        }
    }
}

impl<'a> Frame<'a> {
    /// Runs the bodies of a node as often as this run does.
    pub(super) fn run_control(
        &mut self,
        index: NodeIdx,
        node: &Node,
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        let sizes: &'a RunSizes = self.sizes;
        let compiled: &'a Compiled = self.compiled;
        let runs: Vec<(&'a Compiled, &'a BodyRun)> = sizes
            .bodies
            .iter()
            .filter(|run| run.node == index)
            .filter_map(|run| Some((compiled.bodies.get(&(index, run.attribute.clone()))?, run)))
            .collect();
        match (node.op_type.as_str(), runs.as_slice()) {
            ("If", [(body, run), ..]) => self.run_branch(node, body, &run.sizes, machine, sink),
            ("Loop", runs) => self.run_loop(index, node, runs, machine, sink),
            _ => self.outputs_only(node, machine, sink),
        }
    }

    /// Nothing is known about the bodies: the node's outputs are all that counts.
    fn outputs_only(
        &mut self,
        node: &Node,
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        for output in node.present_outputs() {
            self.allocate(output, self.sizes.bytes(output), machine, sink)?;
        }
        Ok(())
    }

    /// `If`: outputs of a size known at load are allocated first, the others when the body asks.
    fn run_branch(
        &mut self,
        node: &Node,
        body: &'a Compiled,
        sizes: &'a RunSizes,
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        let mut fetches = BTreeMap::new();
        for (position, &inner) in body.program.outputs.iter().enumerate() {
            if is_fixed(body, inner) {
                if let Some(output) = node.output(position) {
                    self.allocate(output, sizes.bytes(inner), machine, sink)?;
                }
                fetches.insert(inner, Fetch::Given);
            } else {
                fetches.insert(inner, Fetch::Delayed(position));
            }
        }
        let mut frame = Frame::new(body, sizes, fetches, machine);
        self.lend(&mut frame);
        let ran = {
            let mut owner = OwnerOutputs { frame: self, node, sink };
            frame.run(machine, Some(&mut owner))
        };
        let left = frame.close(machine, ran.is_ok());
        for (_, held) in left.outputs {
            machine.free(held);
        }
        for (value, elements) in left.sequences {
            match body.program.outputs.iter().position(|output| *output == value).and_then(|at| node.output(at)) {
                Some(output) => self.hold(output, elements, machine),
                None => give_up(elements, machine),
            }
        }
        ran.map_err(Refusal::Inner)
    }

    /// `Loop`: what a round makes is fed to the next one, and gives way to it when that one is done and
    /// a third begins; what is collected is concatenated at the end, when pieces and whole exist together.
    fn run_loop(
        &mut self,
        index: NodeIdx,
        node: &Node,
        runs: &[(&'a Compiled, &'a BodyRun)],
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        // Both are on the host whoever runs the loop.
        let iteration = self.take_scratch(index, Place::Host, "iteration number", Bytes(8), machine)?;
        let condition = self.take_scratch(index, Place::Host, "loop condition", Bytes(1), machine)?;
        // The condition, then what is carried.
        let mut fed: Vec<Blocks> = vec![vec![Rc::new(condition)]];
        let carried = node.inputs.iter().skip(2);
        fed.extend(carried.map(|input| input.and_then(|input| self.elements(input)).cloned().unwrap_or_default()));
        let mut made: Vec<Blocks> = fed[1..].to_vec();
        made.insert(0, Blocks::new());
        let mut collected = Blocks::new();
        let mut result = Ok(());
        let mut is_first = true;
        for (body, run) in runs.iter().flat_map(|(body, run)| (0..run.times).map(move |_| (*body, *run))) {
            if !std::mem::take(&mut is_first) {
                for (at, blocks) in made.drain(..).enumerate() {
                    match fed.get_mut(at) {
                        Some(slot) => give_up(std::mem::replace(slot, blocks), machine),
                        None => collected.extend(blocks),
                    }
                }
            }
            for blocks in made.drain(..) {
                give_up(blocks, machine);
            }
            let ran;
            (made, ran) = self.run_round(body, run, &fed, machine);
            if let Err(failure) = ran {
                result = Err(Refusal::Inner(failure));
                break;
            }
        }
        if result.is_ok() {
            for (at, input) in node.inputs.iter().enumerate().skip(2) {
                let is_sequence = input.is_some_and(|input| self.elements(input).is_some());
                if let (true, Some(output), Some(blocks)) = (is_sequence, node.output(at - 2), made.get(at - 1)) {
                    self.hold(output, blocks.clone(), machine);
                }
            }
            result = self.outputs_only(node, machine, sink);
        }
        for blocks in made.into_iter().chain(fed).chain([collected]) {
            give_up(blocks, machine);
        }
        machine.free(iteration);
        result
    }

    /// One round: what it makes, output by output, and how it ended.
    fn run_round(
        &self,
        body: &'a Compiled,
        run: &'a BodyRun,
        fed: &[Blocks],
        machine: &mut Machine,
    ) -> (Vec<Blocks>, Result<(), Failure>) {
        let mut frame = Frame::new(body, &run.sizes, BTreeMap::new(), machine);
        self.lend(&mut frame);
        let program = &body.program;
        // The iteration number is fed first.
        let feed_of = |value: ValueIdx| program.inputs.iter().skip(1).position(|input| *input == value);
        for (&input, blocks) in program.inputs.iter().skip(1).zip(fed) {
            if run.sizes.sequences.contains_key(&input) || !program.value(input).is_tensor {
                frame.sequences.insert(input, blocks.clone());
            }
        }
        let ran = frame.run(machine, None);
        let mut left = frame.close(machine, ran.is_ok());
        let outputs = program.outputs.iter().map(|&output| {
            if let Some(at) = left.sequences.iter().position(|(value, _)| *value == output) {
                return left.sequences[at].1.clone();
            }
            if let Some(at) = left.outputs.iter().position(|(value, _)| *value == output) {
                return vec![Rc::new(left.outputs.swap_remove(at).1)];
            }
            // What is passed on as it came.
            let from = feed_of(body.plan.buffer[output.index()]);
            from.and_then(|at| fed.get(at)).cloned().unwrap_or_default()
        });
        (outputs.collect(), ran)
    }
}

/// Whether the runtime knows a body output's size before the body runs.
fn is_fixed(body: &Compiled, output: ValueIdx) -> bool {
    let declared = body.program.value(output).declared.as_ref();
    declared.is_some_and(|dims| dims.iter().all(|dim| matches!(dim, DeclaredDim::Value(_))))
}
