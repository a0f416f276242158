//! Who is alive at a moment: the parts of an arena, which sum to its bytes in use exactly.

use onnxfit_base::Bytes;

use crate::program::Place;
use crate::trace::{BlockId, Event, NodeRef, Owner, OwnerKind, OwnerRef, Trace};

/// One part of an arena's bytes in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose it is.
    pub owner: Owner,
    /// Bytes as the arena counts them: rounding and unsplit slack included.
    pub bytes: Bytes,
    /// Bytes that were asked for.
    pub requested_bytes: Bytes,
}

/// The parts of an arena after the event at `at`, largest first, and the node that was running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Name and operator of the node, if one was running.
    pub node: Option<(String, String)>,
    /// The parts.
    pub parts: Vec<Part>,
    /// The node at which a memory pattern's block is shown, where that is not this moment.
    pub block_node: Option<(String, String)>,
}

impl Moment {
    /// The sum of all parts: the arena's bytes in use.
    pub fn bytes(&self) -> Bytes {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The sum of the parts of some kinds.
    pub fn bytes_of(&self, kinds: &[OwnerKind]) -> Bytes {
        self.parts.iter().filter(|part| kinds.contains(&part.owner.kind)).map(|part| part.bytes).sum()
    }
}

/// The events of a run that tell who to blame for its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeakEvents {
    /// After it most is in use; of several such events the one at which tensors occupy most of the
    /// memory pattern's block.
    pub highest: usize,
    /// The event at which tensors occupy most of that block, where that is more than at `highest`.
    pub fullest: Option<usize>,
}

impl PeakEvents {
    /// The same so many events later.
    pub(crate) fn later(self, n_events: usize) -> Self {
        Self { highest: self.highest + n_events, fullest: self.fullest.map(|event| event + n_events) }
    }
}

/// Follows one arena through a run and keeps its [`PeakEvents`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeakTracker {
    in_use: Bytes,
    /// What tensors occupy of the pattern's block: now, and at the two events.
    filled: Bytes,
    filled_at_highest: Bytes,
    filled_at_most: Bytes,
    highest: usize,
    fullest: Option<usize>,
}

impl PeakTracker {
    /// A run begins with this event.
    pub(crate) fn restart(&mut self, in_use: Bytes, event: usize) {
        *self = Self { in_use, filled: self.filled, filled_at_highest: self.filled, highest: event, ..Self::default() };
    }

    /// A block was taken, with this event.
    pub(crate) fn took(&mut self, in_use: Bytes, event: usize) {
        if in_use > self.in_use {
            self.in_use = in_use;
            self.highest = event;
            self.filled_at_highest = self.filled;
        } else {
            self.blame(in_use, event);
        }
    }

    /// A tensor was put into the pattern's block, with this event.
    pub(crate) fn put(&mut self, bytes: Bytes, in_use: Bytes, event: usize) {
        self.filled += bytes;
        self.blame(in_use, event);
        if self.filled > self.filled_at_most {
            self.filled_at_most = self.filled;
            self.fullest = Some(event);
        }
    }

    /// A tensor in the pattern's block died.
    pub(crate) fn dropped(&mut self, bytes: Bytes) {
        self.filled -= bytes;
    }

    fn blame(&mut self, in_use: Bytes, event: usize) {
        if in_use == self.in_use && self.filled > self.filled_at_highest {
            self.highest = event;
            self.filled_at_highest = self.filled;
        }
    }

    pub(crate) fn events(&self) -> PeakEvents {
        let fullest = self.fullest.filter(|_| self.filled_at_most > self.filled_at_highest);
        PeakEvents { highest: self.highest, fullest }
    }
}

/// A block of an arena that is alive.
struct Block {
    id: BlockId,
    bytes: Bytes,
    requested_bytes: Bytes,
    owner: OwnerRef,
    /// Tensors inside, for a pattern block.
    tensors: Vec<(Bytes, OwnerRef)>,
}

impl Block {
    /// Bytes of it that tensors lie in.
    fn occupied(&self) -> Bytes {
        self.tensors.iter().map(|(bytes, _)| *bytes).sum()
    }
}

/// Replays a trace up to and including the event at `at`.
pub fn moment(trace: &Trace, place: Place, at: usize) -> Moment {
    let (node, blocks) = replay(trace, place, at);
    Moment { node: named(trace, node), parts: parts(trace, blocks), block_node: None }
}

