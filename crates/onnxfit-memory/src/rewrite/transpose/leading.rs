//! Values from which a transpose is reached through nodes that can be transposed.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};

use super::handlers::handler;
use super::perm::invert;
use super::push::is_comprehensive;
use crate::releases::{FormerRule, Release, holds};
use crate::rewrite::net::{ArgId, Net, OpId};

/// Which transposes lie ahead of each value.
pub(super) struct Leading {
    /// Values with a transpose ahead, whatever lies between.
    any: HashSet<ArgId>,
    /// The transposes that are reached without passing a graph output or a body.
    perms: HashMap<ArgId, BTreeSet<Vec<i64>>>,
    /// Whether any transpose ahead counts, as before 1.31.
    anywhere: bool,
}

impl Leading {
    /// Walks from the last node to the first.
    pub(super) fn find(net: &Net, order: &[OpId], release: Release) -> Self {
        let (mut any, mut perms) = (HashSet::new(), HashMap::<ArgId, BTreeSet<Vec<i64>>>::new());
        for id in order.iter().rev() {
            let op = net.op(*id);
            if op.is("Transpose") {
                if let Some(input) = op.input(0) {
                    any.insert(input);
                    perms.entry(input).or_default().insert(op.ints("perm").unwrap_or_default().to_vec());
                }
                continue;
            }
            if !op.outputs.iter().flatten().any(|output| any.contains(output)) {
                continue;
            }
            let Some(handler) = handler(op).filter(|handler| handler.transposes_outputs) else { continue };
            let passable = op.outputs.iter().flatten().filter(|output| is_comprehensive(net, **output));
            let ahead: BTreeSet<Vec<i64>> =
                passable.filter_map(|output| perms.get(output)).flatten().cloned().collect();
            for input in (handler.inputs)(net, *id).into_iter().filter_map(|slot| op.input(slot)) {
                any.insert(input);
                perms.entry(input).or_default().extend(ahead.iter().cloned());
            }
        }
        Self { any, perms, anywhere: holds(FormerRule::AnyTransposeAhead, release) }
    }

    /// Whether a transpose that is pushed to this value is expected to meet another. Where several
    /// nodes read the value, only one that cancels it counts; at a graph output none does.
    pub(super) fn meets(&self, net: &Net, value: ArgId, perm: &[i64]) -> bool {
        if self.anywhere || !self.any.contains(&value) {
            return self.any.contains(&value);
        }
        let mut readers = net.arg(value).uses.iter().map(|reading| reading.op);
        let first = readers.next();
        is_comprehensive(net, value)
            && (readers.all(|reader| Some(reader) == first)
                || self.perms.get(&value).is_some_and(|ahead| ahead.contains(&invert(perm))))
    }
}
