//! Sequences: values that hold tensors, which several of them may share.
//!
//! `providers/cpu/sequence/sequence_ops.cc`, `framework/TensorSeq.h` (ORT 1.31): what is put into a
//! sequence is copied, what is in one already is shared, and an element dies with the last sequence
//! that holds it. Elements are blocks of their own; no pattern holds them.

use std::rc::Rc;

use onnxfit_base::Bytes;

use super::frame::{Frame, Refusal, STREAM};
use super::machine::{Held, Machine};
use crate::plan::AllocKind;
use crate::program::{Node, NodeIdx, ValueIdx};
use crate::sizes::TensorSize;
use crate::trace::OwnerKind;

/// Blocks with several holders.
pub(super) type Blocks = Vec<Rc<Held>>;

/// Gives up shares of blocks; those that nobody holds any longer are free.
pub(super) fn give_up(blocks: Blocks, machine: &mut Machine) {
    for held in blocks.into_iter().filter_map(Rc::into_inner) {
        machine.free(held);
    }
}

/// An operator that makes a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Empty,
    Construct,
    Insert,
    Erase,
    Split,
    Identity,
}

impl Maker {
    /// What a node's operator does; an `Identity` makes a sequence only of one.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        if !node.domain.is_empty() {
            return None;
        }
        match node.op_type.as_str() {
            "SequenceEmpty" => Some(Self::Empty),
            "SequenceConstruct" => Some(Self::Construct),
            "SequenceInsert" => Some(Self::Insert),
            "SequenceErase" => Some(Self::Erase),
            "SplitToSequence" => Some(Self::Split),
            "Identity" => Some(Self::Identity),
            _ => None,
        }
    }
}

impl Frame<'_> {
    /// Runs a node that makes a sequence; `false` if it makes none.
    pub(super) fn run_maker(
        &mut self,
        maker: Maker,
        index: NodeIdx,
        node: &Node,
        machine: &mut Machine,
    ) -> Result<bool, Refusal> {
        let Some(output) = node.output(0) else { return Ok(false) };
        let shared = node.input(0).and_then(|input| self.elements(input)).cloned();
        let position = |at: usize| self.integer(node, at);
        let bytes = |at: usize| node.input(at).map(|input| self.sizes.bytes(input)).unwrap_or_default();
        let mut elements = Blocks::new();
        match maker {
            Maker::Empty => {}
            Maker::Construct => {
                for at in 0..node.inputs.len() {
                    elements.push(self.take_element(output, index, bytes(at), machine)?);
                }
            }
            Maker::Insert => {
                elements = shared.unwrap_or_default();
                let at = place_in(position(2), elements.len(), elements.len());
                elements.insert(at, self.take_element(output, index, bytes(1), machine)?);
            }
            Maker::Erase => {
                elements = shared.unwrap_or_default();
                if let Some(last) = elements.len().checked_sub(1) {
                    let erased = elements.remove(place_in(position(1), last, last));
                    give_up(vec![erased], machine);
                }
            }
            Maker::Split => {
                let sizes: &[TensorSize] = self.sizes.sequences.get(&output).map(Vec::as_slice).unwrap_or_default();
                for size in sizes {
                    let bytes = size.bytes().unwrap_or_default();
                    elements.push(self.take_element(output, index, bytes, machine)?);
                }
            }
            Maker::Identity => {
                let (Some(of), Some(input)) = (shared, node.input(0)) else { return Ok(false) };
                if self.compiled.plan.kind[output.index()] == AllocKind::Output {
                    // Another value than its input: every element is copied.
                    let sizes = self.sizes.sequences.get(&input).map(Vec::as_slice).unwrap_or_default();
                    for at in 0..of.len() {
                        let bytes = sizes.get(at).and_then(TensorSize::bytes).unwrap_or_default();
                        elements.push(self.take_element(output, index, bytes, machine)?);
                    }
                }
            }
        }
        self.hold(output, elements, machine);
        Ok(true)
    }

    fn take_element(
        &self,
        output: ValueIdx,
        index: NodeIdx,
        bytes: Bytes,
        machine: &mut Machine,
    ) -> Result<Rc<Held>, Refusal> {
        let owner = self.compiled.owner(OwnerKind::Activation, output, Some(index));
        let place = self.compiled.plan.place[output.index()];
        let held = machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| Refusal::Arena(place, error))?;
        Ok(Rc::new(held))
    }

    /// The elements of a value that is a sequence, whoever owns its memory.
    pub(super) fn elements(&self, value: ValueIdx) -> Option<&Blocks> {
        self.sequences.get(&self.compiled.plan.buffer[value.index()])
    }

    /// Says what a sequence holds from now on.
    pub(super) fn hold(&mut self, value: ValueIdx, elements: Blocks, machine: &mut Machine) {
        let owner = self.compiled.plan.buffer[value.index()];
        if owner == value
            && let Some(before) = self.sequences.insert(owner, elements)
        {
            give_up(before, machine);
        }
    }

    /// Gives a body the sequences that it captures from this frame.
    pub(super) fn lend(&self, body: &mut Frame<'_>) {
        if self.sequences.is_empty() {
            return;
        }
        for capture in &body.compiled.program.captured {
            let named = |value: &&ValueIdx| self.compiled.program.value(**value).name.as_str() == capture.name.as_str();
            if let Some(elements) = self.sequences.keys().find(named).and_then(|value| self.sequences.get(value)) {
                body.sequences.insert(capture.inner, elements.clone());
            }
        }
    }

    /// A position that is a constant.
    fn integer(&self, node: &Node, at: usize) -> Option<i64> {
        let weight = self.compiled.weights.get(&self.compiled.program, node.input(at)?)?;
        match weight.values.as_ref()? {
            crate::program::WeightValues::Integers(values) => values.first().copied(),
            crate::program::WeightValues::Floats(_) => None,
        }
    }
}

/// A place among so many, which may be counted from the end; a default where it is not known.
fn place_in(position: Option<i64>, n: usize, default: usize) -> usize {
    let n_signed = i64::try_from(n).unwrap_or(i64::MAX);
    let position = position.map(|position| if position < 0 { position + n_signed } else { position });
    position.and_then(|position| usize::try_from(position).ok()).filter(|position| *position <= n).unwrap_or(default)
}
