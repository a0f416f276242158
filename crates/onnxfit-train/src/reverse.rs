//! What a gradient rule sees: one node, the gradients of its outputs, and a tape to write on.

use std::ops::{Deref, DerefMut};

use onnxfit_graph::Node;
use onnxfit_onnx::DataType;
use onnxfit_shape::{Expr, Fact, GraphFacts};

use crate::gradient::GradientOptions;
use crate::tape::{Tape, Var};

/// Why a rule does not apply to a node, as the rest of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported(pub(crate) String);

/// What rules return.
pub(crate) type RuleResult = Result<(), Unsupported>;

/// An error for a rule to return.
pub(crate) fn unsupported<T>(reason: &str) -> Result<T, Unsupported> {
    Err(Unsupported(reason.to_owned()))
}

/// One node on the way back.
pub(crate) struct Reverse<'a> {
    pub(crate) tape: &'a mut Tape,
    pub(crate) node: &'a Node,
    pub(crate) facts: &'a GraphFacts,
    pub(crate) options: &'a GradientOptions,
    /// The version of ONNX's own operator set.
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<Option<Var>>,
    pub(crate) outputs: Vec<Option<Var>>,
    /// Whose gradient is asked for.
    pub(crate) wanted: Vec<bool>,
    /// Gradients of the outputs; `None` where the loss does not depend on one.
    pub(crate) output_gradients: Vec<Option<Var>>,
    /// What the rule gave, by input.
    pub(crate) given: Vec<Option<Var>>,
}

impl Deref for Reverse<'_> {
    type Target = Tape;

    fn deref(&self) -> &Tape {
        self.tape
    }
}

impl DerefMut for Reverse<'_> {
    fn deref_mut(&mut self) -> &mut Tape {
        self.tape
    }
}

impl<'a> Reverse<'a> {
    /// An input that the operator cannot do without.
    pub(crate) fn x(&self, index: usize) -> Result<Var, Unsupported> {
        match self.inputs.get(index).copied().flatten() {
            Some(var) => Ok(var),
            None => Err(Unsupported(format!("has no input {index}"))),
        }
    }

    /// Whether an input is there.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    /// Whether the gradient of an input is asked for.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// The first output.
    pub(crate) fn y(&self) -> Result<Var, Unsupported> {
        match self.outputs.first().copied().flatten() {
            Some(var) => Ok(var),
            None => unsupported("leaves out its first output"),
        }
    }

    /// The gradient of the first output.
    pub(crate) fn dy(&self) -> Result<Var, Unsupported> {
        match self.output_gradients.first().copied().flatten() {
            Some(var) => Ok(var),
            None => unsupported("is needed for another output than its first"),
        }
    }

    /// Gives the gradient of an input, which has the input's shape.
    pub(crate) fn give(&mut self, index: usize, gradient: Var) {
        self.given[index] = Some(gradient);
    }

    /// Gives the gradient of an input that was broadcast to the first output's shape.
    pub(crate) fn give_reduced(&mut self, index: usize, gradient: Var) -> RuleResult {
        let reduced = self.unbroadcast(gradient, index)?;
        self.give(index, reduced);
        Ok(())
    }

