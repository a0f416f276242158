//! What a rule sees of its node, and what it can say: these axes go together, this one stays.
//!
//! Every rule is run twice. The first time whole axes are united, which tells what an axis is for:
//! whether anything pins it, and whether it counts attention heads. The second time elements are
//! united; where an operator splits one axis into several, the first run's knowledge decides which
//! of them is to be cut.

use std::collections::BTreeSet;

use onnxfit_graph::{Graph, Node, NodeId, ValueId};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_shape::{Expr, Fact, GraphFacts};

use crate::blocks::{Factor, Side};
use crate::elements::{Axis, Elements};
use crate::purpose::Purposes;

/// How much of the graph is united at once.
pub(crate) enum Level<'a> {
    /// Whole axes.
    Axes(&'a mut Purposes),
    /// Single elements, knowing what the axes are for.
    Elements(&'a mut Elements, &'a mut Purposes),
    /// Nothing: the node is only looked at.
    Nothing,
}

/// A node under a rule.
pub(crate) struct Context<'a, 'b> {
    pub(crate) graph: &'a Graph,
    pub(crate) node: &'a Node,
    pub(crate) id: NodeId,
    pub(crate) facts: &'a GraphFacts,
    pub(crate) opset: i64,
    pub(crate) level: &'b mut Level<'a>,
    pub(crate) sizes: &'a Elements,
    /// Axes of which the rule spoke; the node's others stay.
    pub(crate) named: BTreeSet<Axis>,
}

impl Context<'_, '_> {
    /// What is known of an input.
    pub(crate) fn input_fact(&self, input: usize) -> Option<&Fact> {
        self.facts.get(self.node.input(input)?)
    }

    /// The shape of a value.
    pub(crate) fn shape(&self, value: ValueId) -> Option<&[Expr]> {
        self.facts.get(value)?.shape.as_deref()
    }

    /// The rank of a value, if it is known.
    pub(crate) fn rank(&self, value: ValueId) -> Option<usize> {
        self.shape(value).map(<[Expr]>::len)
    }

    /// An axis counted from the front; negative ones count from the end.
    pub(crate) fn axis_of(&self, value: ValueId, axis: i64) -> Option<Axis> {
        let rank = i64::try_from(self.rank(value)?).ok()?;
        let axis = if axis < 0 { axis + rank } else { axis };
        (0..rank).contains(&axis).then_some(Axis { value, axis: axis as usize })
    }

    /// The fixed size of an axis; `None` if it depends on the input.
    pub(crate) fn size(&self, axis: Axis) -> Option<i64> {
        self.shape(axis.value)?.get(axis.axis)?.as_constant()
    }

    /// A fixed tensor's known whole numbers.
    pub(crate) fn input_ints(&self, input: usize) -> Option<Vec<i64>> {
        self.input_fact(input)?.known_ints()
    }

    /// Whether a value is fixed.
    pub(crate) fn constant(&self, value: ValueId) -> Option<&TensorProto> {
        self.graph.constant_tensor(value).map(|tensor| &**tensor)
    }

    /// Every index of the two goes together. Sizes that differ pin both; a size that is not fixed
    /// pins the other, unless they are the same formula.
    pub(crate) fn tie(&mut self, one: Axis, other: Axis) {
        self.named.extend([one, other]);
        let (first, second) = (self.sizes.size(one), self.sizes.size(other));
        if first.is_some() && first == second {
            match self.level {
                Level::Axes(purposes) => purposes.unite(one, other),
                Level::Elements(elements, _) => {
                    for index in 0..first.unwrap_or(0) {
                        let (a, b) = (elements.at(one, index), elements.at(other, index));
                        elements.unite(a, b);
                    }
                }
                Level::Nothing => {}
            }
        } else {
            self.pin(one);
            self.pin(other);
        }
    }

    /// `n` indices of the two go together, from these on.
    pub(crate) fn tie_range(&mut self, one: Axis, one_start: usize, other: Axis, other_start: usize, n: usize) {
        self.named.extend([one, other]);
        if let Level::Elements(elements, _) = self.level {
            for index in 0..n {
                let (a, b) = (elements.at(one, one_start + index), elements.at(other, other_start + index));
                elements.unite(a, b);
            }
        }
    }

    /// Index `i` of `one` goes with all indices of `other` for which `to_one` gives `i`.
    pub(crate) fn tie_by(&mut self, one: Axis, other: Axis, to_one: impl Fn(usize) -> usize) {
        self.named.extend([one, other]);
        if let Level::Elements(elements, _) = self.level {
            for index in 0..elements.size(other).unwrap_or(0) {
                let (a, b) = (elements.at(one, to_one(index)), elements.at(other, index));
                elements.unite(a, b);
            }
        }
    }

