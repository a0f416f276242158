//! The best-fit-with-coalescing arena that ONNX Runtime puts in front of every device allocator.
//!
//! A replay of `core/framework/bfc_arena.{h,cc}` (ORT 1.31): the same rounding, best fit, split
//! rule, growth and counters, and on CUDA the stream tags of `StreamAwareBFCArena`. Nothing is
//! allocated; a block is an address range in an imaginary device. Every operation is O(log n).

mod config;
mod error;
mod stats;

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;

pub use config::{ArenaConfig, ArenaExtendStrategy, RegionAddresses};
pub use error::ArenaError;
pub use stats::ArenaStats;

/// Every allocation is a multiple of this (`kMinAllocationSize`).
pub const QUANTUM: Bytes = Bytes(256);
/// The back-off of `Extend` gives up below this (`bfc_arena.cc:Extend`).
const BACK_OFF_MIN_BYTES: u64 = 8 * 1024;
/// Space between imaginary regions: they are never adjacent.
const REGION_GAP: u64 = 1 << 20;
/// No device has more than a 57-bit address space; a request past it is refused, not wrapped.
const ADDRESS_SPACE_BYTES: u64 = 1 << 57;

/// The command queue that an allocation is made for; CUDA arenas remember it on the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTag(pub u32);

/// What an allocation returned; give it back to [`Arena::free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(Slot);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Slot {
    Null,
    Chunk(u32),
    Reserved(u32),
}

impl Handle {
    /// The answer to a request for zero bytes.
    pub const NULL: Self = Self(Slot::Null);
}

/// Where a live allocation lies in the imaginary device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First byte; regions and reserved blocks never overlap.
    pub address: u64,
    /// Bytes the arena counts for it: rounding and unsplit slack included.
    pub bytes: Bytes,
    /// Bytes that were asked for.
    pub requested_bytes: Bytes,
}

#[derive(Clone, Debug)]
struct Chunk {
    address: u64,
    bytes: u64,
    requested_bytes: u64,
    in_use: bool,
    previous: Option<u32>,
    next: Option<u32>,
    tag: Option<StreamTag>,
}

#[derive(Clone, Debug)]
struct Region {
    bytes: u64,
    /// The number of extensions when it was made; repeats after a shrink, as in the original.
    id: u64,
    first: u32,
    alive: bool,
}

/// Everything that decides what an arena does next; counters and the peak do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArenaState {
    /// Of every chunk in order: its region's number, address, bytes, requested bytes, whether it is
    /// in use, its tag.
    chunks: Vec<(u64, u64, u64, u64, bool, Option<StreamTag>)>,
    /// The next region's size and address, and the next reserved block's address.
    next: [u64; 3],
    n_reserved: usize,
}

/// Free chunks of one tag in the order the arena tries them: size, then address.
type FreeSet = BTreeSet<(u64, u64, u32)>;

/// One arena and its counters.
#[derive(Clone, Debug)]
pub struct Arena {
    config: ArenaConfig,
    next_region_bytes: u64,
    next_region_address: u64,
    next_reserved_address: u64,
    regions: Vec<Region>,
    chunks: Vec<Chunk>,
    vacant: Vec<u32>,
    free: BTreeMap<Option<StreamTag>, FreeSet>,
    /// Every block that was ever reserved, by number; given back ones are gone.
    reserved: Vec<Option<Block>>,
    n_reserved: usize,
    stats: ArenaStats,
}

impl Arena {
    /// An arena that holds nothing yet: the first region appears with the first allocation.
    pub fn new(config: ArenaConfig) -> Self {
        let limit = config.limit_bytes();
        Self {
            next_region_bytes: round_up(limit.min(config.initial_chunk_bytes.0)),
            next_region_address: match config.region_addresses {
                RegionAddresses::Ascending => 1 << 40,
                RegionAddresses::Descending => 1 << 61,
            },
            next_reserved_address: 1 << 62,
            regions: Vec::new(),
            chunks: Vec::new(),
            vacant: Vec::new(),
            free: BTreeMap::new(),
            reserved: Vec::new(),
            n_reserved: 0,
            stats: ArenaStats::default(),
            config,
        }
    }

    /// Takes a block of at least `bytes` for work on `stream`, growing the arena if it must.
    ///
    /// Zero bytes give [`Handle::NULL`] and change no counter.
    pub fn alloc(&mut self, bytes: Bytes, stream: Option<StreamTag>) -> Result<Handle, ArenaError> {
        if bytes == Bytes::ZERO {
            return Ok(Handle::NULL);
        }
        let rounded = round_up(bytes.0);
        if let Some(chunk) = self.take(rounded, bytes.0, stream) {
            return Ok(Handle(Slot::Chunk(chunk)));
        }
        self.extend(rounded)?;
        match self.take(rounded, bytes.0, stream) {
            Some(chunk) => Ok(Handle(Slot::Chunk(chunk))),
            None => Err(ArenaError::NoFreeBlock { rounded_bytes: Bytes(rounded) }),
        }
    }

