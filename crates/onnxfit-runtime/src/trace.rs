//! An allocator of ours inside ONNX Runtime: records every request, and each run's own peak.
//!
//! Registered with the environment in place of the CPU arena. Either it takes memory from the
//! system itself, or it passes every call on to a real arena and reads the arena's counters
//! after each, which is how the peak of one run alone is learnt from an arena whose own peak
//! never falls.
#![allow(unsafe_code)] // ONNX Runtime calls an allocator through C function pointers.

use std::alloc::Layout;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use onnxfit_base::Bytes;
use ort::AsPointer;
use ort::memory::{Allocator, AllocatorType, MemoryInfo};
use ort::sys;
use serde::{Deserialize, Serialize};

use crate::library::{Library, lock};
use crate::{RunError, arena, json_bytes};

/// One request to the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AllocationEvent {
    /// `Alloc`.
    Alloc {
        /// Counts requests from zero.
        id: u64,
        /// Bytes asked for.
        #[serde(with = "json_bytes")]
        bytes: Bytes,
    },
    /// `Reserve`, as prepacked weights do.
    Reserve {
        /// Counts requests from zero.
        id: u64,
        /// Bytes asked for.
        #[serde(with = "json_bytes")]
        bytes: Bytes,
    },
    /// `Free` of an earlier request.
    Free {
        /// The request's number.
        id: u64,
    },
}

impl std::fmt::Display for AllocationEvent {
    /// `a ID BYTES`, `r ID BYTES` or `f ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alloc { id, bytes } => write!(f, "a {id} {}", bytes.get()),
            Self::Reserve { id, bytes } => write!(f, "r {id} {}", bytes.get()),
            Self::Free { id } => write!(f, "f {id}"),
        }
    }
}

/// What the allocator saw since the last [`crate::Session::take_trace`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Requests and releases in order; ended early by `truncated`.
    pub events: Vec<AllocationEvent>,
    /// Whether there were more events than are kept.
    pub truncated: bool,
    /// Bytes in use at the end: as requested, or as the arena counts them.
    #[serde(with = "json_bytes", rename = "in_use_bytes")]
    pub in_use: Bytes,
    /// The highest number of bytes in use since the last call.
    #[serde(with = "json_bytes", rename = "peak_in_use_bytes")]
    pub peak_in_use: Bytes,
    /// Whether an allocation was refused.
    pub refused: bool,
}

/// Events kept between two calls.
const EVENTS_MAX: usize = 4_000_000;
/// What ONNX Runtime's CPU allocator aligns to for AVX-512, and the arena's quantum.
const ALIGNMENT_BYTES: usize = 256;

/// The allocator; `base` comes first because ONNX Runtime sees only that part.
#[repr(C)]
pub(crate) struct Tracer {
    base: sys::OrtAllocator,
    info: MemoryInfo<'static>,
    inner: Option<Inner>,
    state: Mutex<State>,
}

/// The arena behind, and the session that owns it.
struct Inner {
    arena: Allocator,
    _owner: ort::session::Session,
}

#[derive(Default)]
struct State {
    live: HashMap<usize, Live>,
    next_id: u64,
    trace: Trace,
}

struct Live {
    id: u64,
    bytes: usize,
}

// SAFETY: the state is behind a mutex; the arena behind locks itself (`BFCArena` holds a mutex in
// every call); the info is read-only.
unsafe impl Send for Tracer {}
// SAFETY: as above.
unsafe impl Sync for Tracer {}

impl Tracer {
    /// Takes memory from the system.
    pub(crate) fn system() -> Result<Arc<Self>, RunError> {
        Ok(Arc::new(Self::new(arena::cpu_info(AllocatorType::Device)?, None)))
    }

    /// Passes every call on to the CPU arena of `owner`.
    pub(crate) fn over_arena(owner: ort::session::Session) -> Result<Arc<Self>, RunError> {
        let arena = arena::arena_of(&owner, arena::Device::Cpu, 0)?;
        let info = arena::cpu_info(AllocatorType::Device)?;
        Ok(Arc::new(Self::new(info, Some(Inner { arena, _owner: owner }))))
    }

    fn new(info: MemoryInfo<'static>, inner: Option<Inner>) -> Self {
        let base = sys::OrtAllocator {
            // ONNX Runtime reads only what this version had: nothing after `GetStats` here.
            version: sys::ORT_API_VERSION,
            Alloc: Some(alloc),
            Free: Some(free),
            Info: Some(info_of),
            Reserve: Some(reserve),
            GetStats: None,
            AllocOnStream: None,
        };
        Self { base, info, inner, state: Mutex::default() }
    }

    /// Registers itself, makes a session, and takes itself out again. Every value and session
    /// that was made meanwhile must be dropped before `self` is.
    pub(crate) fn with_registered<T>(
        self: &Arc<Self>,
        library: &Library,
        make: impl FnOnce() -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let _alone = library.lock_registration();
        let environment = library.environment.ptr().cast_mut();
        let pointer = Arc::as_ptr(self).cast::<sys::OrtAllocator>().cast_mut();
        // SAFETY: `base` is the first field of a `repr(C)` struct, and the Arc keeps it in place
        // for as long as the session that will use it.
        arena::check(unsafe { (ort::api().RegisterAllocator)(environment, pointer) })
            .map_err(|error| arena::load_failure(&error))?;
        let made = make();
        // SAFETY: environment and info are alive.
        arena::check(unsafe { (ort::api().UnregisterAllocator)(environment, self.info.ptr()) })
            .map_err(|error| arena::load_failure(&error))?;
        made
    }

