//! A transpose before a `Reshape` that only permutes or splits dimensions.

use onnxfit_graph::Dim;

use super::Push;
use super::handlers::merge;
use super::perm::is_identity;
use super::push::{add_ints, transpose_output};
use crate::rewrite::net::{Net, known_dim};

/// Treats the reshape as a transpose, or moves the transpose behind a split of dimensions.
pub(super) fn reshape(net: &mut Net, push: &Push<'_>) -> bool {
    as_transpose(net, push) || split(net, push)
}

/// Sizes with −1 where they are not known.
fn sizes(shape: &[Dim]) -> Vec<i64> {
    shape.iter().map(|dim| known_dim(dim).unwrap_or(-1)).collect()
}

fn as_transpose(net: &mut Net, push: &Push<'_>) -> bool {
    let found = (|| {
        let before = net.input_shape(push.transpose, 0)?;
        let input = sizes(net.arg(net.op(push.transpose).output(0)?).shape.as_deref()?);
        let wanted = net.constant_ints(net.op(push.node).input(1)?).filter(|wanted| !wanted.is_empty())?;
        if before.len() != wanted.len() || input.len() != wanted.len() || input.iter().any(|size| *size < 0) {
            return None;
        }
        let keep_zero = net.op(push.node).int("allowzero").unwrap_or(0) != 0;
        let total = crate::rewrite::content::count(&input);
        let mut shape: Vec<i64> = wanted
            .iter()
            .zip(&input)
            .map(|(size, have)| if *size == 0 && !keep_zero { *have } else { *size })
            .collect();
        let stated = shape.iter().filter(|size| **size != -1);
        let product = stated.fold(1i64, |product, size| product.saturating_mul(*size));
        match shape.iter().filter(|size| **size == -1).count() {
            0 if product == total => {}
            1 if product != 0 && total % product == 0 => {
                for size in shape.iter_mut().filter(|size| **size == -1) {
                    *size = total / product;
                }
            }
            _ => return None,
        }
        let mut free = input.clone();
        let mut perm = Vec::with_capacity(shape.len());
        for target in shape {
            let mut at = 0;
            while free[at] != target {
                if free[at] != -1 && free[at] != 1 && target != 1 {
                    return None;
                }
                at += 1;
                if at == free.len() {
                    return None;
                }
            }
            perm.push(at as i64);
            free[at] = -1;
        }
        Some(perm)
    })();
    found.is_some_and(|perm| merge(net, push, &perm))
}

fn split(net: &mut Net, push: &Push<'_>) -> bool {
    // New in ONNX Runtime 1.30.
    let found = (|| {
        let rank = push.perm.len();
        let before: Vec<i64> = net.input_shape(push.transpose, 0)?.iter().map(known_dim).collect::<Option<_>>()?;
        net.constant_ints(net.op(push.node).input(1)?).filter(|wanted| !wanted.is_empty())?;
        let wanted = net.arg(net.op(push.node).output(0)?).static_shape()?;
        if before.len() != rank || wanted.len() <= rank || wanted.iter().any(|size| *size <= 0) {
            return None;
        }
        let mut groups = Vec::with_capacity(rank);
        let mut cursor = 0;
        for axis in push.perm {
            let target = before[*axis as usize];
            let start = cursor;
            let mut product = 1;
            loop {
                let size = *wanted.get(cursor)?;
                if target > 0 && product > target / size {
                    return None;
                }
                product *= size;
                cursor += 1;
                if product >= target {
                    break;
                }
            }
            if product != target {
                return None;
            }
            groups.push(start..cursor);
        }
        if cursor != wanted.len() {
            return None;
        }
        let mut shape = Vec::with_capacity(wanted.len());
        let mut perm = vec![0i64; wanted.len()];
        for axis in push.inverse {
            for at in groups[*axis as usize].clone() {
                perm[at] = shape.len() as i64;
                shape.push(wanted[at]);
            }
        }
        Some((shape, perm))
    })();
    let Some((shape, perm)) = found else { return false };
    let before = net.op(push.transpose).input(0);
    let shape = add_ints(net, &shape);
    net.set_input(push.node, 0, before);
    net.set_input(push.node, 1, Some(shape));
    if !is_identity(&perm) {
        transpose_output(net, push.node, 0, &perm);
    }
    if !net.has_output_edges(push.transpose) && !net.makes_graph_output(push.transpose) {
        net.remove_op(push.transpose);
    }
    true
}
