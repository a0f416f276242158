//! The evaluator's table: operators that occur in shape computations and small constants.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::value::Value;
use super::{arithmetic, moves};
use crate::rewrite::net::Op;

/// One evaluation: the node and its inputs (`None` where one is left out).
pub(super) struct Call<'a> {
    pub(super) op: &'a Op,
    pub(super) inputs: Vec<Option<Value>>,
}

impl Call<'_> {
    pub(super) fn input(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_ref()
    }

    /// Whole numbers from an attribute, or from an input.
    pub(super) fn ints_of(&self, attribute: &str, input: usize) -> Option<Vec<i64>> {
        self.op.ints(attribute).map(<[i64]>::to_vec).or_else(|| Some(self.input(input)?.as_ints()?.to_vec()))
    }
}

/// The evaluation of one operator.
pub(super) type Evaluate = fn(&Call<'_>) -> Option<Vec<Value>>;

/// The outputs of a node, if its operator is known here.
pub(super) fn evaluate(call: &Call<'_>) -> Option<Vec<Value>> {
    static TABLE: OnceLock<HashMap<&'static str, Evaluate>> = OnceLock::new();
    let table = TABLE.get_or_init(|| arithmetic::TABLE.iter().chain(moves::TABLE).copied().collect());
    table.get(call.op.op_type.as_str())?(call)
}