    /// Indices of one axis with the same name go together.
    pub(crate) fn tie_within(&mut self, axis: Axis, name: impl Fn(usize) -> usize) {
        self.named.insert(axis);
        if let Level::Elements(elements, _) = self.level {
            let mut first = std::collections::BTreeMap::new();
            for index in 0..elements.size(axis).unwrap_or(0) {
                let element = elements.at(axis, index);
                let leader = *first.entry(name(index)).or_insert(element);
                elements.unite(leader, element);
            }
        }
    }

    /// The axis stays as it is.
    pub(crate) fn pin(&mut self, axis: Axis) {
        self.named.insert(axis);
        match self.level {
            Level::Axes(purposes) => purposes.pin(axis),
            Level::Elements(elements, _) => elements.pin_axis(axis),
            Level::Nothing => {}
        }
    }

    /// All axes of a value stay as they are.
    pub(crate) fn pin_all(&mut self, value: ValueId) {
        for axis in 0..self.sizes.rank(value) {
            self.pin(Axis { value, axis });
        }
    }

    /// The value may be cut as far as this node is concerned.
    pub(crate) fn allow(&mut self, value: ValueId) {
        self.named.extend((0..self.sizes.rank(value)).map(|axis| Axis { value, axis }));
    }

    /// Pins every axis of which the rule did not speak.
    pub(crate) fn pin_unnamed(&mut self) {
        let values: Vec<ValueId> = self.node.inputs.iter().chain(&self.node.outputs).copied().flatten().collect();
        for value in values {
            for axis in (0..self.sizes.rank(value)).map(|axis| Axis { value, axis }) {
                if self.sizes.size(axis).is_some() && !self.named.contains(&axis) {
                    self.pin(axis);
                }
            }
        }
    }

    /// The axis counts attention heads.
    pub(crate) fn mark_heads(&mut self, axis: Axis) {
        if let Level::Axes(purposes) = self.level {
            purposes.mark_heads(axis);
        }
    }

    /// Axes that share one row-major order, cut into factors: one factor is chosen and may be cut,
    /// the others stay.
    pub(crate) fn tie_factors(&mut self, input: ValueId, output: ValueId, axes: &[Axis], factors: &[Factor]) {
        self.named.extend(axes);
        if let Level::Axes(purposes) = self.level {
            let of = |value: ValueId| axes.iter().copied().filter(|axis| axis.value == value).collect::<Vec<_>>();
            for (one, others) in [(of(input), of(output)), (of(output), of(input))] {
                if let ([whole], 2..) = (one.as_slice(), others.len()) {
                    purposes.note_product(*whole, others);
                }
            }
        }
        let Level::Elements(elements, purposes) = self.level else { return };
        let place = |side: &Side, value: ValueId| Axis { value, axis: side.axis };
        let mut best: Option<(bool, usize, usize)> = None;
        for (position, factor) in factors.iter().enumerate() {
            let (Some(inner), Some(outer)) = (&factor.input, &factor.output) else { continue };
            let ends = [(place(inner, input), inner), (place(outer, output), outer)];
            let is_whole = |axis: Axis| elements.size(axis) == Some(factor.size);
            let is_lost = ends
                .iter()
                .any(|(axis, _)| elements.size(*axis).is_none() || (is_whole(*axis) && purposes.is_pinned(*axis)));
            if is_lost || factor.size < 2 {
                continue;
            }
            let counts_heads = ends.iter().any(|(axis, _)| is_whole(*axis) && purposes.counts_heads(*axis));
            let is_better = best.is_none_or(|(heads, size, _)| (counts_heads, factor.size) > (heads, size));
            if is_better {
                best = Some((counts_heads, factor.size, position));
            }
        }
        let chosen = best.and_then(|(.., position)| factors.get(position));
        let mut free = Vec::new();
        if let Some(Factor { size, input: Some(inner), output: Some(outer) }) = chosen {
            let (from, to) = (place(inner, input), place(outer, output));
            // Index 0 of all other factors stands for the factor's own index.
            for (axis, side) in [(from, inner), (to, outer)] {
                for index in 0..elements.size(axis).unwrap_or(0) {
                    let own = (index / side.stride) % size;
                    let (a, b) = (elements.at(from, own * inner.stride), elements.at(axis, index));
                    elements.unite(a, b);
                }
                free.push(axis);
            }
        }
        for axis in axes.iter().filter(|axis| !free.contains(axis)) {
            elements.pin_axis(*axis);
        }
    }

    /// The node's name in messages.
    pub(crate) fn label(&self) -> &str {
        self.graph.node_label(self.id)
    }
}
