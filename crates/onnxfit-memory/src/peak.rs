//! Who is alive at a moment: the parts of an arena, which sum to its bytes in use exactly.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;

use crate::program::Place;
use crate::trace::{BlockId, Event, Owner, OwnerKind, Trace};

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

struct Block {
    bytes: Bytes,
    requested_bytes: Bytes,
    owner: Owner,
    /// Tensors inside, for a pattern block.
    tensors: BTreeMap<BlockId, (Bytes, Owner)>,
}

impl Block {
    /// Bytes of it that tensors lie in.
    fn occupied(&self) -> Bytes {
        self.tensors.values().map(|(bytes, _)| *bytes).sum()
    }
}

/// Replays a trace up to and including the event at `at`.
pub fn moment(trace: &Trace, place: Place, at: usize) -> Moment {
    let (node, blocks) = replay(trace, place, at);
    Moment { node, parts: parts(blocks), block_node: None }
}

/// The highest moment of a run, which is at `at`, in a way that tells who to blame.
///
/// Of the moments with as many bytes in use, it is the one at which tensors occupy most of the
/// memory pattern's block. That block is taken before the first node and is as large as its
/// fullest moment makes it; so where another moment of the run fills it more, the block's part of
/// the answer is what lies in it then, and `block_node` says when that is. The sum stays the
/// arena's bytes in use.
pub fn peak_moment(trace: &Trace, place: Place, at: usize) -> Moment {
    let (highest, fullest) = fullest_moments(trace, place, at);
    let (node, mut blocks) = replay(trace, place, highest);
    let mut block_node = None;
    if let Some(fullest) = fullest {
        let (then, mut filled) = replay(trace, place, fullest);
        for (id, block) in blocks.iter_mut().filter(|(_, block)| block.owner.kind == OwnerKind::PatternBlock) {
            if let Some(other) = filled.remove(id).filter(|other| other.occupied() > block.occupied()) {
                block.tensors = other.tensors;
                block_node.clone_from(&then);
            }
        }
    }
    Moment { node, parts: parts(blocks), block_node }
}

fn parts(blocks: BTreeMap<BlockId, Block>) -> Vec<Part> {
    let mut parts: Vec<Part> = blocks.into_values().flat_map(parts_of).collect();
    parts.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.owner.cmp(&right.owner)));
    parts
}

/// The blocks of an arena after the event at `at`, and the node that was running.
fn replay(trace: &Trace, place: Place, at: usize) -> (Option<(String, String)>, BTreeMap<BlockId, Block>) {
    let mut blocks: BTreeMap<BlockId, Block> = BTreeMap::new();
    let mut holder_of: BTreeMap<BlockId, BlockId> = BTreeMap::new();
    let mut node = None;
    for event in trace.events.iter().take(at + 1) {
        match event {
            Event::Node { name, op_type } => node = Some((name.to_string(), op_type.to_string())),
            Event::Loaded | Event::RunBegins | Event::RunEnds => node = None,
            Event::Alloc { id, place: where_, requested_bytes, bytes, owner, .. } if *where_ == place => {
                let block = Block {
                    bytes: *bytes,
                    requested_bytes: *requested_bytes,
                    owner: owner.clone(),
                    tensors: BTreeMap::new(),
                };
                blocks.insert(*id, block);
            }
            Event::Free { id, .. } => {
                blocks.remove(id);
            }
            Event::Put { block, id, bytes, owner, .. } => {
                if let Some(holder) = blocks.get_mut(block) {
                    holder.tensors.insert(*id, (*bytes, owner.clone()));
                    holder_of.insert(*id, *block);
                }
            }
            Event::Drop { id } => {
                if let Some(holder) = holder_of.remove(id).and_then(|block| blocks.get_mut(&block)) {
                    holder.tensors.remove(id);
                }
            }
            Event::Alloc { .. } | Event::Held { .. } => {}
        }
    }
    (node, blocks)
}

/// The event of a run at which most of its highest number of bytes in use are occupied, and the
/// one at which most of the memory pattern's block is, if any of it ever is more than that.
///
/// `at` is the first event at which the run has most in use.
fn fullest_moments(trace: &Trace, place: Place, at: usize) -> (usize, Option<usize>) {
    // Blocks of other arenas hold tensors too; only those of this one count.
    let mut blocks: BTreeSet<BlockId> = BTreeSet::new();
    let mut sizes: BTreeMap<BlockId, Bytes> = BTreeMap::new();
    let mut occupied: BTreeMap<BlockId, Bytes> = BTreeMap::new();
    let (mut in_use, mut filled) = (Bytes::ZERO, Bytes::ZERO);
    let mut highest_bytes = None;
    let mut highest = (Bytes::ZERO, at);
    let mut fullest = (Bytes::ZERO, None);
    for (index, event) in trace.events.iter().enumerate() {
        match event {
            Event::Alloc { id, place: where_, bytes, owner, .. } if *where_ == place => {
                in_use += *bytes;
                sizes.insert(*id, *bytes);
                if owner.kind == OwnerKind::PatternBlock {
                    blocks.insert(*id);
                }
            }
            Event::Free { id, .. } => {
                if let Some(bytes) = sizes.remove(id) {
                    in_use -= bytes;
                }
            }
            Event::Put { block, id, bytes, .. } if blocks.contains(block) => {
                filled += *bytes;
                occupied.insert(*id, *bytes);
            }
            Event::Drop { id } => {
                if let Some(bytes) = occupied.remove(id) {
                    filled -= bytes;
                }
            }
            Event::RunBegins | Event::RunEnds if index > at => break,
            Event::RunBegins => fullest = (Bytes::ZERO, None),
            _ => {}
        }
        if index == at {
            highest_bytes = Some(in_use);
            highest = (filled, at);
        } else if highest_bytes == Some(in_use) && filled > highest.0 {
            highest = (filled, index);
        }
        if filled > fullest.0 {
            fullest = (filled, Some(index));
        }
    }
    (highest.1, fullest.1.filter(|_| fullest.0 > highest.0))
}

/// A block is one part; a pattern block is its tensors and the gap between them.
fn parts_of(block: Block) -> Vec<Part> {
    if block.owner.kind != OwnerKind::PatternBlock {
        return vec![Part { owner: block.owner, bytes: block.bytes, requested_bytes: block.requested_bytes }];
    }
    let used: Bytes = block.tensors.values().map(|(bytes, _)| *bytes).sum();
    let gap = block.bytes - used;
    let mut parts: Vec<Part> =
        block.tensors.into_values().map(|(bytes, owner)| Part { owner, bytes, requested_bytes: bytes }).collect();
    if gap > Bytes::ZERO {
        let owner = Owner { kind: OwnerKind::PatternGap, ..block.owner };
        parts.push(Part { owner, bytes: gap, requested_bytes: gap });
    }
    parts
}
