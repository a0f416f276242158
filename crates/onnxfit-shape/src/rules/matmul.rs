//! Matrix products.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "MatMul", |c| product(c, c.element_type(0), 0, 1)),
    ("", "MatMulInteger", |c| product(c, Some(DataType::Int32), 0, 1)),
    (MICROSOFT, "MatMulInteger16", |c| product(c, Some(DataType::Int32), 0, 1)),
    ("", "QLinearMatMul", |c| product(c, c.element_type(7), 0, 3)),
    (MICROSOFT, "MatMulIntegerToFloat", |c| product(c, c.element_type(2), 0, 1)),
    (MICROSOFT, "DynamicQuantizeMatMul", |c| product(c, c.element_type(0), 0, 1)),
    (MICROSOFT, "SparseToDenseMatMul", fused),
    (MICROSOFT, "FusedMatMul", fused),
    (MICROSOFT, "FusedMatMulActivation", fused),
    (MICROSOFT, "TransposeMatMul", fused),
    (MICROSOFT, "MatMulNBits", n_bits),
    (MICROSOFT, "MatMulBnb4", n_bits),
    (MICROSOFT, "MatMulFpQ4", fp_q4),
    ("", "Gemm", |c| gemm(c, c.element_type(0), 1)),
    (MICROSOFT, "FusedGemm", |c| gemm(c, c.element_type(0), 1)),
    (MICROSOFT, "GemmFloat8", |c| gemm(c, c.type_attribute("dtype").or(Some(DataType::Float)), 1)),
    (MICROSOFT, "QGemm", q_gemm),
    (MICROSOFT, "GemmFastGelu", |c| product(c, c.element_type(0), 0, 1)),
    ("", "Det", det),
    ("", "Einsum", einsum),
];

fn product(context: &mut RuleContext<'_, '_>, element_type: Option<DataType>, a: usize, b: usize) -> Option<()> {
    context.set(0, element_type, None);
    let (left, right) = (context.shape(a)?.to_vec(), context.shape(b)?.to_vec());
    let dims = product_dims(context, left, right)?;
    context.set(0, element_type, Some(dims));
    Some(())
}

/// The shape of a product: a vector on the left is a row, one on the right a column.
fn product_dims(context: &mut RuleContext<'_, '_>, mut left: Vec<Expr>, mut right: Vec<Expr>) -> Option<Dims> {
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, Expr::constant(1));
    }
    if is_column {
        right.push(Expr::constant(1));
    }
    let (inner, rows, columns) = (left.pop()?, left.pop()?, right.pop()?);
    let also_inner = right.pop()?;
    context.same_dim(&inner, &also_inner);
    let mut dims = context.broadcast(&[&left, &right]);
    if !is_row {
        dims.push(Some(rows));
    }
    if !is_column {
        dims.push(Some(columns));
    }
    Some(dims)
}

fn fused(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut left = context.shape(0)?.to_vec();
    let mut right = context.shape(1)?.to_vec();
    for (shape, matrix, batch) in [(&mut left, "transA", "transBatchA"), (&mut right, "transB", "transBatchB")] {
        let rank = shape.len();
        if context.flag(batch) && rank > 2 {
            // The first axis moves next to the last.
            shape[..rank - 1].rotate_left(1);
        }
        if context.flag(matrix) && rank > 1 {
            shape.swap(rank - 1, rank - 2);
        }
    }
    let dims = product_dims(context, left, right)?;
    context.set(0, element_type, Some(dims));
    Some(())
}

fn n_bits(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let columns = Expr::constant(context.node.int("N")?);
    let inner = Expr::constant(context.node.int("K")?);
    let mut shape = context.shape(0)?.to_vec();
    *shape.last_mut()? = if context.flag("transB") || context.node.int("transB").is_none() { columns } else { inner };
    context.set_shape(0, element_type, &shape);
    Some(())
}

fn fp_q4(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let columns = context.ints(2)?.get(1).cloned().flatten();
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    *dims.last_mut()? = columns;
    context.set(0, element_type, Some(dims));
    Some(())
}

fn gemm(context: &mut RuleContext<'_, '_>, element_type: Option<DataType>, right: usize) -> Option<()> {
    context.set(0, element_type, Some(vec![None, None]));
    let rows = context.dim(0, usize::from(context.flag("transA")));
    let columns = context.dim(right, usize::from(!context.flag("transB")));
    context.set(0, element_type, Some(vec![rows, columns]));
    Some(())
}

fn q_gemm(context: &mut RuleContext<'_, '_>) -> Option<()> {
    // Quantized when the output has a zero point, floating point otherwise.
    let element_type = context.element_type(8).or(Some(DataType::Float));
    gemm(context, element_type, 3)
}

fn det(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let outer = shape.get(..shape.len().checked_sub(2)?)?;
    context.set_shape(0, element_type, outer);
    Some(())
}

fn einsum(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let equation: String = context.node.string("equation")?.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (left, right) = equation.split_once("->").map_or((equation.as_str(), None), |(l, r)| (l, Some(r)));
    let mut sizes: std::collections::BTreeMap<char, Expr> = std::collections::BTreeMap::new();
    let mut n_seen: std::collections::BTreeMap<char, usize> = std::collections::BTreeMap::new();
    let mut ellipses: Vec<&[Expr]> = Vec::new();
    for (index, term) in left.split(',').enumerate() {
        let shape = context.shape(index)?;
        let (before, after) = term.split_once("...").map_or((term, None), |(b, a)| (b, Some(a)));
        let n_after = after.map_or(0, |after| after.chars().count());
        let n_before = before.chars().count();
        let n_dots = shape.len().checked_sub(n_before + n_after)?;
        if after.is_none() && n_dots > 0 {
            return None;
        }
        ellipses.push(&shape[n_before..n_before + n_dots]);
        let letters = before.chars().chain(after.unwrap_or("").chars());
        let dims = shape[..n_before].iter().chain(&shape[n_before + n_dots..]);
        for (letter, dim) in letters.zip(dims) {
            *n_seen.entry(letter).or_default() += 1;
            let dim = match sizes.get(&letter) {
                Some(so_far) => context.broadcast_dim(&so_far.clone(), dim)?,
                None => dim.clone(),
            };
            sizes.insert(letter, dim);
        }
    }
    let dots = context.broadcast(&ellipses);
    let right = right.map_or_else(
        || {
            // Left out, the result has every letter that occurs once, in alphabetical order.
            let once: String = n_seen.iter().filter(|(_, n)| **n == 1).map(|(letter, _)| *letter).collect();
            format!("...{once}")
        },
        str::to_owned,
    );
    let (before, after) = right.split_once("...").map_or((right.as_str(), None), |(b, a)| (b, Some(a)));
    let mut dims: Dims = before.chars().map(|letter| sizes.get(&letter).cloned()).collect();
    if let Some(after) = after {
        dims.extend(dots);
        dims.extend(after.chars().map(|letter| sizes.get(&letter).cloned()));
    }
    context.set(0, element_type, Some(dims));
    Some(())
}
