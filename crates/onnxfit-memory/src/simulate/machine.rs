//! The arenas of a session, the trace they write, and the peaks they reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onnxfit_base::Bytes;

use super::{ArenaSnapshot, Compiled, PatternGroup, SimulateOptions};
use crate::arena::{Arena, ArenaConfig, ArenaError, ArenaState, ArenaStats, Handle, StreamTag};
use crate::overhead::Bound;
use crate::pattern::PatternBlock;
use crate::peak::{PeakEvents, PeakTracker};
use crate::program::Place;
use crate::releases::Release;
use crate::trace::{BlockId, Event, OwnerRef, Trace};

/// A block that somebody holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: Place,
    pub(crate) handle: Handle,
    pub(crate) id: BlockId,
}

/// What decides how a run goes, besides its sizes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MachineState {
    arenas: [Option<ArenaState>; 3],
    /// Patterns are only ever added.
    n_patterns: usize,
}

/// Where a run begins.
#[derive(Debug)]
pub(crate) struct Mark {
    event: usize,
    /// The number of the first block that it takes.
    id: BlockId,
    /// The counters of host, device and pinned memory.
    pub(super) counted: [ArenaStats; 3],
}

/// All arenas and the trace.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    host: Arena,
    device: Option<Arena>,
    pinned: Arena,
    host_peak: PeakTracker,
    device_peak: PeakTracker,
    /// What each arena held when that was last written down, by place.
    held_bytes: [Option<Bytes>; 3],
    pub(crate) trace: Trace,
    pub(crate) n_threads: u64,
    /// The release that runs the session.
    pub(crate) release: Release,
    pub(crate) compute_capability: Option<(u32, u32)>,
    pub(crate) workspace_bound: Bound,
    /// Whether any kernel's scratch was a band.
    pub(crate) has_bands: bool,
    pub(crate) mem_pattern: bool,
    /// The patterns of every program of the session, by its number and key.
    pub(crate) patterns: BTreeMap<(usize, u64), Arc<PatternGroup>>,
    /// Weights that exist only in packed form: a body that captures one is fed an empty value.
    pub(crate) released_weights: Arc<BTreeSet<String>>,
}

impl Machine {
    pub(crate) fn new(compiled: &Compiled, options: &SimulateOptions) -> Self {
        Self {
            host: Arena::new(options.host_arena.clone()),
            device: options.device_arena.clone().map(Arena::new),
            pinned: Arena::new(ArenaConfig::default()),
            host_peak: PeakTracker::default(),
            device_peak: PeakTracker::default(),
            held_bytes: [None; 3],
            trace: Trace::of(compiled.all_programs()),
            n_threads: options.n_threads,
            release: options.release,
            compute_capability: options.compute_capability,
            workspace_bound: options.workspace_bound,
            has_bands: false,
            mem_pattern: options.mem_pattern,
            patterns: BTreeMap::new(),
            released_weights: Arc::default(),
        }
    }

    fn arena(&mut self, place: Place) -> &mut Arena {
        match (place, &mut self.device) {
            (Place::Device, Some(device)) => device,
            (Place::Pinned, _) => &mut self.pinned,
            _ => &mut self.host,
        }
    }

    pub(crate) fn alloc(
        &mut self,
        place: Place,
        bytes: Bytes,
        stream: Option<StreamTag>,
        owner: OwnerRef,
    ) -> Result<Held, ArenaError> {
        // Only the device arena knows streams.
        let stream = stream.filter(|_| place == Place::Device);
        let handle = self.arena(place).alloc(bytes, stream)?;
        Ok(self.record(place, handle, false, owner))
    }

    pub(crate) fn reserve(&mut self, place: Place, bytes: Bytes, owner: OwnerRef) -> Result<Held, ArenaError> {
        let handle = self.arena(place).reserve(bytes)?;
        Ok(self.record(place, handle, true, owner))
    }

    fn record(&mut self, place: Place, handle: Handle, reserved: bool, owner: OwnerRef) -> Held {
        let id = self.trace.fresh_id();
        if let Some(block) = self.arena(place).block(handle) {
            self.note_held(place);
            let event = self.trace.push(Event::Alloc {
                id,
                place,
                requested_bytes: block.requested_bytes,
                bytes: block.bytes,
                address: block.address,
                reserved,
                owner,
            });
            let in_use = self.arena(place).in_use_bytes();
            if let Some(peak) = self.peak(place) {
                peak.took(in_use, event);
            }
        }
        Held { place, handle, id }
    }

