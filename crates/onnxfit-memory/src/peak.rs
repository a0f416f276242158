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

/// Replays a trace up to and including the event at `at`.
pub fn moment(trace: &Trace, place: Place, at: usize) -> Moment {
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
    let mut parts: Vec<Part> = blocks.into_values().flat_map(parts_of).collect();
    parts.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.owner.cmp(&right.owner)));
    Moment { node, parts }
}

/// Of the moments of a run that have as many bytes in use as the one at `at`, its highest, the
/// first at which tensors occupy most of the memory pattern's block.
///
/// A block is taken before the first node, so without this the peak of a run with a pattern would
/// lie before anything is alive.
pub fn fullest_moment(trace: &Trace, place: Place, at: usize) -> usize {
    // Blocks of other arenas hold tensors too; only those of this one count.
    let mut blocks: BTreeSet<BlockId> = BTreeSet::new();
    let mut sizes: BTreeMap<BlockId, Bytes> = BTreeMap::new();
    let mut occupied: BTreeMap<BlockId, Bytes> = BTreeMap::new();
    let (mut in_use, mut filled) = (Bytes::ZERO, Bytes::ZERO);
    let mut highest = None;
    let mut best = (Bytes::ZERO, at);
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
            _ => {}
        }
        if index == at {
            highest = Some(in_use);
            best = (filled, at);
        } else if highest == Some(in_use) && filled > best.0 {
            best = (filled, index);
        }
    }
    best.1
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