    /// Takes exactly `bytes` straight from the device: no rounding, no limit, no back-off.
    pub fn reserve(&mut self, bytes: Bytes) -> Result<Handle, ArenaError> {
        if bytes == Bytes::ZERO {
            return Ok(Handle::NULL);
        }
        if !self.device_grants(bytes.0) {
            return Err(ArenaError::DeviceOutOfMemory { requested_bytes: bytes });
        }
        let id = u32::try_from(self.reserved.len()).expect("a model has fewer than 2^32 weights");
        self.n_reserved += 1;
        let block = Block { address: self.next_reserved_address, bytes, requested_bytes: bytes };
        self.next_reserved_address += bytes.0;
        self.reserved.push(Some(block));
        self.stats.n_reserves += 1;
        self.stats.total_allocated_bytes += bytes;
        self.stats.count_alloc(bytes, bytes);
        Ok(Handle(Slot::Reserved(id)))
    }

    /// Gives a block back. Free neighbours of the same tag merge; the device gets nothing back,
    /// except for reserved blocks.
    pub fn free(&mut self, handle: Handle) {
        match handle.0 {
            Slot::Null => {}
            Slot::Reserved(id) => {
                let block = self.reserved[id as usize].take().expect("a reserved block is freed once");
                self.n_reserved -= 1;
                self.stats.count_free(block.bytes, block.requested_bytes);
                self.stats.total_allocated_bytes -= block.bytes;
            }
            Slot::Chunk(index) => {
                let chunk = &mut self.chunks[index as usize];
                assert!(chunk.in_use, "a chunk is freed once");
                chunk.in_use = false;
                let (bytes, requested) = (Bytes(chunk.bytes), Bytes(chunk.requested_bytes));
                chunk.requested_bytes = 0;
                self.stats.count_free(bytes, requested);
                let merged = self.coalesce(index);
                self.insert_free(merged);
            }
        }
    }

    /// Where a live allocation lies; `None` for the null handle.
    pub fn block(&self, handle: Handle) -> Option<Block> {
        match handle.0 {
            Slot::Null => None,
            Slot::Reserved(id) => self.reserved.get(id as usize).copied().flatten(),
            Slot::Chunk(index) => self.chunks.get(index as usize).filter(|chunk| chunk.in_use).map(|chunk| Block {
                address: chunk.address,
                bytes: Bytes(chunk.bytes),
                requested_bytes: Bytes(chunk.requested_bytes),
            }),
        }
    }

    /// Returns idle regions to the device (`Shrink`, the run option
    /// `memory.enable_memory_arena_shrinkage`).
    pub fn shrink(&mut self) {
        let keeps_first = self.config.extend_strategy == ArenaExtendStrategy::NextPowerOfTwo;
        for index in 0..self.regions.len() {
            let region = self.regions[index].clone();
            if !region.alive || (keeps_first && region.id == 0) {
                continue;
            }
            let chunks: Vec<u32> = self.chunks_of(&region).collect();
            if chunks.iter().any(|&chunk| self.chunks[chunk as usize].in_use) {
                continue;
            }
            for chunk in chunks {
                self.remove_free(chunk);
                self.vacant.push(chunk);
            }
            self.regions[index].alive = false;
            self.stats.total_allocated_bytes -= Bytes(region.bytes);
            self.stats.n_shrinkages += 1;
            self.stats.n_extensions -= 1;
        }
        self.next_region_bytes = self.config.initial_growth_chunk_bytes.0;
    }

    /// Ends a run on `stream`: its tags vanish and every free neighbour merges
    /// (`ResetChunkOnTargetStream`).
    pub fn release_stream(&mut self, stream: StreamTag) {
        let free = self.free.remove(&Some(stream)).unwrap_or_default();
        for chunk in &mut self.chunks {
            if chunk.tag == Some(stream) {
                chunk.tag = None;
            }
        }
        self.free.entry(None).or_default().extend(free.iter().copied());
        for (_, _, index) in free {
            // Merged away by an earlier one, or still the free chunk it was.
            if self.free.get(&None).is_some_and(|set| set.contains(&self.free_key(index))) {
                self.remove_free(index);
                let merged = self.coalesce(index);
                self.insert_free(merged);
            }
        }
    }

