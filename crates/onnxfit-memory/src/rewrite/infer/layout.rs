//! Operators that move elements without computing.

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::{Context, Inferred, Rule, axis_from_front, dim_value, known, one, sized};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Reshape", reshape),
    ("Transpose", transpose),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Flatten", flatten),
    ("Concat", concat),
    ("Split", split),
    ("Slice", slice),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("Pad", pad),
    ("Tile", tile),
    ("Expand", expand),
    ("Resize", resize),
    ("Upsample", resize),
];

/// More dimensions are not made up from a length alone.
pub(super) const RANK_MAX: usize = 1024;

fn reshape(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), reshaped(context))
}

fn reshaped(context: &Context<'_>) -> Option<Vec<Dim>> {
    let Some(target) = context.values_of("shape", 1) else {
        // Only how many dimensions there are, and before opset 14 not even that.
        return match context.shape(1)? {
            [Dim::Known(rank)] if context.opset() >= 14 => {
                Some(vec![Dim::Unknown; usize::try_from(*rank).ok().filter(|rank| *rank <= RANK_MAX)?])
            }
            _ => None,
        };
    };
    let zero_copies = context.op.int("allowzero").unwrap_or(0) == 0;
    let input = context.shape(0);
    let mut result = Vec::with_capacity(target.len());
    let mut open = None;
    let mut made = 1i64;
    let mut copied_symbols = vec![false; target.len()];
    for (index, size) in target.iter().enumerate() {
        match size {
            -1 => {
                open = Some(index);
                result.push(Dim::Unknown);
            }
            0 if zero_copies => {
                let dim = input.and_then(|input| input.get(index)).cloned().unwrap_or(Dim::Unknown);
                match dim_value(&dim) {
                    Some(value) => made = made.checked_mul(value)?,
                    None => copied_symbols[index] = true,
                }
                result.push(dim);
            }
            size => {
                made = made.checked_mul(*size)?;
                result.push(Dim::Known(*size));
            }
        }
    }
    if let (Some(open), Some(input)) = (open, input)
        && made != 0
    {
        let mut available = Some(1i64);
        for (index, dim) in input.iter().enumerate() {
            match dim_value(dim) {
                Some(value) => available = available.and_then(|product| product.checked_mul(value)),
                // A symbol that was copied as a whole cancels out.
                None if copied_symbols.get(index) == Some(&true) => {}
                None => available = None,
            }
        }
        if let Some(available) = available.filter(|available| available % made == 0) {
            result[open] = Dim::Known(available / made);
        }
    }
    Some(result)
}

fn transpose(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        match context.op.ints("perm") {
            Some(perm) => perm.iter().map(|axis| shape.get(usize::try_from(*axis).ok()?).cloned()).collect(),
            None => Some(shape.iter().rev().cloned().collect()),
        }
    })();
    one(context.elem(0), shape)
}

fn squeeze(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let axes = match context.values_of("axes", 1) {
            Some(axes) => axes.iter().map(|axis| axis_from_front(*axis, shape.len())).collect::<Option<Vec<_>>>()?,
            None if context.op.input(1).is_some() => return None,
            None => {
                let values: Vec<i64> = shape.iter().map(dim_value).collect::<Option<_>>()?;
                values.iter().enumerate().filter(|(_, value)| **value == 1).map(|(index, _)| index).collect()
            }
        };
        let kept = shape.iter().enumerate().filter(|(index, _)| !axes.contains(index));
        Some(kept.map(|(_, dim)| dim.clone()).collect())
    })();
    one(context.elem(0), shape)
}

fn unsqueeze(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let mut shape = context.shape(0)?.to_vec();
        let axes = context.values_of("axes", 1)?;
        let rank = shape.len() + axes.len();
        let mut axes = axes.iter().map(|axis| axis_from_front(*axis, rank)).collect::<Option<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        for axis in axes {
            if axis > shape.len() {
                return None;
            }
            shape.insert(axis, Dim::Known(1));
        }
        Some(shape)
    })();
    one(context.elem(0), shape)
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [] => Dim::Known(1),
        [dim] => dim.clone(),
        dims => {
            let values: Option<Vec<i64>> = dims.iter().map(dim_value).collect();
            let others: Vec<&Dim> = dims.iter().filter(|dim| **dim != Dim::Known(1)).collect();
            match (values, others.as_slice()) {
                (Some(values), _) => {
                    values.iter().try_fold(1i64, |a, b| a.checked_mul(*b)).map_or(Dim::Unknown, Dim::Known)
                }
                (None, [dim]) => (*dim).clone(),
                _ => Dim::Unknown,
            }
        }
    }
}

