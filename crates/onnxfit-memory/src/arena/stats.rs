//! The arena's counters, named as `AllocatorGetStats` names them.

use onnxfit_base::Bytes;

/// A snapshot of one arena's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// `InUse`: chunks handed out, rounding and unsplit slack included, and reserved blocks.
    pub in_use_bytes: Bytes,
    /// `RequestedInUse`: what was asked for.
    pub requested_in_use_bytes: Bytes,
    /// `MaxInUse`: the highest `InUse` since the start, or since the peak was restarted.
    pub max_in_use_bytes: Bytes,
    /// `MaxAllocSize`: the largest single block.
    pub max_alloc_bytes: Bytes,
    /// `TotalAllocated`: regions and reserved blocks, what the device really gave.
    pub total_allocated_bytes: Bytes,
    /// `NumAllocs`, reserved blocks included.
    pub n_allocs: u64,
    /// `NumReserves`.
    pub n_reserves: u64,
    /// `NumArenaExtensions`; a shrink takes back.
    pub n_extensions: u64,
    /// `NumArenaShrinkages`.
    pub n_shrinkages: u64,
    /// `Limit`; `None` is unlimited.
    pub limit_bytes: Option<Bytes>,
}

impl ArenaStats {
    pub(super) fn count_alloc(&mut self, bytes: Bytes, requested: Bytes) {
        self.n_allocs += 1;
        self.in_use_bytes += bytes;
        self.requested_in_use_bytes += requested;
        self.max_in_use_bytes = self.max_in_use_bytes.max(self.in_use_bytes);
        self.max_alloc_bytes = self.max_alloc_bytes.max(bytes);
    }

    /// These counters after a time in which as much is counted as between `before` and `after`.
    pub(crate) fn repeated(&self, after: &Self, before: &Self) -> Self {
        let again = |now: u64, after: u64, before: u64| now + after.saturating_sub(before);
        Self {
            n_allocs: again(self.n_allocs, after.n_allocs, before.n_allocs),
            n_reserves: again(self.n_reserves, after.n_reserves, before.n_reserves),
            n_extensions: again(self.n_extensions, after.n_extensions, before.n_extensions),
            n_shrinkages: again(self.n_shrinkages, after.n_shrinkages, before.n_shrinkages),
            ..*self
        }
    }

    pub(super) fn count_free(&mut self, bytes: Bytes, requested: Bytes) {
        self.in_use_bytes -= bytes;
        self.requested_in_use_bytes -= requested;
    }
}