    /// The counters, as `AllocatorGetStats` reports them.
    pub fn stats(&self) -> ArenaStats {
        ArenaStats { limit_bytes: self.config.limit, ..self.stats }
    }

    /// Everything that decides what the arena does next.
    pub(crate) fn state(&self) -> ArenaState {
        let chunks = self.regions.iter().filter(|region| region.alive).flat_map(|region| {
            self.chunks_of(region).map(|index| {
                let Chunk { address, bytes, requested_bytes, in_use, tag, .. } = self.chunks[index as usize];
                (region.id, address, bytes, requested_bytes, in_use, tag)
            })
        });
        ArenaState {
            chunks: chunks.collect(),
            next: [self.next_region_bytes, self.next_region_address, self.next_reserved_address],
            n_reserved: self.n_reserved,
        }
    }

    /// Counts again what was counted since `before`, in a time that left the arena as it was then.
    pub(crate) fn repeat_counts(&mut self, before: &ArenaStats) {
        self.stats = self.stats.repeated(&self.stats, before);
    }

    /// `InUse`.
    pub(crate) fn in_use_bytes(&self) -> Bytes {
        self.stats.in_use_bytes
    }

    /// `TotalAllocated`.
    pub(crate) fn total_allocated_bytes(&self) -> Bytes {
        self.stats.total_allocated_bytes
    }

