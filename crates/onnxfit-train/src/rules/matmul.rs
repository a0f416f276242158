//! Matrix products.
//!
//! A weight matrix that is shared by all batches gets its gradient from one product over all rows,
//! without a transposed copy.

use crate::emit::{float, int, text};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "Einsum", einsum),
    ("", "Gemm", gemm),
    ("", "MatMul", matmul),
    ("com.microsoft", "FusedMatMul", fused_matmul),
];

fn matmul(c: &mut Reverse<'_>) -> RuleResult {
    let (rank_a, rank_b) = (c.rank(0)?, c.rank(1)?);
    let (a, b, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    match (rank_a, rank_b) {
        (1, 1) => {
            if c.wants(0) {
                let gradient = c.mul(dy, b);
                c.give(0, gradient);
            }
            if c.wants(1) {
                let gradient = c.mul(dy, a);
                c.give(1, gradient);
            }
        }
        (1, _) => {
            let (row, dy) = (c.unsqueeze(a, &[0]), c.unsqueeze(dy, &[-2]));
            if c.wants(0) {
                let product = product_transposed(c, dy, b, rank_b);
                let column = c.squeeze(product, &[-2]);
                let axes: Vec<i64> = (0..rank_b as i64 - 2).collect();
                let gradient = if axes.is_empty() { column } else { c.reduce_sum(column, &axes, false) };
                c.give(0, gradient);
            }
            if c.wants(1) {
                let column = c.transpose(row, &[1, 0]);
                let gradient = c.matmul(column, dy);
                c.give(1, gradient);
            }
        }
        (_, 1) => {
            let (column, dy) = (c.unsqueeze(b, &[0]), c.unsqueeze(dy, &[-1]));
            if c.wants(0) {
                let gradient = c.matmul(dy, column);
                c.give(0, gradient);
            }
            if c.wants(1) {
                let product = c.mul(a, dy);
                let axes: Vec<i64> = (0..rank_a as i64 - 1).collect();
                let gradient = c.reduce_sum(product, &axes, false);
                c.give(1, gradient);
            }
        }
        (_, 2) => shared_matrix(c, a, b, dy, rank_a)?,
        _ => batched(c, a, b, dy, rank_a, rank_b),
    }
    Ok(())
}

/// `a` may have any number of rows before its last axis; `b` is one matrix.
fn shared_matrix(c: &mut Reverse<'_>, a: Var, b: Var, dy: Var, rank_a: usize) -> RuleResult {
    let (n_inner, n_columns) = (c.known_dim(1, 0), c.known_dim(1, 1));
    let rows = |c: &mut Reverse<'_>, value: Var, width: Option<i64>, axis: i64| -> Var {
        if rank_a == 2 {
            return value;
        }
        match width {
            Some(width) => c.reshape_to(value, &[-1, width]),
            None => {
                let width = c.dim(b, axis);
                let open = c.ints(&[-1]);
                let shape = c.concat(&[open, width], 0);
                c.reshape(value, shape)
            }
        }
    };
    let dy_rows = rows(c, dy, n_columns, 1);
    if c.wants(0) {
        let product = c.gemm(dy_rows, b, false, true);
        let gradient = if rank_a == 2 { product } else { c.reshape_like(product, 0)? };
        c.give(0, gradient);
    }
    if c.wants(1) {
        let a_rows = rows(c, a, n_inner, 0);
        let gradient = c.gemm(a_rows, dy_rows, true, false);
        c.give(1, gradient);
    }
    Ok(())
}

fn batched(c: &mut Reverse<'_>, a: Var, b: Var, dy: Var, rank_a: usize, rank_b: usize) {
    if c.wants(0) {
        let product = product_transposed(c, dy, b, rank_b);
        let gradient = sum_batches(c, product, 0);
        c.give(0, gradient);
    }
    if c.wants(1) {
        let left = c.transpose(a, &last_two_swapped(rank_a));
        let product = c.matmul(left, dy);
        let gradient = sum_batches(c, product, 1);
        c.give(1, gradient);
    }
}

/// `x` times the transposed `b`.
fn product_transposed(c: &mut Reverse<'_>, x: Var, b: Var, rank_b: usize) -> Var {
    let right = c.transpose(b, &last_two_swapped(rank_b));
    c.matmul(x, right)
}

fn last_two_swapped(rank: usize) -> Vec<i64> {
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(rank - 1, rank - 2);
    perm
}

/// Sums the batches that an operand was shared by. The last two axes are the operand's own.
fn sum_batches(c: &mut Reverse<'_>, product: Var, index: usize) -> Var {
    let operand = c.inputs[index].unwrap_or(product);
    let small = c.shape_of(index).map(<[_]>::to_vec);
    let large = c.output_fact(0).and_then(|fact| fact.shape.clone());
    let large = small.as_ref().zip(large).and_then(|(small, large)| {
        let n_batches = large.len().checked_sub(2)?;
        let own = small.get(small.len().checked_sub(2)?..)?;
        Some([&large[..n_batches], own].concat())
    });
    c.tape.sum_to(product, operand, small.as_deref(), large.as_deref())
}

