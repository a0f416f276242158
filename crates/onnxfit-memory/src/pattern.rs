//! The memory pattern: one block that replaces the tensors of a run that was seen before.
//!
//! `mem_pattern_planner.h` and `execution_frame.cc` (ORT 1.31) trace the first run of each key and
//! place every tensor by an online best fit; the block of the next run is the high-water mark.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;

/// One tensor's place in a pattern block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternBlock {
    /// Distance from the start of the block.
    pub offset_bytes: Bytes,
    /// Size, rounded up to 256.
    pub bytes: Bytes,
}

/// The finished pattern of one key: which tensor lies where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern<Id: Ord> {
    /// The size of the whole block.
    pub peak_bytes: Bytes,
    /// Where each traced tensor lies.
    pub blocks: BTreeMap<Id, PatternBlock>,
}

/// Places tensors as a run allocates and frees them.
#[derive(Clone, Debug)]
pub struct PatternPlanner<Id: Ord> {
    /// In the order in which they were placed; a later place of a tensor counts.
    placed: Vec<(Id, PatternBlock)>,
    /// Live tensors by offset; equal offsets in the order the original's list keeps them.
    live: Vec<(Id, PatternBlock)>,
    peak: u64,
}

impl<Id: Ord + Copy> Default for PatternPlanner<Id> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Id: Ord + Copy> PatternPlanner<Id> {
    /// A planner that has seen nothing.
    pub fn new() -> Self {
        Self { placed: Vec::new(), live: Vec::new(), peak: 0 }
    }

    /// Places a tensor of `bytes`, already rounded up to 256.
    pub fn alloc(&mut self, id: Id, bytes: Bytes) {
        if bytes == Bytes::ZERO {
            self.placed.push((id, PatternBlock { offset_bytes: Bytes::ZERO, bytes }));
            return;
        }
        let offset = self.best_offset(bytes.0);
        self.peak = self.peak.max(offset.saturating_add(bytes.0));
        let block = PatternBlock { offset_bytes: Bytes(offset), bytes };
        self.placed.push((id, block));
        let at = self
            .live
            .iter()
            .position(|(_, other)| {
                let other_offset = other.offset_bytes.0;
                other_offset > offset || (other_offset == offset && other.bytes >= bytes)
            })
            .unwrap_or(self.live.len());
        self.live.insert(at, (id, block));
    }

    /// Frees a tensor; one that was never placed, or has no bytes, is ignored.
    pub fn free(&mut self, id: Id) {
        if let Some(at) = self.live.iter().position(|(other, _)| *other == id) {
            self.live.remove(at);
        }
    }

    /// The finished pattern.
    pub fn finish(self) -> Pattern<Id> {
        Pattern { peak_bytes: Bytes(self.peak), blocks: self.placed.into_iter().collect() }
    }

    /// The size of the whole block and where each tensor lies, in the order in which they were placed.
    pub(crate) fn placed(self) -> (Bytes, Vec<(Id, PatternBlock)>) {
        (Bytes(self.peak), self.placed)
    }

    /// The tightest gap between live tensors, or the end of the last one.
    fn best_offset(&self, bytes: u64) -> u64 {
        let mut cursor = 0_u64;
        let mut waste = u64::MAX;
        let mut best = None;
        let mut consider = |from: u64, to: u64| {
            let gap = to - from;
            if gap >= bytes && gap - bytes < waste {
                waste = gap - bytes;
                best = Some(from);
            }
        };
        for (_, block) in &self.live {
            let offset = block.offset_bytes.0;
            if offset >= cursor {
                consider(cursor, offset);
            }
            cursor = cursor.max(offset.saturating_add(block.bytes.0));
        }
        if cursor < self.peak {
            consider(cursor, self.peak);
        }
        best.unwrap_or(cursor)
    }
}

/// The key a run's pattern is kept under: all dimensions of all feeds, exclusive-or
/// (`CalculateMemoryPatternsKey`). Collisions are normal: two equal inputs always give 0.
pub fn pattern_key<'a>(feed_dims: impl IntoIterator<Item = &'a [u64]>) -> u64 {
    feed_dims.into_iter().flatten().fold(0, |key, dim| key ^ dim)
}

#[cfg(test)]
mod tests;
