//! Operators that move elements without choosing among them.

use onnxfit_onnx::DataType;

use super::{Entry, broadcast, one};
use crate::declared::Shape;
use crate::declared::merge::merge_dim;
use crate::declared::query::{Inferred, Query, known, normalise, number};
use crate::program::DeclaredDim;

pub(super) const RULES: &[Entry] = &[
    ("", &["Reshape"], reshape),
    ("", &["Transpose"], transpose),
    ("", &["Flatten"], flatten),
    ("", &["Squeeze"], squeeze),
    ("", &["Unsqueeze"], unsqueeze),
    ("", &["Concat"], concat),
    ("", &["Expand"], expand),
    ("", &["Tile"], tile),
    ("", &["Pad"], pad),
    ("", &["DepthToSpace"], depth_to_space),
    ("", &["SpaceToDepth"], space_to_depth),
    ("", &["Shape"], shape),
    ("", &["Size"], size),
];

fn reshape(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), reshaped(query)))
}

fn reshaped(query: &Query<'_>) -> Option<Shape> {
    let target = query.shape_input(1)?;
    // Before operator set 14 a target that is not known whole says nothing, not even a rank.
    if query.node.opset < 14 && target.iter().any(Option::is_none) {
        return None;
    }
    let input = query.shape(0);
    let keeps_zero = query.node.int("allowzero", 0) != 0;
    let mut shape = vec![DeclaredDim::Unknown; target.len()];
    let mut open_zeros = vec![false; target.len()];
    let mut product = Some(1_i64);
    let mut rest = None;
    for (at, wanted) in target.iter().enumerate() {
        match wanted {
            None => product = None,
            Some(-1) => rest = Some(at),
            Some(0) if !keeps_zero => {
                open_zeros[at] = true;
                if let Some(input) = input {
                    shape[at] = input.get(at)?.clone();
                    if let Some(value) = known(&shape[at]) {
                        product = product.and_then(|product| product.checked_mul(value as i64));
                        open_zeros[at] = false;
                    }
                }
            }
            Some(value) => {
                shape[at] = number(*value);
                product = product.and_then(|product| product.checked_mul(*value));
            }
        }
    }
    if let (Some(rest), Some(product), Some(input)) = (rest, product.filter(|product| *product != 0), input) {
        let mut total = Some(1_i64);
        for (at, dim) in input.iter().enumerate() {
            match known(dim) {
                Some(value) => total = total.and_then(|total| total.checked_mul(value as i64)),
                None if open_zeros.get(at) == Some(&true) => {}
                None => total = None,
            }
        }
        if let Some(total) = total.filter(|total| total % product == 0) {
            shape[rest] = number(total / product);
        }
    }
    Some(shape)
}

fn transpose(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|input| {
        let order = query.node.ints("perm");
        if order.is_empty() && !input.is_empty() {
            return Some(input.iter().rev().cloned().collect());
        }
        order.iter().map(|&axis| input.get(normalise(axis, input.len())?).cloned()).collect()
    });
    one(Inferred::new(query.element(0), shape))
}

fn flatten(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|input| {
        let axis = match query.node.int("axis", 1) {
            axis if axis == input.len() as i64 => input.len(),
            axis => normalise(axis, input.len())?,
        };
        Some(vec![multiplied(&input[..axis]), multiplied(&input[axis..])])
    });
    one(Inferred::new(query.element(0), shape))
}

/// A product of dimensions: a name survives only beside ones.
fn multiplied(dims: &[DeclaredDim]) -> DeclaredDim {
    dims.iter().fold(DeclaredDim::Value(1), |product, dim| match (&product, dim) {
        (DeclaredDim::Value(1), other) => other.clone(),
        (_, DeclaredDim::Value(1)) => product,
        (DeclaredDim::Value(left), DeclaredDim::Value(right)) => {
            left.checked_mul(*right).map_or(DeclaredDim::Unknown, DeclaredDim::Value)
        }
        _ => DeclaredDim::Unknown,
    })
}

fn squeeze(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), squeezed(query)))
}

fn squeezed(query: &Query<'_>) -> Option<Shape> {
    let input = query.shape(0)?;
    let Some(axes) = query.axes(1).ok()? else {
        let all_known = input.iter().all(|dim| known(dim).is_some());
        return all_known.then(|| input.iter().filter(|dim| known(dim) != Some(1)).cloned().collect());
    };
    let axes: Option<Vec<usize>> = axes.iter().map(|&axis| normalise(axis, input.len())).collect();
    let axes = axes?;
    Some(input.iter().enumerate().filter(|(at, _)| !axes.contains(at)).map(|(_, dim)| dim.clone()).collect())
}

fn unsqueeze(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|input| {
        let axes = query.axes(1).ok()??;
        let rank = input.len() + axes.len();
        let axes: Vec<usize> = axes.iter().map(|&axis| normalise(axis, rank)).collect::<Option<_>>()?;
        let mut left = input.iter();
        let dims: Option<Shape> = (0..rank)
            .map(|at| if axes.contains(&at) { Some(DeclaredDim::Value(1)) } else { left.next().cloned() })
            .collect();
        dims
    });
    one(Inferred::new(query.element(0), shape))
}

