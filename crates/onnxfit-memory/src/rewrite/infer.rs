//! Types and shapes as ONNX Runtime knows them while it rewrites a graph.
//!
//! Deliberately no better than `Graph::InferAndVerifyTypeMatch` (graph.cc, ORT 1.31) with ONNX's
//! own inference functions: a fusion that needs a shape must fail here where it fails there. Only
//! whole, static values pass along shape computations. One file per operator family, one line per
//! operator in its table.

mod contributed;
mod data;
pub(crate) mod layout;
mod linear;
mod propagate;
mod reduce;
mod same;
mod sequence;

use std::sync::LazyLock;

use onnxfit_base::Operators;
use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::net::{Arg, Net, Op, OpId};

/// What is inferred of one output.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Inferred {
    pub(crate) elem: Option<DataType>,
    pub(crate) shape: Option<Vec<Dim>>,
}

/// The inference of one operator.
pub(crate) type Rule = fn(&Context<'_>) -> Vec<Inferred>;

/// What a rule may look at.
pub(crate) struct Context<'a> {
    net: &'a Net,
    op: &'a Op,
}

impl<'a> Context<'a> {
    fn input(&self, index: usize) -> Option<&'a Arg> {
        self.op.input(index).map(|arg| self.net.arg(arg))
    }

    fn elem(&self, index: usize) -> Option<DataType> {
        self.input(index)?.elem
    }

    fn shape(&self, index: usize) -> Option<&'a [Dim]> {
        self.input(index)?.shape.as_deref()
    }

    fn rank(&self, index: usize) -> Option<usize> {
        self.shape(index).map(<[Dim]>::len)
    }

    /// Whole numbers at an input: a constant, or what data propagation found.
    fn values(&self, index: usize) -> Option<Vec<i64>> {
        let arg = self.op.input(index)?;
        if let Some(tensor) = self.net.constant(arg) {
            return super::content::ints(tensor);
        }
        self.net.arg(arg).known.as_ref().map(|(values, _)| values.clone())
    }

    /// Whole numbers in an attribute before some opset, in an input from it on.
    fn values_of(&self, attribute: &str, input: usize) -> Option<Vec<i64>> {
        self.op.ints(attribute).map(<[i64]>::to_vec).or_else(|| self.values(input))
    }

    /// An axis counted from the front.
    fn axis(&self, default: i64, rank: usize) -> Option<usize> {
        axis_from_front(self.op.int("axis").unwrap_or(default), rank)
    }

    fn opset(&self) -> i64 {
        self.net.opset()
    }
}

/// An axis counted from the front, if it is in range.
pub(crate) fn axis_from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    let axis = if axis < 0 { axis + rank } else { axis };
    usize::try_from(axis).ok().filter(|axis| (*axis as i64) < rank)
}

/// One output.
fn one(elem: Option<DataType>, shape: Option<Vec<Dim>>) -> Vec<Inferred> {
    vec![Inferred { elem, shape }]
}

fn known(values: &[i64]) -> Vec<Dim> {
    values.iter().map(|value| Dim::Known(*value)).collect()
}

/// A size that was computed: unknown if it leaves the range of sizes.
fn sized(value: i128) -> Dim {
    i64::try_from(value).map_or(Dim::Unknown, Dim::Known)
}

fn dim_value(dim: &Dim) -> Option<i64> {
    super::net::known_dim(dim)
}

/// The rules of all families; whose domain an operator is of does not matter.
static TABLE: LazyLock<Operators<Rule>> = LazyLock::new(|| {
    let families: [&[(&str, Rule)]; 7] =
        [contributed::RULES, same::RULES, linear::RULES, layout::RULES, reduce::RULES, data::RULES, sequence::RULES];
    // Of two rules of one operator the last counts.
    let rules = families.iter().flat_map(|family| family.iter()).rev();
    Operators::of(rules.map(|(operator, rule)| ("*", *operator, *rule)))
});

/// The outputs of a node; nothing for operators without a rule.
pub(crate) fn infer(net: &Net, id: OpId) -> Vec<Inferred> {
    let op = net.op(id);
    match TABLE.get("", &op.op_type) {
        Some(rule) => rule(&Context { net, op }),
        None => Vec::new(),
    }
}

/// The values of a node's first output, with their rank, if data propagation finds them.
pub(crate) fn propagate(net: &Net, id: OpId) -> Option<(Vec<i64>, u8)> {
    propagate::propagate(&Context { net, op: net.op(id) })
}

/// ONNX's multidirectional broadcast.
pub(crate) fn broadcast(shapes: &[&[Dim]]) -> Option<Vec<Dim>> {
    let rank = shapes.iter().map(|shape| shape.len()).max()?;
    let mut result = Vec::with_capacity(rank);
    for position in 0..rank {
        let mut value = 1;
        let mut symbol: Option<&Dim> = None;
        let mut n_symbols = 0;
        for shape in shapes {
            let Some(index) = (position + shape.len()).checked_sub(rank) else { continue };
            match &shape[index] {
                Dim::Known(1) => {}
                Dim::Known(number) if value == 1 || value == *number => value = *number,
                Dim::Known(_) => return None,
                dim if n_symbols == 0 => {
                    symbol = Some(dim);
                    n_symbols = 1;
                }
                dim => n_symbols += usize::from(Some(dim) != symbol),
            }
        }
        result.push(match (value, n_symbols, symbol) {
            (1, 1, Some(dim)) => dim.clone(),
            (1, 2.., _) => Dim::Unknown,
            _ => Dim::Known(value),
        });
    }
    Some(result)
}
