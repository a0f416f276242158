//! The same arena written without indices, bins or linked lists: every answer is a scan.

use super::super::{ArenaConfig, ArenaExtendStrategy, ArenaStats, RegionAddresses};
use onnxfit_base::Bytes;

struct Piece {
    id: u64,
    bytes: u64,
    requested: u64,
    used: bool,
    tagged: bool,
}

struct NaiveRegion {
    number: u64,
    pieces: Vec<Piece>,
}

pub(super) struct NaiveArena {
    config: ArenaConfig,
    step: u64,
    /// In address order.
    regions: Vec<NaiveRegion>,
    reserved: Vec<(u64, u64)>,
    next_id: u64,
    stats: ArenaStats,
}

const fn quantised(bytes: u64) -> u64 {
    bytes.div_ceil(256) * 256
}

impl NaiveArena {
    pub(super) fn new(config: ArenaConfig) -> Self {
        let limit = config.limit.map_or(u64::MAX, |limit| limit.0);
        let stats = ArenaStats { limit_bytes: config.limit, ..ArenaStats::default() };
        let step = quantised(config.initial_chunk_bytes.0.min(limit));
        Self { config, step, regions: Vec::new(), reserved: Vec::new(), next_id: 0, stats }
    }

    pub(super) fn stats(&self) -> ArenaStats {
        self.stats
    }

