//! Values from which a transpose is reached through nodes that can be transposed.

use std::collections::{BTreeSet, HashMap};

use super::handlers::handler;
use super::perm::invert;
use super::push::is_comprehensive;
use crate::releases::{FormerRule, Release, holds};
use crate::rewrite::net::{ArgId, Net, OpId};

/// Which transposes lie ahead of each value.
pub(super) struct Leading {
    perms: HashMap<ArgId, BTreeSet<Vec<i64>>>,
    anywhere: bool,
}

impl Leading {
    /// Walks from the last node to the first.
    pub(super) fn find(net: &Net, order: &[OpId], release: Release) -> Self {
        let mut perms: HashMap<ArgId, BTreeSet<Vec<i64>>> = HashMap::new();
        for id in order.iter().rev() {
            let op = net.op(*id);
            if op.is("Transpose") {
                if let Some(input) = op.input(0) {
                    perms.entry(input).or_default().insert(op.ints("perm").unwrap_or_default().to_vec());
                }
                continue;
            }
            let ahead: BTreeSet<Vec<i64>> =
                op.outputs.iter().flatten().filter_map(|output| perms.get(output)).flatten().cloned().collect();
            if !ahead.is_empty()
                && let Some(handler) = handler(op).filter(|handler| handler.transposes_outputs)
            {
                for input in (handler.inputs)(net, *id).into_iter().filter_map(|slot| op.input(slot)) {
                    perms.entry(input).or_default().extend(ahead.iter().cloned());
                }
            }
        }
        Self { perms, anywhere: holds(FormerRule::AnyTransposeAhead, release) }
    }

    /// Whether a transpose that is pushed to this value is expected to meet another. Where several
    /// nodes read the value, only one that cancels it counts.
    pub(super) fn meets(&self, net: &Net, value: ArgId, perm: &[i64]) -> bool {
        self.perms.get(&value).is_some_and(|ahead| {
            let one_reader = || is_comprehensive(net, value) && net.arg(value).uses.len() <= 1;
            self.anywhere || one_reader() || ahead.contains(&invert(perm))
        })
    }
}