/// `alpha op(A) op(B) + beta C`.
fn gemm(c: &mut Reverse<'_>) -> RuleResult {
    let (a, b, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let (alpha, beta) = (c.float_or("alpha", 1.0), c.float_or("beta", 1.0));
    let (transpose_a, transpose_b) = (c.int_or("transA", 0) != 0, c.int_or("transB", 0) != 0);
    let product = |c: &mut Reverse<'_>, left: Var, right: Var, transpose_left: bool, transpose_right: bool| {
        let mut attributes = Vec::new();
        if alpha != 1.0 {
            attributes.push(float("alpha", alpha as f32));
        }
        if transpose_left {
            attributes.push(int("transA", 1));
        }
        if transpose_right {
            attributes.push(int("transB", 1));
        }
        c.op_with("Gemm", &[left, right], attributes)
    };
    if c.wants(0) {
        let gradient =
            if transpose_a { product(c, b, dy, transpose_b, true) } else { product(c, dy, b, false, !transpose_b) };
        c.give(0, gradient);
    }
    if c.wants(1) {
        let gradient =
            if transpose_b { product(c, dy, a, true, transpose_a) } else { product(c, a, dy, !transpose_a, false) };
        c.give(1, gradient);
    }
    if c.wants(2) {
        let gradient = c.times(dy, beta);
        c.give_reduced(2, gradient)?;
    }
    Ok(())
}

/// ONNX Runtime's product with built-in transpositions, as in models that it optimized itself.
fn fused_matmul(c: &mut Reverse<'_>) -> RuleResult {
    let (rank_a, rank_b) = (c.rank(0)?, c.rank(1)?);
    if rank_a < 2 || rank_b < 2 || c.int_or("transBatchA", 0) != 0 || c.int_or("transBatchB", 0) != 0 {
        return unsupported("transposes batches, or multiplies vectors");
    }
    let (a, b, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let alpha = c.float_or("alpha", 1.0);
    let (transpose_a, transpose_b) = (c.int_or("transA", 0) != 0, c.int_or("transB", 0) != 0);
    let dy = c.times(dy, alpha);
    let swap = |c: &mut Reverse<'_>, x: Var, rank: usize, is_swapped: bool| {
        if is_swapped { c.transpose(x, &last_two_swapped(rank)) } else { x }
    };
    let rank_y = rank_a.max(rank_b);
    if c.wants(0) {
        let right = swap(c, b, rank_b, !transpose_b);
        let product = c.matmul(dy, right);
        let product = swap(c, product, rank_y, transpose_a);
        let gradient = sum_batches(c, product, 0);
        c.give(0, gradient);
    }
    if c.wants(1) {
        let left = swap(c, a, rank_a, !transpose_a);
        let product = c.matmul(left, dy);
        let product = swap(c, product, rank_y, transpose_b);
        let gradient = sum_batches(c, product, 1);
        c.give(1, gradient);
    }
    Ok(())
}

/// Each operand's gradient is a sum of products too: of the output's gradient and the others.
fn einsum(c: &mut Reverse<'_>) -> RuleResult {
    let equation = match c.node.string("equation") {
        Some(equation) => equation.replace(' ', ""),
        None => return unsupported("has no equation"),
    };
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), right.to_owned()),
        None => {
            // Without an arrow the output has the letters that appear once, in alphabetical order.
            let letters = equation.chars().filter(|letter| letter.is_alphabetic());
            let mut counts = std::collections::BTreeMap::new();
            letters.for_each(|letter| *counts.entry(letter).or_insert(0) += 1);
            let once: String = counts.iter().filter(|(_, count)| **count == 1).map(|(letter, _)| *letter).collect();
            (equation.clone(), once)
        }
    };
    let terms: Vec<String> = left.split(',').map(str::to_owned).collect();
    if equation.contains("...") || terms.len() != c.inputs.len() {
        return unsupported("has an ellipsis, or another number of terms than inputs");
    }
    let repeats = |term: &str| term.chars().enumerate().any(|(at, letter)| term[..at].contains(letter));
    if terms.iter().any(|term| repeats(term)) || repeats(&right) {
        return unsupported("repeats a letter within one term");
    }
    let dy = c.dy()?;
    for index in 0..terms.len() {
        if !c.wants(index) {
            continue;
        }
        let others: Vec<usize> = (0..terms.len()).filter(|other| *other != index).collect();
        let mut parts = vec![right.clone()];
        parts.extend(others.iter().map(|other| terms[*other].clone()));
        let is_there = |letter: &char| parts.iter().any(|part| part.contains(*letter));
        let kept: String = terms[index].chars().filter(is_there).collect();
        let mut operands = vec![dy];
        for other in &others {
            operands.push(c.x(*other)?);
        }
        let equation = format!("{}->{kept}", parts.join(","));
        let mut gradient = c.op_with("Einsum", &operands, vec![text("equation", &equation)]);
        if kept.len() != terms[index].len() {
            gradient = put_back(c, gradient, index, &terms[index], &kept)?;
        }
        c.give(index, gradient);
    }
    Ok(())
}

/// Axes that were summed away alone get the same gradient everywhere.
fn put_back(c: &mut Reverse<'_>, value: Var, index: usize, term: &str, kept: &str) -> Result<Var, Unsupported> {
    let axes: Vec<i64> =
        term.chars().enumerate().filter(|(_, letter)| !kept.contains(*letter)).map(|(at, _)| at as i64).collect();
    let value = c.unsqueeze(value, &axes);
    let shape = c.shape_vector(index)?;
    Ok(c.expand(value, shape))
}