    /// What was seen since the last call; the peak starts again from what is in use now.
    pub(crate) fn take(&self) -> Trace {
        let mut state = lock(&self.state);
        let in_use = state.trace.in_use;
        let next = Trace { in_use, peak_in_use: in_use, ..Trace::default() };
        std::mem::replace(&mut state.trace, next)
    }

    /// The arena behind, if there is one.
    pub(crate) fn arena(&self) -> Option<&Allocator> {
        self.inner.as_ref().map(|inner| &inner.arena)
    }

    fn request(&self, bytes: usize, reserve: bool) -> *mut c_void {
        if bytes == 0 {
            return std::ptr::null_mut();
        }
        let mut state = lock(&self.state);
        let block = match &self.inner {
            None => Self::system_block(bytes),
            Some(inner) => inner.request(bytes, reserve),
        };
        if block.is_null() {
            state.trace.refused = true;
            return block;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.live.insert(block as usize, Live { id, bytes });
        let size = Bytes(bytes as u64);
        state.event(if reserve {
            AllocationEvent::Reserve { id, bytes: size }
        } else {
            AllocationEvent::Alloc { id, bytes: size }
        });
        state.trace.in_use = match &self.inner {
            None => state.trace.in_use + size,
            Some(inner) => inner.in_use(),
        };
        state.trace.peak_in_use = state.trace.peak_in_use.max(state.trace.in_use);
        block
    }

    fn release(&self, block: *mut c_void) {
        if block.is_null() {
            return;
        }
        let mut state = lock(&self.state);
        let Some(Live { id, bytes }) = state.live.remove(&(block as usize)) else { return };
        state.event(AllocationEvent::Free { id });
        match &self.inner {
            None => {
                // SAFETY: the block is one of ours (it was in `live`), of this size and alignment,
                // and is released once because it was just taken out.
                unsafe { std::alloc::dealloc(block.cast(), Self::layout(bytes).expect("it had a layout when made")) };
                state.trace.in_use -= Bytes(bytes as u64);
            }
            Some(inner) => {
                // SAFETY: the arena handed this block out and gets it back once.
                unsafe { inner.arena.free(block) };
                state.trace.in_use = inner.in_use();
            }
        }
    }

    fn layout(bytes: usize) -> Option<Layout> {
        // Some kernels read up to a vector past the end, as they may in the arena's rounded chunks.
        let padded = bytes.checked_next_multiple_of(ALIGNMENT_BYTES)?;
        Layout::from_size_align(padded, ALIGNMENT_BYTES).ok()
    }

    fn system_block(bytes: usize) -> *mut c_void {
        // SAFETY: the layout's size is not zero, because `bytes` is not.
        Self::layout(bytes).map_or(std::ptr::null_mut(), |layout| unsafe { std::alloc::alloc(layout) }.cast())
    }
}

impl State {
    fn event(&mut self, event: AllocationEvent) {
        if self.trace.events.len() < EVENTS_MAX {
            self.trace.events.push(event);
        } else {
            self.trace.truncated = true;
        }
    }
}

impl Inner {
    fn request(&self, bytes: usize, reserve: bool) -> *mut c_void {
        let arena = self.arena.ptr().cast_mut();
        if reserve {
            // SAFETY: the arena is alive as long as `self`. The C interface has no checked
            // `Reserve`; it takes memory from the system and is refused only when that is spent.
            return unsafe {
                match (*arena).Reserve {
                    Some(reserve) => reserve(arena, bytes),
                    None => std::ptr::null_mut(),
                }
            };
        }
        let mut block = std::ptr::null_mut();
        // The checked call: an exception of the arena becomes a status, and never crosses Rust.
        // SAFETY: the arena is alive as long as `self`.
        match arena::check(unsafe { (ort::api().AllocatorAlloc)(arena, bytes, &mut block) }) {
            Ok(()) => block,
            Err(_) => std::ptr::null_mut(),
        }
    }

    fn in_use(&self) -> Bytes {
        // SAFETY: the arena is alive as long as `self`.
        unsafe { arena::stats_of(self.arena.ptr()) }.map_or(Bytes::ZERO, |stats| stats.in_use)
    }
}

/// # Safety
/// `allocator` is the `base` of a live `Tracer`.
unsafe fn tracer<'a>(allocator: *const sys::OrtAllocator) -> &'a Tracer {
    // SAFETY: `base` is the first field of a `repr(C)` struct; the caller's promise for the rest.
    unsafe { &*allocator.cast::<Tracer>() }
}

unsafe extern "system" fn alloc(allocator: *mut sys::OrtAllocator, bytes: usize) -> *mut c_void {
    // SAFETY: ONNX Runtime calls this with the allocator that was registered.
    unsafe { tracer(allocator) }.request(bytes, false)
}

unsafe extern "system" fn reserve(allocator: *const sys::OrtAllocator, bytes: usize) -> *mut c_void {
    // SAFETY: as above.
    unsafe { tracer(allocator) }.request(bytes, true)
}

unsafe extern "system" fn free(allocator: *mut sys::OrtAllocator, block: *mut c_void) {
    // SAFETY: as above.
    unsafe { tracer(allocator) }.release(block);
}

unsafe extern "system" fn info_of(allocator: *const sys::OrtAllocator) -> *const sys::OrtMemoryInfo {
    // SAFETY: as above; the info lives as long as the tracer.
    unsafe { tracer(allocator) }.info.ptr()
}
