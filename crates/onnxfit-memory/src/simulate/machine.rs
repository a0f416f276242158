//! The arenas of a session, the trace they write, and the peaks they reach.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use onnxfit_base::Bytes;

use super::{ArenaSnapshot, PatternGroup, SimulateOptions};
use crate::arena::{Arena, ArenaConfig, ArenaError, Handle, StreamTag};
use crate::overhead::Bound;
use crate::program::Place;
use crate::releases::Release;
use crate::trace::{BlockId, Event, Owner, Trace};

/// A block that somebody holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: Place,
    pub(crate) handle: Handle,
    pub(crate) id: BlockId,
}

/// The highest number of bytes in use since the run began, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    in_use_bytes: Bytes,
    event: usize,
}

/// All arenas and the trace.
pub(crate) struct Machine {
    host: Arena,
    device: Option<Arena>,
    pinned: Arena,
    host_peak: Peak,
    device_peak: Peak,
    /// What each arena held when that was last written down.
    held_bytes: BTreeMap<Place, Bytes>,
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
    pub(crate) patterns: BTreeMap<(usize, u64), Rc<PatternGroup>>,
    /// Weights that exist only in packed form: a body that captures one is fed an empty value.
    pub(crate) released_weights: BTreeSet<String>,
}

impl Machine {
    pub(crate) fn new(options: &SimulateOptions) -> Self {
        Self {
            host: Arena::new(options.host_arena.clone()),
            device: options.device_arena.clone().map(Arena::new),
            pinned: Arena::new(ArenaConfig::default()),
            host_peak: Peak::default(),
            device_peak: Peak::default(),
            held_bytes: BTreeMap::new(),
            trace: Trace::default(),
            n_threads: options.n_threads,
            release: options.release,
            compute_capability: options.compute_capability,
            workspace_bound: options.workspace_bound,
            has_bands: false,
            mem_pattern: options.mem_pattern,
            patterns: BTreeMap::new(),
            released_weights: BTreeSet::new(),
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
        owner: Owner,
    ) -> Result<Held, ArenaError> {
        // Only the device arena knows streams.
        let stream = stream.filter(|_| place == Place::Device);
        let handle = self.arena(place).alloc(bytes, stream)?;
        Ok(self.record(place, handle, false, owner))
    }

    pub(crate) fn reserve(&mut self, place: Place, bytes: Bytes, owner: Owner) -> Result<Held, ArenaError> {
        let handle = self.arena(place).reserve(bytes)?;
        Ok(self.record(place, handle, true, owner))
    }

    fn record(&mut self, place: Place, handle: Handle, reserved: bool, owner: Owner) -> Held {
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
            let in_use_bytes = self.arena(place).stats().in_use_bytes;
            let peak = match place {
                Place::Device => &mut self.device_peak,
                _ => &mut self.host_peak,
            };
            if place != Place::Pinned && in_use_bytes > peak.in_use_bytes {
                *peak = Peak { in_use_bytes, event };
            }
        }
        Held { place, handle, id }
    }

    pub(crate) fn free(&mut self, held: Held) {
        if held.handle != Handle::NULL {
            self.arena(held.place).free(held.handle);
            self.trace.push(Event::Free { id: held.id, place: held.place });
            self.note_held(held.place);
        }
    }

    /// Writes down what an arena holds, if that changed.
    fn note_held(&mut self, place: Place) {
        let total_allocated_bytes = self.arena(place).stats().total_allocated_bytes;
        if self.held_bytes.insert(place, total_allocated_bytes) != Some(total_allocated_bytes) {
            self.trace.push(Event::Held { place, total_allocated_bytes });
        }
    }

    /// A new run: peaks are its own from here.
    pub(crate) fn begin_run(&mut self) {
        let event = self.trace.push(Event::RunBegins);
        self.host.restart_peak();
        self.host_peak = Peak { in_use_bytes: self.host.stats().in_use_bytes, event };
        if let Some(device) = &mut self.device {
            device.restart_peak();
            self.device_peak = Peak { in_use_bytes: device.stats().in_use_bytes, event };
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
    pub(crate) const fn peak_events(&self) -> (usize, usize) {
        (self.host_peak.event, self.device_peak.event)
    }

    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }
}