    pub(super) fn bytes(&self, id: u64) -> u64 {
        let piece = self.regions.iter().flat_map(|region| &region.pieces).find(|piece| piece.id == id && piece.used);
        piece.map_or_else(|| self.reserved.iter().find(|(other, _)| *other == id).unwrap().1, |piece| piece.bytes)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn alloc(&mut self, requested: u64, on_stream: bool) -> Result<Option<u64>, String> {
        if requested == 0 {
            return Ok(None);
        }
        let rounded = quantised(requested);
        if let Some(id) = self.find(rounded, requested, on_stream) {
            return Ok(Some(id));
        }
        self.grow(rounded)?;
        Ok(Some(self.find(rounded, requested, on_stream).unwrap()))
    }

    fn find(&mut self, rounded: u64, requested: u64, on_stream: bool) -> Option<u64> {
        let mut best: Option<(u64, usize, usize)> = None;
        for (r, region) in self.regions.iter().enumerate() {
            for (p, piece) in region.pieces.iter().enumerate() {
                let usable = !piece.used && piece.bytes >= rounded && (!piece.tagged || on_stream);
                if usable && best.is_none_or(|(bytes, ..)| piece.bytes < bytes) {
                    best = Some((piece.bytes, r, p));
                }
            }
        }
        let (bytes, r, p) = best?;
        let id = self.fresh_id();
        let tail_id = self.fresh_id();
        let pieces = &mut self.regions[r].pieces;
        if bytes / 2 >= rounded || bytes - rounded >= self.config.max_dead_bytes_per_chunk.0 {
            let tagged = pieces[p].tagged;
            pieces.insert(p + 1, Piece { id: tail_id, bytes: bytes - rounded, requested: 0, used: false, tagged });
            pieces[p].bytes = rounded;
        }
        let piece = &mut pieces[p];
        piece.used = true;
        piece.requested = requested;
        piece.id = id;
        piece.tagged |= on_stream;
        let bytes = piece.bytes;
        self.count(bytes, requested);
        Some(id)
    }

    fn count(&mut self, bytes: u64, requested: u64) {
        let stats = &mut self.stats;
        stats.n_allocs += 1;
        stats.in_use_bytes.0 += bytes;
        stats.requested_in_use_bytes.0 += requested;
        stats.max_in_use_bytes = stats.max_in_use_bytes.max(stats.in_use_bytes);
        stats.max_alloc_bytes = stats.max_alloc_bytes.max(Bytes(bytes));
    }

    fn granted(&self, bytes: u64) -> bool {
        self.config.device_capacity.is_none_or(|capacity| self.stats.total_allocated_bytes.0 + bytes <= capacity.0)
    }

    fn grow(&mut self, rounded: u64) -> Result<(), String> {
        let limit = self.config.limit.map_or(u64::MAX, |limit| limit.0);
        let available = limit.wrapping_sub(self.stats.total_allocated_bytes.0) >> 8 << 8;
        if available < rounded {
            return Err(format!("Available memory of {available} is smaller than requested bytes of {rounded}"));
        }
        let mut bytes = rounded;
        if self.config.extend_strategy == ArenaExtendStrategy::NextPowerOfTwo {
            let before = self.step;
            while self.step < rounded {
                self.step *= 2;
            }
            bytes = self.step.min(available);
            if self.step == before {
                self.step = (before * 2).min(self.config.max_power_of_two_extend_bytes.0);
            }
        }
        while !self.granted(bytes) {
            bytes = quantised((bytes as f32 * 0.9) as u64);
            if bytes < rounded || bytes < 8192 {
                return Err(format!("Failed to allocate memory for requested buffer of size {rounded}"));
            }
        }
        let id = self.fresh_id();
        let piece = Piece { id, bytes, requested: 0, used: false, tagged: false };
        let region = NaiveRegion { number: self.stats.n_extensions, pieces: vec![piece] };
        match self.config.region_addresses {
            RegionAddresses::Ascending => self.regions.push(region),
            RegionAddresses::Descending => self.regions.insert(0, region),
        }
        self.stats.n_extensions += 1;
        self.stats.total_allocated_bytes.0 += bytes;
        Ok(())
    }

    pub(super) fn reserve(&mut self, bytes: u64) -> Option<u64> {
        if !self.granted(bytes) {
            return None;
        }
        let id = self.fresh_id();
        self.reserved.push((id, bytes));
        self.stats.n_reserves += 1;
        self.stats.total_allocated_bytes.0 += bytes;
        self.count(bytes, bytes);
        Some(id)
    }

    pub(super) fn free(&mut self, id: u64) {
        if let Some(at) = self.reserved.iter().position(|(other, _)| *other == id) {
            let (_, bytes) = self.reserved.remove(at);
            self.stats.in_use_bytes.0 -= bytes;
            self.stats.requested_in_use_bytes.0 -= bytes;
            self.stats.total_allocated_bytes.0 -= bytes;
            return;
        }
        let piece = self.regions.iter_mut().flat_map(|region| &mut region.pieces).find(|piece| piece.id == id).unwrap();
        piece.used = false;
        self.stats.in_use_bytes.0 -= piece.bytes;
        self.stats.requested_in_use_bytes.0 -= piece.requested;
        self.merge();
    }

    fn merge(&mut self) {
        for region in &mut self.regions {
            let mut p = 1;
            while p < region.pieces.len() {
                let (left, right) = (&region.pieces[p - 1], &region.pieces[p]);
                if !left.used && !right.used && left.tagged == right.tagged {
                    region.pieces[p - 1].bytes += region.pieces[p].bytes;
                    region.pieces.remove(p);
                } else {
                    p += 1;
                }
            }
        }
    }

    pub(super) fn shrink(&mut self) {
        let spare_first = self.config.extend_strategy == ArenaExtendStrategy::NextPowerOfTwo;
        let stats = &mut self.stats;
        self.regions.retain(|region| {
            let idle = region.pieces.iter().all(|piece| !piece.used) && !(spare_first && region.number == 0);
            if idle {
                stats.total_allocated_bytes.0 -= region.pieces.iter().map(|piece| piece.bytes).sum::<u64>();
                stats.n_shrinkages += 1;
                stats.n_extensions -= 1;
            }
            !idle
        });
        self.step = self.config.initial_growth_chunk_bytes.0;
    }

    pub(super) fn release_stream(&mut self) {
        for piece in self.regions.iter_mut().flat_map(|region| &mut region.pieces) {
            piece.tagged = false;
        }
        self.merge();
    }
}