    fn peak(&mut self, place: Place) -> Option<&mut PeakTracker> {
        match place {
            Place::Host => Some(&mut self.host_peak),
            Place::Device => Some(&mut self.device_peak),
            Place::Pinned => None,
        }
    }

    pub(crate) fn free(&mut self, held: Held) {
        if held.handle != Handle::NULL {
            self.arena(held.place).free(held.handle);
            self.trace.push(Event::Free { id: held.id, place: held.place });
            self.note_held(held.place);
        }
    }

    /// Puts a tensor into a pattern's block.
    pub(crate) fn put(&mut self, block: Held, spot: PatternBlock, owner: OwnerRef) -> BlockId {
        let id = self.trace.fresh_id();
        let PatternBlock { offset_bytes, bytes } = spot;
        if bytes > Bytes::ZERO {
            let event = self.trace.push(Event::Put { block: block.id, id, offset_bytes, bytes, owner });
            let in_use = self.arena(block.place).in_use_bytes();
            if let Some(peak) = self.peak(block.place) {
                peak.put(bytes, in_use, event);
            }
        }
        id
    }

    /// A tensor in a pattern's block is dead.
    pub(crate) fn drop_tensor(&mut self, id: BlockId, place: Place, bytes: Bytes) {
        self.trace.push(Event::Drop { id });
        if let Some(peak) = self.peak(place) {
            peak.dropped(bytes);
        }
    }

    /// Writes down what an arena holds, if that changed.
    fn note_held(&mut self, place: Place) {
        let total_allocated_bytes = self.arena(place).total_allocated_bytes();
        let before = self.held_bytes[place as usize].replace(total_allocated_bytes);
        if before != Some(total_allocated_bytes) {
            self.trace.push(Event::Held { place, total_allocated_bytes });
        }
    }

    /// What the next run goes by, besides its sizes.
    pub(crate) fn state(&self) -> MachineState {
        MachineState {
            arenas: [Some(self.host.state()), self.device.as_ref().map(Arena::state), Some(self.pinned.state())],
            n_patterns: self.patterns.len(),
        }
    }

    /// The place in the trace at which the next run begins.
    pub(crate) fn mark(&self) -> Mark {
        let counted =
            [self.host.stats(), self.device.as_ref().map(Arena::stats).unwrap_or_default(), self.pinned.stats()];
        Mark { event: self.trace.events.len(), id: self.trace.id_bound() as BlockId, counted }
    }

    /// Replays what happened since a mark once more, where nothing would go otherwise; returns how
    /// many events later the same happens again.
    pub(crate) fn repeat_since(&mut self, mark: &Mark) -> usize {
        let later = self.trace.events.len() - mark.event;
        self.trace.repeat(mark.event, mark.id);
        self.host.repeat_counts(&mark.counted[0]);
        if let Some(device) = &mut self.device {
            device.repeat_counts(&mark.counted[1]);
        }
        self.pinned.repeat_counts(&mark.counted[2]);
        later
    }

    /// A new run: peaks are its own from here.
    pub(crate) fn begin_run(&mut self) {
        let event = self.trace.push(Event::RunBegins);
        self.host.restart_peak();
        self.host_peak.restart(self.host.in_use_bytes(), event);
        if let Some(device) = &mut self.device {
            device.restart_peak();
            self.device_peak.restart(device.in_use_bytes(), event);
        }
    }

    /// The stream's work is done: its tags vanish.
    pub(crate) fn release_stream(&mut self, stream: StreamTag) {
        if let Some(device) = &mut self.device {
            device.release_stream(stream);
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.host.shrink();
        self.note_held(Place::Host);
        if let Some(device) = &mut self.device {
            device.shrink();
            self.note_held(Place::Device);
        }
    }

    pub(crate) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    pub(crate) fn snapshot(&self) -> ArenaSnapshot {
        ArenaSnapshot { host: self.host.stats(), device: self.device.as_ref().map(Arena::stats) }
    }

    /// The events of the host's and the device's peak since the run began.
    pub(crate) fn peak_events(&self) -> (PeakEvents, PeakEvents) {
        (self.host_peak.events(), self.device_peak.events())
    }

    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }
}
