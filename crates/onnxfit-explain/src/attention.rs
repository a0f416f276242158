//! Which node of an attention block makes its scores: rows x heads x length x length.
//!
//! The block also holds projections, rows x length x width, which grow with the length and not
//! with its square. A model's own shapes decide if they are known; the name does otherwise.

use crate::context::{DimHint, ModelHints, TensorHint};

/// Operators that are the whole attention.
const WHOLE: &[&str] = &["Attention", "MultiHeadAttention", "PackedAttention", "GroupQueryAttention"];
/// Operators between the product of queries and keys and the product with values.
const BETWEEN: &[&str] = &["Add", "Softmax", "MatMul", "Div", "Mul", "Where", "FusedMatMul", "Sub"];

/// Whether this node's output is one score for each pair of positions.
pub(crate) fn computes_scores(node: &str, op_type: &str, model: Option<&ModelHints>) -> bool {
    if WHOLE.contains(&op_type) {
        return true;
    }
    let made = |tensor: &&TensorHint| !node.is_empty() && tensor.node.as_deref() == Some(node);
    let output = model.and_then(|model| model.tensors.iter().find(made));
    let pairs = output.and_then(|output| is_square(&output.dims));
    let named = |name: &str| name.contains("attn") || name.contains("attention");
    let name = node.to_ascii_lowercase();
    BETWEEN.contains(&op_type) && named(&name) && pairs.unwrap_or_else(|| !in_projection(&name))
}

/// Whether there are heads before two equal dimensions; unknown if the last two cannot be compared.
fn is_square(dims: &[DimHint]) -> Option<bool> {
    match dims {
        [.., DimHint::Named(_), DimHint::Known(_)] | [.., DimHint::Known(_), DimHint::Named(_)] if dims.len() >= 4 => {
            None
        }
        [_, .., rows, columns] if dims.len() >= 3 => Some(rows == columns),
        _ => Some(false),
    }
}

/// Whether a part of the name, without the operator's own, is that of a projection: `k_lin`,
/// `q_proj`, `self/query`, `output/dense`, `to_out.0`, `c_attn`.
fn in_projection(name: &str) -> bool {
    let path = name.trim_end_matches('/').rsplit_once('/').map_or("", |(path, _)| path);
    let parts: Vec<&str> = path.split(['/', '.']).collect();
    let block = parts.iter().position(|part| part.contains("attn") || part.contains("attention")).unwrap_or(0);
    parts[block.min(parts.len())..].iter().any(|part| is_projection(part))
}

fn is_projection(part: &str) -> bool {
    const ROLES: &[&str] = &["q", "k", "v", "o", "qkv", "kv", "query", "key", "value", "out", "in", "output", "c"];
    const LAYERS: &[&str] = &["proj", "projection", "lin", "linear", "dense", "fc", "layer", "net", "attn"];
    const ALONE: &[&str] = &["query", "key", "value", "qkv", "output", "wq", "wk", "wv", "wo", "wqkv", "pos_bias"];
    let part = part.strip_prefix("to_").map_or(part, |role| if ROLES.contains(&role) { "output" } else { part });
    let bare = part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let layer = |word: &str| LAYERS.contains(&word) && word != "attn" && word != "layer" && word != "net";
    ALONE.contains(&bare)
        || layer(bare)
        || bare.contains("norm")
        || bare.rsplit_once('_').is_some_and(|(role, word)| ROLES.contains(&role) && LAYERS.contains(&word))
}

#[cfg(test)]
mod tests;