    /// Sets the high-water mark back to what is in use, so that the next run's peak stands alone.
    pub fn restart_peak(&mut self) {
        self.stats.max_in_use_bytes = self.stats.in_use_bytes;
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &ArenaConfig {
        &self.config
    }

    /// The bytes of every region that is held, oldest first.
    pub fn region_bytes(&self) -> Vec<Bytes> {
        self.regions.iter().filter(|region| region.alive).map(|region| Bytes(region.bytes)).collect()
    }

    /// Best fit: the smallest free chunk that is large enough and that `stream` may use.
    fn take(&mut self, rounded: u64, requested: u64, stream: Option<StreamTag>) -> Option<u32> {
        let first_of =
            |tag: Option<StreamTag>| self.free.get(&tag).and_then(|set| set.range((rounded, 0, 0)..).next().copied());
        let best = match stream {
            None => first_of(None),
            Some(_) => [first_of(None), first_of(stream)].into_iter().flatten().min(),
        };
        let (_, _, index) = best?;
        self.remove_free(index);
        let bytes = self.chunks[index as usize].bytes;
        if bytes >= rounded.saturating_mul(2) || bytes - rounded >= self.config.max_dead_bytes_per_chunk.0 {
            self.split(index, rounded);
        }
        let chunk = &mut self.chunks[index as usize];
        chunk.in_use = true;
        chunk.requested_bytes = requested;
        if stream.is_some() {
            chunk.tag = stream;
        }
        let bytes = Bytes(chunk.bytes);
        self.stats.count_alloc(bytes, Bytes(requested));
        Some(index)
    }

    /// Cuts the tail off; it keeps the tag the chunk had *before* it is handed out (`SplitChunk`).
    fn split(&mut self, index: u32, head_bytes: u64) {
        let head = self.chunks[index as usize].clone();
        let tail = self.add_chunk(Chunk {
            address: head.address + head_bytes,
            bytes: head.bytes - head_bytes,
            requested_bytes: 0,
            in_use: false,
            previous: Some(index),
            next: head.next,
            tag: head.tag,
        });
        if let Some(next) = head.next {
            self.chunks[next as usize].previous = Some(tail);
        }
        let head = &mut self.chunks[index as usize];
        head.bytes = head_bytes;
        head.next = Some(tail);
        self.insert_free(tail);
    }

    /// Grows the arena by one region (`Extend`).
    fn extend(&mut self, rounded: u64) -> Result<(), ArenaError> {
        // Reserved blocks count but are never checked: past the limit the difference wraps and the
        // limit stops working. Measured on 1.31.1.
        let left = self.config.limit_bytes().wrapping_sub(self.stats.total_allocated_bytes.0);
        let available = left / QUANTUM.0 * QUANTUM.0;
        if rounded > available {
            return Err(ArenaError::LimitReached {
                available_bytes: Bytes(available),
                requested_bytes: Bytes(rounded),
            });
        }
        let mut bytes = match self.config.extend_strategy {
            ArenaExtendStrategy::SameAsRequested => rounded,
            ArenaExtendStrategy::NextPowerOfTwo => self.next_power_of_two(rounded, available),
        };
        while !self.device_grants(bytes) {
            bytes = back_off(bytes);
            if bytes < rounded || bytes < BACK_OFF_MIN_BYTES {
                return Err(ArenaError::DeviceRefused { requested_bytes: Bytes(rounded) });
            }
        }
        let address = match self.config.region_addresses {
            RegionAddresses::Ascending => {
                let address = self.next_region_address;
                self.next_region_address = address.wrapping_add(bytes + REGION_GAP);
                address
            }
            RegionAddresses::Descending => {
                self.next_region_address = self.next_region_address.wrapping_sub(bytes + REGION_GAP);
                self.next_region_address
            }
        };
        let first = self.add_chunk(Chunk {
            address,
            bytes,
            requested_bytes: 0,
            in_use: false,
            previous: None,
            next: None,
            tag: None,
        });
        self.regions.push(Region { bytes, id: self.stats.n_extensions, first, alive: true });
        self.stats.n_extensions += 1;
        self.stats.total_allocated_bytes += Bytes(bytes);
        self.insert_free(first);
        Ok(())
    }

    /// The size of the next region under `kNextPowerOfTwo`; also moves the sequence on.
    fn next_power_of_two(&mut self, rounded: u64, available: u64) -> u64 {
        let mut raised = false;
        while rounded > self.next_region_bytes {
            self.next_region_bytes = self.next_region_bytes.saturating_mul(2);
            raised = true;
        }
        let bytes = self.next_region_bytes.min(available);
        if !raised {
            // May make the step fall: after one raised to 4 GiB the next is 1 GiB again.
            let cap = self.config.max_power_of_two_extend_bytes.0;
            self.next_region_bytes = self.next_region_bytes.saturating_mul(2).min(cap);
        }
        bytes
    }

    fn device_grants(&self, bytes: u64) -> bool {
        let capacity = self.config.device_capacity.map_or(ADDRESS_SPACE_BYTES, |capacity| capacity.0);
        let sum = self.stats.total_allocated_bytes.0.checked_add(bytes);
        sum.is_some_and(|sum| sum <= capacity.min(ADDRESS_SPACE_BYTES))
    }

    /// Merges a free chunk, not in any set, with its free neighbours of the same tag.
    fn coalesce(&mut self, index: u32) -> u32 {
        let tag = self.chunks[index as usize].tag;
        let mergeable = |arena: &Self, other: Option<u32>| {
            other.filter(|&other| {
                let other = &arena.chunks[other as usize];
                !other.in_use && other.tag == tag
            })
        };
        if let Some(next) = mergeable(self, self.chunks[index as usize].next) {
            self.remove_free(next);
            self.absorb_next(index, next);
        }
        if let Some(previous) = mergeable(self, self.chunks[index as usize].previous) {
            self.remove_free(previous);
            self.absorb_next(previous, index);
            return previous;
        }
        index
    }

    fn absorb_next(&mut self, index: u32, next: u32) {
        let absorbed = self.chunks[next as usize].clone();
        let chunk = &mut self.chunks[index as usize];
        chunk.bytes += absorbed.bytes;
        chunk.next = absorbed.next;
        if let Some(after) = absorbed.next {
            self.chunks[after as usize].previous = Some(index);
        }
        self.vacate(next);
    }

    fn vacate(&mut self, index: u32) {
        let chunk = &mut self.chunks[index as usize];
        chunk.bytes = 0;
        chunk.tag = None;
        self.vacant.push(index);
    }

    fn add_chunk(&mut self, chunk: Chunk) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.chunks[index as usize] = chunk;
            return index;
        }
        self.chunks.push(chunk);
        u32::try_from(self.chunks.len() - 1).expect("an arena has fewer than 2^32 chunks")
    }

    fn free_key(&self, index: u32) -> (u64, u64, u32) {
        let chunk = &self.chunks[index as usize];
        (chunk.bytes, chunk.address, index)
    }

    fn insert_free(&mut self, index: u32) {
        let tag = self.chunks[index as usize].tag;
        let key = self.free_key(index);
        self.free.entry(tag).or_default().insert(key);
    }

    fn remove_free(&mut self, index: u32) {
        let key = self.free_key(index);
        let set = self.free.get_mut(&self.chunks[index as usize].tag);
        let was_there = set.is_some_and(|set| set.remove(&key));
        assert!(was_there, "a free chunk is in the set of its tag");
    }

    fn chunks_of(&self, region: &Region) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(Some(region.first), |&index| self.chunks[index as usize].next)
    }
}

/// The next multiple of 256; sizes near the end of the address space stay there and fail to fit.
fn round_up(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(QUANTUM.0).unwrap_or(u64::MAX / QUANTUM.0 * QUANTUM.0)
}

/// Nine tenths, in the single precision of the original, rounded up to the quantum.
fn back_off(bytes: u64) -> u64 {
    round_up((bytes as f32 * 0.9_f32) as u64)
}

#[cfg(test)]
mod tests;