fn flatten(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let axis = context.op.int("axis").unwrap_or(1);
        let axis = if axis == shape.len() as i64 { shape.len() } else { axis_from_front(axis, shape.len())? };
        Some(vec![product(&shape[..axis]), product(&shape[axis..])])
    })();
    one(context.elem(0), shape)
}

fn concat(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), joined(context, 0, 1))
}

/// Parts side by side: from this input on, every so many.
pub(super) fn joined(context: &Context<'_>, first: usize, step: usize) -> Option<Vec<Dim>> {
    let parts: Vec<usize> = (first..context.op.inputs.len()).step_by(step).collect();
    let shape = context.shape(first)?;
    let axis = context.axis(1, shape.len())?;
    let mut result = shape.to_vec();
    let mut total = Some(0i64);
    for index in &parts {
        let shape = context.shape(*index)?;
        if shape.len() != result.len() {
            return None;
        }
        for (at, dim) in shape.iter().enumerate() {
            if at == axis {
                total = total.and_then(|total| total.checked_add(dim_value(dim)?));
            } else if dim_value(&result[at]).is_none() && *dim != Dim::Unknown {
                // A number, or else a name, from any input.
                if dim_value(dim).is_some() || result[at] == Dim::Unknown {
                    result[at] = dim.clone();
                }
            }
        }
    }
    if parts.len() > 1 {
        result[axis] = total.map_or(Dim::Unknown, Dim::Known);
    }
    Some(result)
}

fn split(context: &Context<'_>) -> Vec<Inferred> {
    let n_outputs = context.op.outputs.len();
    let parts = (|| {
        let shape = context.shape(0)?;
        let axis = context.axis(0, shape.len())?;
        // ONNX looks at the parts only where the whole is known.
        let sizes: Option<Vec<i64>> = dim_value(&shape[axis]).and_then(|size| match context.values_of("split", 1) {
            Some(sizes) => Some(sizes),
            None if context.op.input(1).is_some() => None,
            None => {
                let n = n_outputs as i64;
                let chunk = if size % n == 0 { size / n } else { size / n + 1 };
                Some((0..n).map(|part| chunk.min(size - part * chunk)).collect())
            }
        });
        Some(
            (0..n_outputs)
                .map(|part| {
                    let mut shape = shape.to_vec();
                    shape[axis] =
                        sizes.as_ref().and_then(|sizes| sizes.get(part)).map_or(Dim::Unknown, |size| Dim::Known(*size));
                    shape
                })
                .collect::<Vec<_>>(),
        )
    })();
    (0..n_outputs)
        .map(|part| Inferred { elem: context.elem(0), shape: parts.as_ref().map(|parts| parts[part].clone()) })
        .collect()
}

/// The bounds of a slice along one axis of known size (ONNX's clamping).
pub(crate) fn slice_bounds(size: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let wrap = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    if step > 0 {
        (wrap(start).clamp(0, size), wrap(end).clamp(0, size))
    } else {
        (wrap(start).clamp(0, (size - 1).max(0)), wrap(end).clamp(-1, (size - 1).max(-1)))
    }
}

/// How many elements a slice takes along one axis.
pub(crate) fn slice_length(size: i64, start: i64, end: i64, step: i64) -> i64 {
    let (start, end) = slice_bounds(size, start, end, step);
    let (length, step) = (i128::from(end) - i128::from(start), i128::from(step));
    let count = if step > 0 { (length + step - 1).div_euclid(step) } else { (length + step + 1) / step };
    i64::try_from(count.max(0)).unwrap_or(0)
}

fn slice(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let unknown = || vec![Dim::Unknown; shape.len()];
        let (Some(starts), Some(ends)) = (context.values_of("starts", 1), context.values_of("ends", 2)) else {
            return Some(unknown());
        };
        let axes = match context.values_of("axes", 3) {
            Some(axes) => axes,
            None if context.op.input(3).is_some() => return Some(unknown()),
            None => (0..starts.len() as i64).collect(),
        };
        let steps = match context.values(4) {
            Some(steps) => steps,
            None if context.op.input(4).is_some() => return Some(unknown()),
            None => vec![1; starts.len()],
        };
        let mut result = shape.to_vec();
        for (index, axis) in axes.iter().enumerate() {
            let axis = axis_from_front(*axis, shape.len())?;
            let (start, end, step) = (*starts.get(index)?, *ends.get(index)?, *steps.get(index)?);
            if step == 0 {
                return None;
            }
            result[axis] = match dim_value(&shape[axis]) {
                Some(size) => Dim::Known(slice_length(size, start, end, step)),
                None => Dim::Unknown,
            };
        }
        Some(result)
    })();
    one(context.elem(0), shape)
}

