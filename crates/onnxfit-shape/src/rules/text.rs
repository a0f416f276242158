//! Operators on texts.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::elementwise::broadcasting;

pub(super) const TABLE: &[Entry] = &[
    ("", "StringConcat", broadcasting),
    ("", "RegexFullMatch", regex),
    ("", "StringSplit", split),
    ("", "StringNormalizer", normalize),
    ("", "TfIdfVectorizer", n_grams),
    (MICROSOFT, "Tokenizer", tokenize),
];

fn regex(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set_like(0, Some(DataType::Bool), 0);
    Some(())
}

fn split(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::String), None);
    context.set_like(1, Some(DataType::Int64), 0);
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    let most = context.node.int("maxsplit").and_then(|most| most.checked_add(1)).map(Expr::constant);
    let n_parts = context.data_dependent_dim(0, dims.len(), most);
    dims.push(Some(n_parts));
    context.set(0, Some(DataType::String), Some(dims));
    Some(())
}

fn normalize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::String), None);
    let shape = context.shape(0)?;
    let axis = shape.len().checked_sub(1)?;
    let has_stop_words = context.node.attribute("stopwords").is_some();
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    if has_stop_words {
        // At least one text is left, an empty one if need be.
        let most = shape[axis].larger(&Expr::constant(1));
        dims[axis] = Some(context.data_dependent_dim(0, axis, most));
    }
    context.set(0, Some(DataType::String), Some(dims));
    Some(())
}

fn n_grams(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Float), None);
    let n = context.node.ints("ngram_indexes").and_then(|indexes| indexes.iter().max()?.checked_add(1));
    let shape = context.shape(0)?;
    let mut dims: Dims = shape.get(..shape.len().checked_sub(1)?)?.iter().cloned().map(Some).collect();
    dims.push(n.map(Expr::constant));
    context.set(0, Some(DataType::Float), Some(dims));
    Some(())
}

fn tokenize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::String), None);
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    dims.push(None);
    context.set(0, Some(DataType::String), Some(dims));
    Some(())
}
