//! What the nodes of an operator need to run on integers. One file a family, one line a table.

mod convolution;
mod elementwise;
mod movement;
mod pool;
mod product;

use onnxfit_graph::{Model, Node, ValueId};

/// What an input is for a node on integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// A value, or a constant that is treated as one.
    Activation,
    /// A weight; with an axis, each index along it may have its own scale.
    Weight {
        /// The axis of channels.
        axis: Option<usize>,
    },
    /// Added to sums of products of value and weight: its scale is theirs, times this.
    Bias {
        /// What products are multiplied by.
        factor: f32,
    },
    /// A table of which rows are taken.
    Table,
    /// Stays as it is.
    Untouched,
}

/// How the outputs become integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Made {
    /// By their own range, whoever reads them: the kernel makes integers only.
    Always,
    /// By their own range if someone reads integers; else the kernel makes floats.
    IfRead,
    /// Known without looking.
    Between(f32, f32),
    /// They are numbers of the first input: its parameters are theirs.
    AsInput,
    /// They are floats.
    Floats,
}

/// What a node needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Roles {
    /// By input.
    pub(super) inputs: Vec<Role>,
    pub(super) made: Made,
    /// Whether it is worth quantizing for its own sake; others follow their neighbours.
    pub(super) is_layer: bool,
    /// What ONNX Runtime makes of it.
    pub(super) kernel: &'static str,
}

impl Roles {
    /// A node that follows its neighbours: its first `n` inputs are values.
    fn follower(n: usize, made: Made, kernel: &'static str) -> Self {
        Self { inputs: vec![Role::Activation; n], made, is_layer: false, kernel }
    }

    /// The weight of a node.
    pub(super) fn weight(&self, node: &Node) -> Option<ValueId> {
        let at = self.inputs.iter().position(|role| matches!(role, Role::Weight { .. } | Role::Table))?;
        node.input(at)
    }

    /// Whether its outputs may be integers.
    pub(super) fn makes_values(&self) -> bool {
        self.made != Made::Floats
    }

    pub(super) fn role(&self, input: usize) -> Role {
        self.inputs.get(input).copied().unwrap_or(Role::Untouched)
    }
}

/// A line of a table: the operator, and what one of its nodes needs, if it can run on integers.
type Rule = (&'static str, fn(&Model, &Node) -> Option<Roles>);

const TABLES: &[&[Rule]] = &[convolution::RULES, product::RULES, elementwise::RULES, pool::RULES, movement::RULES];

/// What a node needs to run on integers.
pub(super) fn roles(model: &Model, node: &Node) -> Option<Roles> {
    if !node.domain.is_empty() {
        return None;
    }
    let (_, rule) = TABLES.iter().flat_map(|table| table.iter()).find(|(op_type, _)| *op_type == node.op_type)?;
    rule(model, node)
}
