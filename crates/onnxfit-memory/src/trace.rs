//! Every allocation of a session, in order, with its owner.
//!
//! The trace is the one product that reports, timelines and findings are made from. Replaying its
//! events gives the bytes in use at any moment; the parts always sum to the whole.

use std::rc::Rc;

use onnxfit_base::Bytes;

use crate::arena::ArenaStats;
use crate::program::Place;

/// What a block of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKind {
    /// A weight as the model stores it.
    Weight,
    /// A weight as a kernel repacked it.
    Prepacked,
    /// A feed copied to the device.
    Feed,
    /// A result of a node.
    Activation,
    /// A result that the caller takes.
    Output,
    /// A device result copied back to host memory.
    OutputCopy,
    /// Memory that a kernel uses while it runs.
    Scratch,
    /// The block of a memory pattern; tensors lie inside it.
    PatternBlock,
    /// Bytes of a pattern block that no tensor uses at that moment.
    PatternGap,
}

impl OwnerKind {
    /// The word used in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Prepacked => "prepacked weight",
            Self::Feed => "feed",
            Self::Activation => "activation",
            Self::Output => "output",
            Self::OutputCopy => "output copy",
            Self::Scratch => "scratch",
            Self::PatternBlock => "memory pattern",
            Self::PatternGap => "memory pattern gap",
        }
    }
}

/// Who a block belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// What it is for.
    pub kind: OwnerKind,
    /// The tensor, or what the scratch is.
    pub name: Rc<str>,
    /// The node that made it; empty for weights and feeds.
    pub node: Rc<str>,
    /// That node's operator.
    pub op_type: Rc<str>,
}

/// The number of an allocation, unique within a trace.
pub type BlockId = u32;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session is loaded.
    Loaded,
    /// A run begins.
    RunBegins,
    /// A run ended, before the caller released its outputs.
    RunEnds,
    /// A node begins.
    Node {
        /// Its name.
        name: Rc<str>,
        /// Its operator.
        op_type: Rc<str>,
    },
    /// An arena took memory from its device or gave some back, for what follows.
    Held {
        /// Which arena.
        place: Place,
        /// What it holds from now on (`TotalAllocated`).
        total_allocated_bytes: Bytes,
    },
    /// Memory was taken from an arena.
    Alloc {
        /// Its number.
        id: BlockId,
        /// Which arena.
        place: Place,
        /// Bytes that were asked for.
        requested_bytes: Bytes,
        /// Bytes that the arena counts.
        bytes: Bytes,
        /// Where it lies.
        address: u64,
        /// Whether it bypassed the arena's regions.
        reserved: bool,
        /// Whose it is.
        owner: Owner,
    },
    /// It was given back.
    Free {
        /// Its number.
        id: BlockId,
        /// Which arena.
        place: Place,
    },
    /// A tensor was put into a pattern block that was taken before.
    Put {
        /// The block.
        block: BlockId,
        /// The tensor's number.
        id: BlockId,
        /// Its distance from the start of the block.
        offset_bytes: Bytes,
        /// Its rounded size.
        bytes: Bytes,
        /// Whose it is.
        owner: Owner,
    },
    /// That tensor is dead.
    Drop {
        /// The tensor's number.
        id: BlockId,
    },
}

/// All events of a session, and where the peaks were.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order.
    pub events: Vec<Event>,
    next_id: BlockId,
}

impl Trace {
    /// The next block number.
    pub(crate) fn fresh_id(&mut self) -> BlockId {
        self.next_id += 1;
        self.next_id
    }

    /// Appends an event and returns its position.
    pub(crate) fn push(&mut self, event: Event) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }
}

/// The counters of one arena at a moment worth keeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The counters.
    pub stats: ArenaStats,
}
