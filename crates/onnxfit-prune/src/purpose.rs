//! What whole axes are for: a first, coarse look, from which the choice is made which of several
//! axes in one is to be cut.

use std::collections::BTreeMap;

use crate::elements::Axis;

/// Axes united as wholes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purposes {
    number: BTreeMap<Axis, usize>,
    parent: Vec<usize>,
    is_pinned: Vec<bool>,
    counts_heads: Vec<bool>,
    /// An axis, and those that it is the product of.
    products: Vec<(Axis, Vec<Axis>)>,
}

impl Purposes {
    fn root(&mut self, axis: Axis) -> usize {
        let fresh = self.parent.len();
        let mut at = *self.number.entry(axis).or_insert(fresh);
        if at == fresh {
            self.parent.push(fresh);
            self.is_pinned.push(false);
            self.counts_heads.push(false);
        }
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    pub(crate) fn unite(&mut self, one: Axis, other: Axis) {
        let (one, other) = (self.root(one), self.root(other));
        let (low, high) = (one.min(other), one.max(other));
        self.parent[high] = low;
        self.is_pinned[low] |= self.is_pinned[high];
        self.counts_heads[low] |= self.counts_heads[high];
    }

    pub(crate) fn pin(&mut self, axis: Axis) {
        let root = self.root(axis);
        self.is_pinned[root] = true;
    }

    pub(crate) fn mark_heads(&mut self, axis: Axis) {
        let root = self.root(axis);
        self.counts_heads[root] = true;
    }

    /// An axis holds the elements of several, one after the other.
    pub(crate) fn note_product(&mut self, whole: Axis, parts: Vec<Axis>) {
        self.products.push((whole, parts));
    }

    /// What counts heads is made of heads: of those of the keys, and of how often each is repeated.
    /// The features that heads are cut from count none.
    pub(crate) fn settle(&mut self) {
        let products = std::mem::take(&mut self.products);
        loop {
            let n_heads = self.counts_heads.iter().filter(|counts| **counts).count();
            for (whole, parts) in &products {
                if self.counts_heads(*whole) {
                    parts.iter().for_each(|part| self.mark_heads(*part));
                }
            }
            if self.counts_heads.iter().filter(|counts| **counts).count() == n_heads {
                break;
            }
        }
    }

    pub(crate) fn is_pinned(&mut self, axis: Axis) -> bool {
        let root = self.root(axis);
        self.is_pinned[root]
    }

    pub(crate) fn counts_heads(&mut self, axis: Axis) -> bool {
        let root = self.root(axis);
        self.counts_heads[root]
    }
}