/// The highest moment of a run, in a way that tells who to blame.
///
/// A memory pattern's block is taken before the first node and is as large as its fullest moment
/// makes it; so where another moment of the run fills it more, the block's part of the answer is
/// what lies in it then, and `block_node` says when that is. The sum stays the arena's bytes in use.
pub fn peak_moment(trace: &Trace, place: Place, at: PeakEvents) -> Moment {
    let (node, blocks, block_node) = peak_blocks(trace, place, at);
    Moment { node: named(trace, node), parts: parts(trace, blocks), block_node: named(trace, block_node) }
}

/// What an arena holds at such a moment, by what it is for: the sums of the moment's parts.
pub(crate) fn peak_sums(trace: &Trace, place: Place, at: PeakEvents) -> impl Fn(&[OwnerKind]) -> Bytes {
    let (_, blocks, _) = peak_blocks(trace, place, at);
    let mut sums = [Bytes::ZERO; N_KINDS];
    for block in blocks {
        if block.owner.kind == OwnerKind::PatternBlock {
            sums[OwnerKind::PatternGap as usize] += block.bytes - block.occupied();
            block.tensors.iter().for_each(|(bytes, owner)| sums[owner.kind as usize] += *bytes);
        } else {
            sums[block.owner.kind as usize] += block.bytes;
        }
    }
    move |kinds| kinds.iter().map(|kind| sums[*kind as usize]).sum()
}

/// How many kinds of owners there are.
const N_KINDS: usize = OwnerKind::PatternGap as usize + 1;

/// The node, the blocks, and the node at which the pattern's block is as it is shown.
fn peak_blocks(trace: &Trace, place: Place, at: PeakEvents) -> (Option<NodeRef>, Vec<Block>, Option<NodeRef>) {
    let (node, mut blocks) = replay(trace, place, at.highest);
    let mut block_node = None;
    if let Some(fullest) = at.fullest {
        let (then, filled) = replay(trace, place, fullest);
        for other in filled.into_iter().filter(|block| !block.tensors.is_empty()) {
            let same = blocks.iter_mut().find(|block| block.id == other.id);
            if let Some(block) = same.filter(|block| other.occupied() > block.occupied()) {
                block.tensors = other.tensors;
                block_node = then;
            }
        }
    }
    (node, blocks, block_node)
}

fn named(trace: &Trace, node: Option<NodeRef>) -> Option<(String, String)> {
    let (name, op_type) = trace.node_name(node?);
    Some((name.to_owned(), op_type.to_owned()))
}

fn parts(trace: &Trace, blocks: Vec<Block>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let mut part = |owner: OwnerRef, bytes: Bytes, requested_bytes: Bytes| {
            parts.push(Part { owner: trace.owner(owner), bytes, requested_bytes });
        };
        if block.owner.kind != OwnerKind::PatternBlock {
            part(block.owner, block.bytes, block.requested_bytes);
            continue;
        }
        // A pattern block is its tensors and the gap between them.
        let gap = block.bytes - block.occupied();
        block.tensors.iter().for_each(|(bytes, owner)| part(*owner, *bytes, *bytes));
        if gap > Bytes::ZERO {
            part(OwnerRef { kind: OwnerKind::PatternGap, ..block.owner }, gap, gap);
        }
    }
    parts.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.owner.cmp(&right.owner)));
    parts
}

/// The blocks of an arena after the event at `at`, oldest first, and the node that was running.
fn replay(trace: &Trace, place: Place, at: usize) -> (Option<NodeRef>, Vec<Block>) {
    let events = trace.events.get(..=at).unwrap_or(&trace.events);
    let mut node = None;
    let mut dead = vec![false; trace.id_bound()];
    for event in events {
        match event {
            Event::Node(of) => node = Some(*of),
            Event::Loaded | Event::RunBegins | Event::RunEnds => node = None,
            Event::Free { id, .. } | Event::Drop { id } => dead[*id as usize] = true,
            Event::Alloc { .. } | Event::Held { .. } | Event::Put { .. } => {}
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    for event in events {
        match *event {
            Event::Alloc { id, place: where_, requested_bytes, bytes, owner, .. }
                if where_ == place && !dead[id as usize] =>
            {
                blocks.push(Block { id, bytes, requested_bytes, owner, tensors: Vec::new() });
            }
            Event::Put { block, id, bytes, owner, .. } if !dead[id as usize] => {
                // Patterns lie among the youngest blocks.
                if let Some(holder) = blocks.iter_mut().rev().find(|holder| holder.id == block) {
                    holder.tensors.push((bytes, owner));
                }
            }
            _ => {}
        }
    }
    (node, blocks)
}