    /// What is known of an input.
    pub(crate) fn fact(&self, index: usize) -> Option<&'a Fact> {
        self.facts.get(self.node.input(index)?)
    }

    /// What is known of an output.
    pub(crate) fn output_fact(&self, index: usize) -> Option<&'a Fact> {
        self.facts.get(self.node.output(index)?)
    }

    /// The shape of an input.
    pub(crate) fn shape_of(&self, index: usize) -> Option<&'a [Expr]> {
        self.fact(index)?.shape.as_deref()
    }

    /// The shape of an input where it is a number.
    pub(crate) fn known_dims(&self, index: usize) -> Option<Vec<Option<i64>>> {
        Some(self.shape_of(index)?.iter().map(Expr::as_constant).collect())
    }

    /// The rank of an input.
    pub(crate) fn rank(&self, index: usize) -> Result<usize, Unsupported> {
        match self.fact(index).and_then(Fact::rank) {
            Some(rank) => Ok(rank),
            None => Err(Unsupported(format!("has an input {index} of unknown rank"))),
        }
    }

    /// One dimension of an input, where it is a number.
    pub(crate) fn known_dim(&self, index: usize, axis: usize) -> Option<i64> {
        self.shape_of(index)?.get(axis)?.as_constant()
    }

    /// The whole numbers in an input that is known before the graph runs.
    pub(crate) fn known_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.fact(index)?.known_ints()
    }

    /// The single number in an input that is known before the graph runs.
    pub(crate) fn known_number(&self, index: usize) -> Option<f64> {
        match self.fact(index)?.known_floats()?.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The element type of an input.
    pub(crate) fn element_type_of(&self, index: usize) -> DataType {
        self.fact(index).and_then(|fact| fact.element_type).unwrap_or(DataType::Float)
    }

    /// The element type that the node computes in: its first output's.
    pub(crate) fn element_type(&self) -> DataType {
        let first = self.output_fact(0).and_then(|fact| fact.element_type);
        first.unwrap_or_else(|| self.element_type_of(0))
    }

    /// A number of the element type that the node computes in.
    pub(crate) fn value(&mut self, value: f64) -> Var {
        let element_type = self.element_type();
        self.tape.number(element_type, value)
    }

    /// `x` times a number, in the element type that the node computes in.
    pub(crate) fn times(&mut self, x: Var, factor: f64) -> Var {
        let element_type = self.element_type();
        self.tape.scale(x, element_type, factor)
    }

    /// A whole-number attribute or its default.
    pub(crate) fn int_or(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    /// A number attribute or its default.
    pub(crate) fn float_or(&self, name: &str, default: f32) -> f64 {
        self.node.float(name).unwrap_or(default).into()
    }

    /// An axis attribute counted from the front of an input.
    pub(crate) fn axis_or(&self, name: &str, default: i64, rank: usize) -> Result<usize, Unsupported> {
        self.counted_from_front(self.int_or(name, default), rank)
    }

    /// An axis counted from the front.
    pub(crate) fn counted_from_front(&self, axis: i64, rank: usize) -> Result<usize, Unsupported> {
        let front = if axis < 0 { axis + rank as i64 } else { axis };
        match usize::try_from(front) {
            Ok(front) if front < rank.max(1) => Ok(front),
            _ => Err(Unsupported(format!("has axis {axis} of {rank}"))),
        }
    }

    /// The shape of an input, as a vector that may be a constant.
    pub(crate) fn shape_vector(&mut self, index: usize) -> Result<Var, Unsupported> {
        let x = self.x(index)?;
        let known: Option<Vec<i64>> =
            self.shape_of(index).and_then(|dims| dims.iter().map(Expr::as_constant).collect());
        Ok(match known {
            Some(dims) => self.ints(&dims),
            None => self.shape(x),
        })
    }

    /// `value` in the shape of an input; the same elements in the same order.
    pub(crate) fn reshape_like(&mut self, value: Var, index: usize) -> Result<Var, Unsupported> {
        let target = self.reshape_target(index)?;
        Ok(self.reshape(value, target))
    }

    /// The shape of an input, as `Reshape` may be given it: one dimension may be left to it.
    pub(crate) fn reshape_target(&mut self, index: usize) -> Result<Var, Unsupported> {
        let dims = self.known_dims(index);
        if let Some(dims) = dims
            && dims.iter().filter(|dim| dim.is_none()).count() <= 1
            && !dims.contains(&Some(0))
        {
            let dims: Vec<i64> = dims.into_iter().map(|dim| dim.unwrap_or(-1)).collect();
            return Ok(self.ints(&dims));
        }
        self.shape_vector(index)
    }

    /// Zeros in the shape of an input.
    pub(crate) fn zeros_like(&mut self, index: usize) -> Result<Var, Unsupported> {
        let element_type = self.element_type_of(index);
        let shape = self.shape_vector(index)?;
        Ok(self.zeros(shape, element_type))
    }

    /// How many elements of `index` there are for each element of the first output, as a number of
    /// the node's element type.
    pub(crate) fn ratio_to_output(&mut self, index: usize) -> Result<Var, Unsupported> {
        let count = |dims: Option<&[Expr]>| -> Option<i64> {
            dims?.iter().try_fold(1i64, |product, dim| product.checked_mul(dim.as_constant()?))
        };
        let outputs = self.output_fact(0).and_then(|fact| fact.shape.as_deref());
        if let (Some(from), Some(to)) = (count(self.shape_of(index)), count(outputs))
            && to > 0
        {
            return Ok(self.value(from as f64 / to as f64));
        }
        let (x, y) = (self.x(index)?, self.y()?);
        let (from, to) = (self.size(x), self.size(y));
        let ratio = self.div(from, to);
        let element_type = self.element_type();
        Ok(self.cast(ratio, element_type))
    }
}
