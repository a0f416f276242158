//! What the twin says is in use when each kernel returns.
//!
//! ONNX Runtime reads the counters after a kernel and before the values that die with it are
//! released (`KernelScope`, sequential_executor.cc, ORT 1.31): results and memory pattern are
//! there, scratch is gone.

use std::collections::BTreeSet;
use std::rc::Rc;

use onnxfit_base::Bytes;
use onnxfit_memory::program::Place;
use onnxfit_memory::trace::{BlockId, Event, OwnerKind, Trace};

use crate::request::Provider;

/// A node as its kernel leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) name: Rc<str>,
    pub(super) op_type: Rc<str>,
    pub(super) in_use: Bytes,
    pub(super) held: Bytes,
}

fn place_of(provider: Provider) -> Place {
    match provider {
        Provider::Cpu => Place::Host,
        Provider::Cuda => Place::Device,
    }
}

/// The nodes of each run in order; those with a body are left out, for their end is not marked.
pub(super) fn course(trace: &Trace, provider: Provider) -> Vec<Vec<Moment>> {
    let place = place_of(provider);
    let mut runs: Vec<Vec<Moment>> = Vec::new();
    let mut sizes = std::collections::BTreeMap::<BlockId, (Bytes, OwnerKind)>::new();
    let (mut in_use, mut held) = (Bytes::ZERO, Bytes::ZERO);
    let mut open: Option<Moment> = None;
    let mut scratch = BTreeSet::<BlockId>::new();
    let mut in_run = false;
    for event in &trace.events {
        match event {
            Event::RunBegins => {
                in_run = true;
                runs.push(Vec::new());
            }
            Event::RunEnds => {
                in_run = false;
                close(&mut open, &mut runs);
            }
            Event::Node(node) => {
                close(&mut open, &mut runs);
                scratch.clear();
                let (name, op_type) = trace.node_name(*node);
                if in_run && !has_body(op_type) {
                    open = Some(Moment { name: name.into(), op_type: op_type.into(), in_use, held });
                }
            }
            Event::Held { place: where_, total_allocated_bytes } if *where_ == place => held = *total_allocated_bytes,
            Event::Alloc { id, place: where_, bytes, owner, .. } if *where_ == place => {
                sizes.insert(*id, (*bytes, owner.kind));
                in_use += *bytes;
                if owner.kind == OwnerKind::Scratch {
                    scratch.insert(*id);
                }
            }
            Event::Free { id, .. } => {
                let block = sizes.remove(id);
                if !scratch.remove(id) {
                    // The first value to die: the kernel has returned.
                    close(&mut open, &mut runs);
                }
                if let Some((bytes, _)) = block {
                    in_use -= bytes;
                }
            }
            Event::Drop { .. } => close(&mut open, &mut runs),
            _ => {}
        }
        if let Some(moment) = &mut open {
            (moment.in_use, moment.held) = (in_use, held);
        }
    }
    close(&mut open, &mut runs);
    runs
}

fn close(open: &mut Option<Moment>, runs: &mut [Vec<Moment>]) {
    if let (Some(moment), Some(run)) = (open.take(), runs.last_mut()) {
        run.push(moment);
    }
}

/// Whether a node runs other nodes.
pub(super) fn has_body(op_type: &str) -> bool {
    matches!(op_type, "If" | "Loop" | "Scan" | "SequenceMap")
}

/// The regions that the arena takes, in order; reserved blocks are no regions.
pub(super) fn extensions(trace: &Trace, provider: Provider) -> Vec<Bytes> {
    let place = place_of(provider);
    let mut extensions = Vec::new();
    let mut held = Bytes::ZERO;
    for (index, event) in trace.events.iter().enumerate() {
        let Event::Held { place: where_, total_allocated_bytes } = event else { continue };
        if *where_ != place {
            continue;
        }
        let grown = total_allocated_bytes.saturating_sub(held);
        held = *total_allocated_bytes;
        let reserved = trace.events[index + 1..].iter().find_map(|event| match event {
            Event::Alloc { place: where_, reserved, .. } if *where_ == place => Some(*reserved),
            _ => None,
        });
        if grown > Bytes::ZERO && reserved != Some(true) {
            extensions.push(grown);
        }
    }
    extensions
}
