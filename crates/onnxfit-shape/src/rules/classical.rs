//! Classical machine learning: `ai.onnx.ml`.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use crate::context::RuleContext;
use crate::expr::Expr;
use crate::fact::{Fact, Kind};
use crate::registry::Entry;
use crate::rules::elementwise::same;

const ML: &str = "ai.onnx.ml";

pub(super) const TABLE: &[Entry] = &[
    (ML, "ArrayFeatureExtractor", extract),
    (ML, "Binarizer", same),
    (ML, "CastMap", cast_map),
    (ML, "CategoryMapper", category_map),
    (ML, "DictVectorizer", dictionary),
    (ML, "FeatureVectorizer", features),
    (ML, "Imputer", same),
    (ML, "LabelEncoder", label_encoder),
    (ML, "LinearClassifier", classifier),
    (ML, "LinearRegressor", |c| regressor(c, "targets")),
    (ML, "Normalizer", float_like),
    (ML, "OneHotEncoder", one_hot),
    (ML, "SVMClassifier", classifier),
    (ML, "SVMRegressor", |c| regressor(c, "")),
    (ML, "Scaler", float_like),
    (ML, "TreeEnsemble", tree_ensemble),
    (ML, "TreeEnsembleClassifier", classifier),
    (ML, "TreeEnsembleRegressor", |c| regressor(c, "n_targets")),
    (ML, "ZipMap", zip_map),
];

/// How many entries a list attribute has; zero if it is not there.
fn list_length(context: &RuleContext<'_, '_>, name: &str) -> usize {
    match context.node.attribute(name) {
        Some(AttributeValue::Ints(list)) => list.len(),
        Some(AttributeValue::Floats(list)) => list.len(),
        Some(AttributeValue::Strings(list)) => list.len(),
        _ => 0,
    }
}

fn count(n: usize) -> Option<Expr> {
    i64::try_from(n).ok().map(Expr::constant)
}

/// Rows of the data; a vector is one row.
fn n_rows(context: &RuleContext<'_, '_>) -> Option<Expr> {
    match context.shape(0)? {
        [_] | [] => Some(Expr::constant(1)),
        shape => shape.first().cloned(),
    }
}

fn float_like(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set_like(0, Some(DataType::Float), 0);
    Some(())
}

fn extract(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let n_picked = context.input(1).and_then(Fact::n_elements);
    let mut dims: Vec<Option<Expr>> = match shape {
        [_] => vec![Some(Expr::constant(1))],
        shape => shape.get(..shape.len().checked_sub(1)?)?.iter().cloned().map(Some).collect(),
    };
    dims.push(n_picked);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn cast_map(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = match context.node.string("cast_to") {
        Some("TO_STRING") => DataType::String,
        Some("TO_INT64") => DataType::Int64,
        _ => DataType::Float,
    };
    let is_sparse = context.node.string("map_form") == Some("SPARSE");
    let n = if is_sparse { context.node.int("max_map").map(Expr::constant) } else { None };
    context.set(0, Some(element_type), Some(vec![Some(Expr::constant(1)), n]));
    Some(())
}

fn category_map(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = match context.element_type(0)? {
        DataType::String => DataType::Int64,
        _ => DataType::String,
    };
    context.set_like(0, Some(element_type), 0);
    Some(())
}

fn dictionary(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n = list_length(context, "string_vocabulary") + list_length(context, "int64_vocabulary");
    context.set(0, None, Some(vec![Some(Expr::constant(1)), count(n)]));
    Some(())
}

fn features(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let sizes = context.node.ints("inputdimensions").unwrap_or_default();
    let total = sizes.iter().try_fold(0i64, |total, size| total.checked_add(*size)).filter(|_| !sizes.is_empty());
    context.set(0, Some(DataType::Float), Some(vec![n_rows(context), total.map(Expr::constant)]));
    Some(())
}

fn label_encoder(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let node = context.node;
    let of_tensor = node.tensor("values_tensor").and_then(|tensor| tensor.element_type().ok());
    let element_type = match () {
        () if of_tensor.is_some() => of_tensor,
        () if node.attribute("values_strings").is_some() => Some(DataType::String),
        () if node.attribute("values_int64s").is_some() => Some(DataType::Int64),
        () if node.attribute("values_floats").is_some() => Some(DataType::Float),
        // The first version maps between classes and their positions.
        () if context.element_type(0) == Some(DataType::String) => Some(DataType::Int64),
        () => Some(DataType::String),
    };
    context.set_like(0, element_type, 0);
    Some(())
}

fn classifier(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n_texts = list_length(context, "classlabels_strings");
    let n_numbers = list_length(context, "classlabels_ints").max(list_length(context, "classlabels_int64s"));
    let label_type = if n_texts > 0 { DataType::String } else { DataType::Int64 };
    let n_classes = n_texts.max(n_numbers);
    // A support vector machine without probabilities scores each pair of classes.
    let scores_pairs = context.node.op_type == "SVMClassifier"
        && list_length(context, "vectors_per_class") > 0
        && list_length(context, "prob_a") == 0;
    let n_scores = if scores_pairs && n_classes > 2 { n_classes * (n_classes - 1) / 2 } else { n_classes };
    let rows = n_rows(context);
    context.set(0, Some(label_type), Some(vec![rows.clone()]));
    context.set(1, Some(DataType::Float), Some(vec![rows, count(n_scores).filter(|_| n_scores > 0)]));
    Some(())
}

fn regressor(context: &mut RuleContext<'_, '_>, n_targets: &str) -> Option<()> {
    let dims = vec![n_rows(context), Some(Expr::constant(context.int(n_targets, 1)))];
    context.set(0, Some(DataType::Float), Some(dims));
    Some(())
}

fn tree_ensemble(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let dims = vec![n_rows(context), Some(Expr::constant(context.int("n_targets", 1)))];
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn one_hot(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Float), None);
    let n = list_length(context, "cats_int64s").max(list_length(context, "cats_strings"));
    let mut dims: Vec<Option<Expr>> = context.shape(0)?.iter().cloned().map(Some).collect();
    dims.push(count(n));
    context.set(0, Some(DataType::Float), Some(dims));
    Some(())
}

fn zip_map(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let map = Fact { kind: Kind::Other, ..Fact::default() };
    context.set_fact(0, Fact::sequence(map, n_rows(context), None));
    Some(())
}