fn concat(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), concatenated(query)))
}

fn concatenated(query: &Query<'_>) -> Option<Shape> {
    let n_inputs = query.node.inputs.len();
    let inputs: Vec<&[DeclaredDim]> = (0..n_inputs).map(|at| query.shape(at)).collect::<Option<_>>()?;
    let rank = inputs.first()?.len();
    let axis = query.axis(1, rank)?;
    if inputs.len() == 1 {
        return Some(inputs[0].to_vec());
    }
    joined(&inputs, axis)
}

/// Parts side by side along this axis.
pub(super) fn joined(inputs: &[&[DeclaredDim]], axis: usize) -> Option<Shape> {
    let rank = inputs.first()?.len();
    let mut shape = vec![DeclaredDim::Unknown; rank];
    let mut total = Some(0_u64);
    for input in inputs {
        if input.len() != rank {
            return None;
        }
        for (at, dim) in input.iter().enumerate() {
            if at == axis {
                total = total.zip(known(dim)).and_then(|(total, dim)| total.checked_add(dim));
            } else {
                merge_dim(dim, &mut shape[at]);
            }
        }
    }
    if let Some(total) = total {
        shape[axis] = DeclaredDim::Value(total);
    }
    Some(shape)
}

fn expand(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(input, _)| {
        let target: Shape =
            query.shape_input(1)?.into_iter().map(|dim| dim.map_or(DeclaredDim::Unknown, number)).collect();
        broadcast::broadcast(&[input, &target])
    });
    one(Inferred::new(query.element(0), shape))
}

fn tile(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).map(|input| {
        let repeats = query.integers(1).filter(|repeats| repeats.len() == input.len());
        let repeated = |(at, dim): (usize, &DeclaredDim)| {
            let count = repeats.map(|repeats| repeats[at]);
            match known(dim).zip(count) {
                Some((dim, count)) => number((dim as i64).saturating_mul(count)),
                None => DeclaredDim::Unknown,
            }
        };
        input.iter().enumerate().map(repeated).collect()
    });
    one(Inferred::new(query.element(0), shape))
}

fn pad(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).map(|input| {
        let rank = input.len();
        let attribute = query.node.ints("pads");
        let pads = if attribute.is_empty() { query.integers(1) } else { Some(attribute) };
        let axes: Option<Vec<usize>> = if query.has(3) {
            query.integers(3).and_then(|axes| axes.iter().map(|&axis| normalise(axis, rank)).collect())
        } else {
            Some((0..rank).collect())
        };
        let Some((pads, axes)) = pads.zip(axes).filter(|(pads, axes)| pads.len() == 2 * axes.len()) else {
            return vec![DeclaredDim::Unknown; rank];
        };
        let mut shape = input.to_vec();
        for (at, axis) in axes.iter().enumerate() {
            let total = pads[at].saturating_add(pads[at + axes.len()]);
            shape[*axis] = match (&shape[*axis], total) {
                (dim, 0) => dim.clone(),
                (DeclaredDim::Value(value), total) => number((*value as i64).saturating_add(total)),
                _ => DeclaredDim::Unknown,
            };
        }
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn depth_to_space(query: &Query<'_>) -> Vec<Inferred> {
    let side = query.node.int("blocksize", 1).max(1) as u64;
    one(Inferred::new(query.element(0), blocks(query, |depth| depth / (side * side), |length| length * side)))
}

fn space_to_depth(query: &Query<'_>) -> Vec<Inferred> {
    let side = query.node.int("blocksize", 1).max(1) as u64;
    one(Inferred::new(query.element(0), blocks(query, |depth| depth * side * side, |length| length / side)))
}

fn blocks(query: &Query<'_>, depth: impl Fn(u64) -> u64, length: impl Fn(u64) -> u64) -> Option<Shape> {
    let [batch, channels, height, width] = query.shape(0)? else { return None };
    let map = |dim: &DeclaredDim, by: &dyn Fn(u64) -> u64| {
        known(dim).map_or(DeclaredDim::Unknown, |value| DeclaredDim::Value(by(value)))
    };
    Some(vec![batch.clone(), map(channels, &depth), map(height, &length), map(width, &length)])
}

fn shape(query: &Query<'_>) -> Vec<Inferred> {
    let length = query.shape(0).map_or(DeclaredDim::Unknown, |input| {
        let rank = input.len() as i64;
        let clamp = |position: i64| (if position < 0 { position + rank } else { position }).clamp(0, rank);
        number((clamp(query.node.int("end", rank)) - clamp(query.node.int("start", 0))).max(0))
    });
    one(Inferred::new(Some(DataType::Int64), Some(vec![length])))
}

fn size(_: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Int64), Some(Vec::new())))
}
