//! Resizing is linear in its input, axis by axis.
//!
//! Repeating each element a whole number of times is undone by summing blocks. Any other way of
//! resizing an axis is a matrix, found by resizing the unit matrix in the same way, and is undone
//! by multiplying with the matrix transposed; sizes may be known only when the graph runs.

use onnxfit_onnx::proto::AttributeProto;

use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[("", "Resize", resize)];

fn resize(c: &mut Reverse<'_>) -> RuleResult {
    let mut gradient = c.dy()?;
    let rank = c.rank(0)?;
    let coordinates = c.node.string("coordinate_transformation_mode").unwrap_or("half_pixel").to_owned();
    if coordinates == "tf_crop_and_resize" {
        return unsupported("crops to a region of interest");
    }
    if !matches!(c.node.string("keep_aspect_ratio_policy"), None | Some("stretch")) {
        return unsupported("keeps the aspect ratio");
    }
    let listed: Vec<usize> = match c.node.ints("axes") {
        None => (0..rank).collect(),
        Some(axes) => axes.to_vec().iter().map(|axis| c.counted_from_front(*axis, rank)).collect::<Result<_, _>>()?,
    };
    let scales = c.fact(2).and_then(|fact| fact.known_floats()).filter(|scales| scales.len() == listed.len());
    let shape = |fact: Option<&onnxfit_shape::Fact>| fact.and_then(|fact| fact.shape.clone());
    let (from, to) = (shape(c.fact(0)), shape(c.output_fact(0)));
    let mut blocks = vec![1i64; rank];
    let mut matrices = Vec::new();
    for (at, axis) in listed.iter().enumerate() {
        let size = |dims: &Option<Vec<onnxfit_shape::Expr>>| dims.as_ref().and_then(|dims| dims.get(*axis).cloned());
        let (from, to) = (size(&from), size(&to));
        let scale = scales.as_ref().map(|scales| scales[at]);
        if scale == Some(1.0) || (scale.is_none() && from.is_some() && from == to) {
            continue;
        }
        let whole = match (scale, from.and_then(|dim| dim.as_constant()), to.and_then(|dim| dim.as_constant())) {
            (Some(scale), _, _) if scale >= 1.0 && scale.fract() == 0.0 => Some(scale as i64),
            (None, Some(from), Some(to)) if from > 0 && to % from == 0 => Some(to / from),
            _ => None,
        };
        match whole.filter(|_| repeats_whole(c, &coordinates)) {
            Some(block) => blocks[*axis] = block,
            None => matrices.push((at, *axis)),
        }
    }
    for (at, axis) in matrices {
        gradient = undo_axis(c, gradient, at, axis, rank)?;
    }
    if blocks.iter().any(|block| *block > 1) {
        gradient = sum_blocks(c, gradient, &blocks)?;
    }
    c.give(0, gradient);
    Ok(())
}

/// Whether growing by a whole factor repeats each element that many times.
fn repeats_whole(c: &Reverse<'_>, coordinates: &str) -> bool {
    let nearest = c.node.string("nearest_mode").unwrap_or("round_prefer_floor");
    c.node.string("mode").unwrap_or("nearest") == "nearest"
        && match coordinates {
            "asymmetric" => nearest == "floor",
            "half_pixel" | "pytorch_half_pixel" => nearest.starts_with("round_prefer"),
            _ => false,
        }
}

fn sum_blocks(c: &mut Reverse<'_>, gradient: Var, blocks: &[i64]) -> Result<Var, Unsupported> {
    let x = c.x(0)?;
    let dims = c.known_dims(0).unwrap_or_else(|| vec![None; blocks.len()]);
    let n_open = dims.iter().filter(|dim| dim.is_none()).count();
    let mut parts = Vec::new();
    let mut axes = Vec::new();
    for (axis, (dim, block)) in dims.iter().zip(blocks).enumerate() {
        parts.push(match dim {
            Some(dim) => c.ints(&[*dim]),
            None if n_open == 1 => c.ints(&[-1]),
            None => c.dim(x, axis as i64),
        });
        if *block > 1 {
            axes.push(parts.len() as i64);
            parts.push(c.ints(&[*block]));
        }
    }
    let numbers: Option<Vec<i64>> = (n_open <= 1).then(|| {
        let pairs = dims.iter().zip(blocks);
        pairs.flat_map(|(dim, block)| [dim.unwrap_or(-1)].into_iter().chain((*block > 1).then_some(*block))).collect()
    });
    let target = match numbers {
        Some(numbers) => c.ints(&numbers),
        None => c.concat(&parts, 0),
    };
    let apart = c.reshape(gradient, target);
    Ok(c.reduce_sum(apart, &axes, false))
}

fn undo_axis(c: &mut Reverse<'_>, gradient: Var, at: usize, axis: usize, rank: usize) -> Result<Var, Unsupported> {
    let x = c.x(0)?;
    let element_type = c.element_type();
    let (from, to) = (c.dim(x, axis as i64), c.dim(gradient, axis as i64));
    let square = c.concat(&[from, from], 0);
    let zeros = c.zeros(square, element_type);
    let unit = c.op("EyeLike", &[zeros]);
    let image = c.unsqueeze(unit, &[0, 1]);
    // The unit matrix's last axis is resized in the way that the node resizes this one.
    let kept =
        |attribute: &&onnxfit_graph::Attribute| !matches!(attribute.name.as_str(), "axes" | "keep_aspect_ratio_policy");
    let attributes: Vec<AttributeProto> =
        c.node.attributes.iter().filter(kept).map(onnxfit_graph::Attribute::to_proto).collect();
    let inputs = if c.fact(2).is_some_and(|fact| fact.n_elements().is_none_or(|n| !n.is(0))) {
        let scales = c.x(2)?;
        let scale = c.slice(scales, 0, at as i64, at as i64 + 1);
        let ones = c.numbers(onnxfit_onnx::DataType::Float, &[3], &[1.0; 3]);
        let scales = c.concat(&[ones, scale], 0);
        vec![Some(image), None, Some(scales)]
    } else {
        let ones = c.ints(&[1, 1]);
        let sizes = c.concat(&[ones, from, to], 0);
        vec![Some(image), None, None, Some(sizes)]
    };
    let matrix = c.emit("Resize", &inputs, attributes, 1)[0];
    let matrix = c.squeeze(matrix, &[0, 1]);
    if axis + 2 == rank {
        return Ok(c.matmul(matrix, gradient));
    }
    let turned = c.transpose(matrix, &[1, 0]);
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(axis, rank - 1);
    let last = c.transpose(gradient, &perm);
    let product = c.matmul(last, turned);
    Ok(c.transpose(product, &perm))
}
