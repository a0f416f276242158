//! Every allocation of a session, in order, with its owner.
//!
//! The trace is the one product that reports, timelines and findings are made from. Replaying its
//! events gives the bytes in use at any moment; the parts always sum to the whole.

use std::rc::Rc;
use std::sync::Arc;

use onnxfit_base::Bytes;

use crate::program::{NodeIdx, Place, Program, ValueIdx};

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

/// A node of one of the session's programs; [`Trace::node_name`] tells its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// The number of the program: 0 is the main one, bodies follow.
    pub(crate) program: u32,
    pub(crate) node: NodeIdx,
}

/// Who a block belongs to, by number; [`Trace::owner`] tells the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// What it is for.
    pub kind: OwnerKind,
    pub(crate) name: NameRef,
    pub(crate) node: Option<NodeRef>,
}

impl OwnerRef {
    /// The node that made it; none for weights and feeds.
    pub fn node(self) -> Option<NodeRef> {
        self.node
    }
}

/// What an owner is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRef {
    /// As a value of a program.
    Value(u32, ValueIdx),
    /// As what it is.
    What(&'static str),
}

/// The number of an allocation, unique within a trace.
pub type BlockId = u32;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session is loaded.
    Loaded,
    /// A run begins.
    RunBegins,
    /// A run ended, before the caller released its outputs.
    RunEnds,
    /// A node begins.
    Node(NodeRef),
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
        owner: OwnerRef,
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
        owner: OwnerRef,
    },
    /// That tensor is dead.
    Drop {
        /// The tensor's number.
        id: BlockId,
    },
}

/// All events of a session, and the programs that its owners are named in.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order.
    pub events: Vec<Event>,
    programs: Vec<Arc<Program>>,
    next_id: BlockId,
}

impl Trace {
    /// An empty trace of a session that runs these programs.
    pub(crate) fn of(programs: Vec<Arc<Program>>) -> Self {
        Self { programs, ..Self::default() }
    }

    /// The name and the operator of a node.
    pub fn node_name(&self, node: NodeRef) -> (&str, &str) {
        let known = self.programs.get(node.program as usize).and_then(|program| program.nodes.get(node.node.index()));
        known.map_or(("", ""), |node| (&node.name, &node.op_type))
    }

    /// What an owner is called.
    pub fn name(&self, owner: OwnerRef) -> &str {
        match owner.name {
            NameRef::What(what) => what,
            NameRef::Value(program, value) => {
                let program = self.programs.get(program as usize);
                program.and_then(|program| program.values.get(value.index())).map_or("", |value| &value.name)
            }
        }
    }

    /// The owner behind a number.
    pub fn owner(&self, owner: OwnerRef) -> Owner {
        let (node, op_type) = owner.node.map_or(("", ""), |node| self.node_name(node));
        Owner { kind: owner.kind, name: self.name(owner).into(), node: node.into(), op_type: op_type.into() }
    }

    /// One more than the highest number of a block.
    pub(crate) fn id_bound(&self) -> usize {
        self.next_id as usize + 1
    }

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

    /// Appends the events from `first` on once more, blocks from `first_id` on under new numbers:
    /// a run that goes like the one before.
    pub(crate) fn repeat(&mut self, first: usize, first_id: BlockId) {
        let step = self.next_id + 1 - first_id;
        let renumber = |id: &mut BlockId| {
            if *id >= first_id {
                *id += step;
            }
        };
        for at in first..self.events.len() {
            let mut event = self.events[at];
            match &mut event {
                Event::Alloc { id, .. } | Event::Free { id, .. } | Event::Drop { id } => renumber(id),
                Event::Put { block, id, .. } => {
                    renumber(block);
                    renumber(id);
                }
                Event::Loaded | Event::RunBegins | Event::RunEnds | Event::Node(_) | Event::Held { .. } => {}
            }
            self.events.push(event);
        }
        self.next_id += step;
    }
}
