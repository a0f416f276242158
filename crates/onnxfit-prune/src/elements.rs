//! Every index of every axis, and which of them must go together.
//!
//! An element is one index of one axis of one value: output channel 3 of a kernel, feature 17 of an
//! activation. Elements that an operator couples are united; an element that nobody proved free is
//! pinned, and with it all that it is united with. Only axes of a fixed size of at least two have
//! elements; sizes that depend on the input stay as they are.

use onnxfit_graph::{Graph, ValueId};
use onnxfit_shape::GraphFacts;

/// Elements of one model; far more than any real model has channels.
const N_ELEMENTS_MAX: usize = 1 << 26;

/// An axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis {
    /// The value.
    pub value: ValueId,
    /// Which of its axes.
    pub axis: usize,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    start: usize,
    size: usize,
}

/// All elements of a graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    /// By value, by axis; `None` where an axis is not followed.
    extents: Vec<Vec<Option<Extent>>>,
    parent: Vec<u32>,
    is_pinned: Vec<bool>,
}

impl Elements {
    /// The elements of all axes of a fixed size, each alone; `None` if there are too many.
    pub(crate) fn of(graph: &Graph, facts: &GraphFacts) -> Option<Self> {
        let mut elements = Self::default();
        let mut n_elements = 0usize;
        for (id, _) in graph.values() {
            let shape = facts.get(id).and_then(|fact| fact.shape.as_deref()).unwrap_or_default();
            let mut extents = Vec::with_capacity(shape.len());
            for dim in shape {
                let size = dim.as_constant().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 1);
                extents.push(size.map(|size| Extent { start: n_elements, size }));
                n_elements = n_elements.checked_add(size.unwrap_or(0)).filter(|n| *n <= N_ELEMENTS_MAX)?;
            }
            elements.extents.push(extents);
        }
        elements.parent = (0..n_elements as u32).collect();
        elements.is_pinned = vec![false; n_elements];
        Some(elements)
    }

    /// How many axes a value has.
    pub(crate) fn rank(&self, value: ValueId) -> usize {
        self.extents.get(value.index()).map_or(0, Vec::len)
    }

    fn extent(&self, axis: Axis) -> Option<Extent> {
        self.extents.get(axis.value.index())?.get(axis.axis).copied().flatten()
    }

    /// The size of an axis that is followed.
    pub(crate) fn size(&self, axis: Axis) -> Option<usize> {
        self.extent(axis).map(|extent| extent.size)
    }

    /// The number of an element, which [`Self::root`] takes.
    pub(crate) fn at(&self, axis: Axis, index: usize) -> Option<usize> {
        let extent = self.extent(axis)?;
        (index < extent.size).then_some(extent.start + index)
    }

    /// Who stands for all that an element is united with.
    pub(crate) fn root(&mut self, element: usize) -> usize {
        let mut at = element;
        while self.parent[at] as usize != at {
            let above = self.parent[at] as usize;
            self.parent[at] = self.parent[above];
            at = above;
        }
        at
    }

    /// Unites two elements; one that is not there pins the other.
    pub(crate) fn unite(&mut self, one: Option<usize>, other: Option<usize>) {
        match (one, other) {
            (Some(one), Some(other)) => {
                let (one, other) = (self.root(one), self.root(other));
                let (low, high) = (one.min(other), one.max(other));
                self.parent[high] = low as u32;
                self.is_pinned[low] |= self.is_pinned[high];
            }
            (Some(lone), None) | (None, Some(lone)) => self.pin(lone),
            (None, None) => {}
        }
    }

    /// Keeps an element, and all that it is united with.
    pub(crate) fn pin(&mut self, element: usize) {
        let root = self.root(element);
        self.is_pinned[root] = true;
    }

    /// Keeps a whole axis.
    pub(crate) fn pin_axis(&mut self, axis: Axis) {
        if let Some(extent) = self.extent(axis) {
            (extent.start..extent.start + extent.size).for_each(|element| self.pin(element));
        }
    }

    /// Whether an element must stay.
    pub(crate) fn is_pinned(&mut self, element: usize) -> bool {
        let root = self.root(element);
        self.is_pinned[root]
    }
}