fn blocks(context: &Context<'_>, to_space: bool) -> Option<Vec<Dim>> {
    let [batch, channels, height, width] = context.shape(0)? else { return None };
    let block = context.op.int("blocksize").filter(|block| (1..1 << 16).contains(block))?;
    let scale = |dim: &Dim, times: i64, over: i64| {
        dim_value(dim)
            .map_or(Dim::Unknown, |value| sized(i128::from(value) * i128::from(times) / i128::from(over.max(1))))
    };
    Some(if to_space {
        vec![batch.clone(), scale(channels, 1, block * block), scale(height, block, 1), scale(width, block, 1)]
    } else {
        vec![batch.clone(), scale(channels, block * block, 1), scale(height, 1, block), scale(width, 1, block)]
    })
}

fn depth_to_space(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), blocks(context, true))
}

fn space_to_depth(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), blocks(context, false))
}

fn pad(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let Some(pads) = context.values_of("pads", 1) else { return Some(vec![Dim::Unknown; shape.len()]) };
        let axes = match context.values(3) {
            Some(axes) => axes.iter().map(|axis| axis_from_front(*axis, shape.len())).collect::<Option<Vec<_>>>()?,
            None if context.op.input(3).is_some() => return Some(vec![Dim::Unknown; shape.len()]),
            None => (0..shape.len()).collect(),
        };
        let mut result = shape.to_vec();
        for (index, axis) in axes.iter().enumerate() {
            let total = i128::from(*pads.get(index)?) + i128::from(*pads.get(index + axes.len())?);
            result[*axis] = match &shape[*axis] {
                Dim::Known(size) => sized(i128::from(*size) + total),
                dim if total == 0 => dim.clone(),
                _ => Dim::Unknown,
            };
        }
        Some(result)
    })();
    one(context.elem(0), shape)
}

fn tile(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let Some(repeats) = context.values(1) else { return Some(vec![Dim::Unknown; shape.len()]) };
        let tiled = shape.iter().zip(&repeats).map(|(dim, times)| match dim {
            Dim::Known(size) => sized(i128::from(*size) * i128::from(*times)),
            dim if *times == 1 => dim.clone(),
            _ => Dim::Unknown,
        });
        Some(tiled.collect())
    })();
    one(context.elem(0), shape)
}

fn expand(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let target = match context.values(1) {
            Some(values) => known(&values),
            // Only how many dimensions there are.
            None => match context.shape(1)? {
                [Dim::Known(rank)] => vec![Dim::Unknown; usize::try_from(*rank).ok().filter(|rank| *rank <= RANK_MAX)?],
                _ => return None,
            },
        };
        super::broadcast(&[shape, &target])
    })();
    one(context.elem(0), shape)
}

fn resize(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let shape = context.shape(0)?;
        let (scales_at, sizes_at) = match context.opset() {
            ..=10 => (1, usize::MAX),
            _ => (2, 3),
        };
        let has =
            |index: usize| context.input(index).is_some_and(|arg| arg.static_shape().is_none_or(|dims| dims != [0]));
        if sizes_at != usize::MAX && has(sizes_at) {
            let Some(sizes) = context.values(sizes_at) else { return Some(vec![Dim::Unknown; shape.len()]) };
            if sizes.len() == shape.len() && context.op.ints("axes").is_none() {
                return Some(known(&sizes));
            }
            return None;
        }
        let scales =
            context.op.input(scales_at).and_then(|arg| super::super::content::floats(context.net.constant(arg)?));
        let Some(scales) = scales.filter(|scales| scales.len() == shape.len()) else {
            return Some(vec![Dim::Unknown; shape.len()]);
        };
        let scaled = shape.iter().zip(&scales).map(|(dim, scale)| match dim {
            Dim::Known(size) => Dim::Known((*size as f64 * scale).floor() as i64),
            _ => Dim::Unknown,
        });
        Some(scaled.collect())
    })();
    one(context.elem(0), shape)
}

/// The element type that ONNX gives shapes.
pub(super) const SHAPE: Option<DataType> = Some(DataType::Int64);
