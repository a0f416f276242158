//! Control flow: a node whose kernel runs a program of its own.
//!
//! `providers/cpu/controlflow/{if,loop}.cc` (ORT 1.31). Bodies share the session's arenas and keep
//! patterns of their own.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;

use super::Compiled;
use super::frame::{Fetch, Frame, Refusal, Sink};
use super::machine::{Held, Machine};
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
        let ran = {
            let mut owner = OwnerOutputs { frame: self, node, sink };
            frame.run(machine, Some(&mut owner))
        };
        for (_, held) in frame.close(machine, false) {
            machine.free(held);
        }
        ran.map_err(Refusal::Inner)
    }

    /// `Loop`: each iteration's results live until the next one is done; what is collected is
    /// concatenated at the end, when pieces and whole exist together.
    fn run_loop(
        &mut self,
        index: NodeIdx,
        node: &Node,
        runs: &[(&'a Compiled, &'a BodyRun)],
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        // Both are on the host whoever runs the loop.
        let mut held = vec![
            self.take_scratch(index, Place::Host, "iteration number", Bytes(8), machine)?,
            self.take_scratch(index, Place::Host, "loop condition", Bytes(1), machine)?,
        ];
        let n_carried = node.inputs.len().saturating_sub(2);
        let mut carried: Vec<Held> = Vec::new();
        let mut result = Ok(());
        for (body, run) in runs {
            let mut frame = Frame::new(body, &run.sizes, BTreeMap::new(), machine);
            let ran = frame.run(machine, None);
            let outputs = frame.close(machine, ran.is_ok());
            for previous in carried.drain(..) {
                machine.free(previous);
            }
            for (value, block) in outputs {
                let position = body.program.outputs.iter().position(|output| *output == value);
                // The condition, then what is carried, then what is collected.
                if position.is_some_and(|position| position <= n_carried) {
                    carried.push(block);
                } else {
                    held.push(block);
                }
            }
            if let Err(failure) = ran {
                result = Err(Refusal::Inner(failure));
                break;
            }
        }
        if result.is_ok() {
            result = self.outputs_only(node, machine, sink);
        }
        for block in carried.into_iter().chain(held) {
            machine.free(block);
        }
        result
    }
}

/// Whether the runtime knows a body output's size before the body runs.
fn is_fixed(body: &Compiled, output: ValueIdx) -> bool {
    let declared = body.program.value(output).declared.as_ref();
    declared.is_some_and(|dims| dims.iter().all(|dim| matches!(dim, DeclaredDim::Value(_))))
}
