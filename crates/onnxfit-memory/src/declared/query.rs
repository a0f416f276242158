//! What a rule may ask about a node, and what it answers.

use onnxfit_onnx::DataType;

use super::{Constants, Shape};
use crate::program::{DeclaredDim, KnownIntegers, Node, NodeIdx, Program, ValueIdx};

/// The answer for one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inferred {
    pub(super) element: Option<DataType>,
    pub(super) shape: Option<Shape>,
}

impl Inferred {
    /// A tensor of known element type and perhaps shape.
    pub(super) fn new(element: Option<DataType>, shape: Option<Shape>) -> Self {
        Self { element, shape }
    }
}

/// A node and what is known around it.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    program: &'a Program,
    constants: &'a Constants,
    /// The node.
    pub(super) node: &'a Node,
}

impl<'a> Query<'a> {
    pub(super) fn new(program: &'a Program, node: NodeIdx, constants: &'a Constants) -> Self {
        Self { program, constants, node: program.node(node) }
    }

    /// The declared shape of an input.
    pub(super) fn shape(&self, position: usize) -> Option<&'a [DeclaredDim]> {
        self.program.value(self.node.input(position)?).declared.as_deref()
    }

    /// The same, owned.
    pub(super) fn shape_of(&self, position: usize) -> Option<Shape> {
        self.shape(position).map(<[DeclaredDim]>::to_vec)
    }

    /// The element type of an input.
    pub(super) fn element(&self, position: usize) -> Option<DataType> {
        self.program.value(self.node.input(position)?).element
    }

    /// Whether an input is there.
    pub(super) fn has(&self, position: usize) -> bool {
        self.node.input(position).is_some()
    }

    /// The integers in an input, from a weight or from what was propagated (`getInputData`).
    pub(super) fn integers(&self, position: usize) -> Option<&'a [i64]> {
        let value = self.node.input(position)?;
        self.constant(value).or_else(|| self.propagated(position)).map(|known| known.elements.as_slice())
    }

    /// The floats in an input that is a weight.
    pub(super) fn floats(&self, position: usize) -> Option<&'a [f32]> {
        self.constants.floats.get(self.node.input(position)?.index())?.as_deref()
    }

    /// The integers of an input that is a weight, with its rank.
    pub(super) fn constant_at(&self, position: usize) -> Option<&'a KnownIntegers> {
        self.constant(self.node.input(position)?)
    }

    fn constant(&self, value: ValueIdx) -> Option<&'a KnownIntegers> {
        self.constants.integers.get(value.index())?.as_ref()
    }

    /// The integers propagated into an input, weights not counted.
    pub(super) fn propagated(&self, position: usize) -> Option<&'a KnownIntegers> {
        self.program.value(self.node.input(position)?).known_integers.as_ref()
    }

    /// A shape that an input holds: its numbers, or as many unknowns as it has elements
    /// (`getShapeInput`); negative numbers stay for the caller to interpret.
    pub(super) fn shape_input(&self, position: usize) -> Option<Vec<Option<i64>>> {
        if let Some(integers) = self.integers(position) {
            return Some(integers.iter().copied().map(Some).collect());
        }
        match self.shape(position)? {
            [DeclaredDim::Value(rank)] if *rank <= RANK_MAX => Some(vec![None; *rank as usize]),
            _ => None,
        }
    }

    /// The axis attribute as a position; `None` if it is out of range.
    pub(super) fn axis(&self, default: i64, rank: usize) -> Option<usize> {
        normalise(self.node.int("axis", default), rank)
    }

    /// Axes from an attribute or from a constant input: `Ok(None)` if not given at all, `Err` if
    /// given but unknown.
    pub(super) fn axes(&self, position: usize) -> Result<Option<Vec<i64>>, ()> {
        if self.node.attributes.contains_key("axes") {
            return Ok(Some(self.node.ints("axes").to_vec()));
        }
        if !self.has(position) {
            return Ok(None);
        }
        self.integers(position).map(|axes| Some(axes.to_vec())).ok_or(())
    }
}

/// More dimensions than any tensor has: a corrupt shape is not materialised.
const RANK_MAX: u64 = 64;

/// A possibly negative axis as a position.
pub(super) fn normalise(axis: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}

/// A dimension of a known number.
pub(super) fn number(value: i64) -> DeclaredDim {
    u64::try_from(value).map_or(DeclaredDim::Unknown, DeclaredDim::Value)
}

/// The number of a dimension, if known.
pub(super) fn known(dim: &DeclaredDim) -> Option<u64> {
    match dim {
        DeclaredDim::Value(value) => Some(*value),
        _ => None,
    }
}
