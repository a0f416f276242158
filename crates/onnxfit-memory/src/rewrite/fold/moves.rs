//! Evaluation of operators that move or make elements.

use onnxfit_onnx::DataType;

use super::evaluate::{Call, Evaluate};
use super::value::{Data, N_ELEMENTS_MAX, Value, broadcast_dims, broadcast_positions, volume};
use crate::rewrite::infer::axis_from_front;
use crate::rewrite::infer::layout::{slice_bounds, slice_length};

pub(super) const TABLE: &[(&str, Evaluate)] = &[
    ("Identity", |call| Some(vec![call.input(0)?.clone()])),
    ("Size", |call| Some(vec![Value::ints(DataType::Int64, Vec::new(), vec![call.input(0)?.n_elements() as i64])])),
    ("Gather", gather),
    ("Concat", concat),
    ("Unsqueeze", unsqueeze),
    ("Squeeze", squeeze),
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Slice", slice),
    ("Transpose", transpose),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("Expand", expand),
    ("Tile", tile),
    ("Split", split),
];

fn gather(call: &Call<'_>) -> Option<Vec<Value>> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let axis = axis_from_front(call.op.int("axis").unwrap_or(0), data.dims.len())?;
    let size = data.dims[axis];
    let inner: usize = volume(&data.dims[axis + 1..]);
    let outer: usize = volume(&data.dims[..axis]);
    let mut positions = Vec::new();
    for before in 0..outer {
        for index in indices.as_ints()? {
            let index = axis_from_front(*index, size)?;
            let start = (before * size + index) * inner;
            positions.extend(start..start + inner);
        }
    }
    let dims = [&data.dims[..axis], &indices.dims, &data.dims[axis + 1..]].concat();
    Some(vec![data.pick(dims, &positions)?])
}

fn concat(call: &Call<'_>) -> Option<Vec<Value>> {
    let parts: Vec<&Value> = (0..call.inputs.len()).map(|index| call.input(index)).collect::<Option<_>>()?;
    let first = *parts.first()?;
    let axis = axis_from_front(call.op.int("axis").unwrap_or(1), first.dims.len())?;
    let outer: usize = volume(&first.dims[..axis]);
    let mut dims = first.dims.clone();
    dims[axis] = parts.iter().map(|part| part.dims.get(axis).copied().unwrap_or(0)).sum();
    let is_float = matches!(first.data, Data::Floats(_));
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    for before in 0..outer {
        for part in &parts {
            let chunk: usize = volume(part.dims.get(axis..)?);
            let range = before * chunk..(before + 1) * chunk;
            match &part.data {
                Data::Ints(values) => ints.extend_from_slice(values.get(range)?),
                Data::Floats(values) => floats.extend_from_slice(values.get(range)?),
            }
        }
    }
    let data = if is_float { Data::Floats(floats) } else { Data::Ints(ints) };
    Some(vec![Value { elem: first.elem, dims, data }])
}

fn unsqueeze(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let axes = call.ints_of("axes", 1)?;
    let rank = input.dims.len() + axes.len();
    let mut axes: Vec<usize> = axes.iter().map(|axis| axis_from_front(*axis, rank)).collect::<Option<_>>()?;
    axes.sort_unstable();
    let mut dims = input.dims.clone();
    for axis in axes {
        if axis > dims.len() {
            return None;
        }
        dims.insert(axis, 1);
    }
    Some(vec![input.shaped(dims)?])
}

fn squeeze(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let axes: Option<Vec<usize>> = match call.ints_of("axes", 1) {
        Some(axes) => axes.iter().map(|axis| axis_from_front(*axis, input.dims.len())).collect(),
        None => Some((0..input.dims.len()).filter(|axis| input.dims[*axis] == 1).collect()),
    };
    let axes = axes?;
    let kept = input.dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| *dim);
    Some(vec![input.shaped(kept.collect())?])
}

fn reshape(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let target = call.ints_of("shape", 1)?;
    let keep_zero = call.op.int("allowzero").unwrap_or(0) != 0;
    let mut dims = Vec::with_capacity(target.len());
    for (at, size) in target.iter().enumerate() {
        dims.push(match size {
            0 if !keep_zero => *input.dims.get(at)?,
            -1 => 1,
            size => usize::try_from(*size).ok()?,
        });
    }
    if let Some(open) = target.iter().position(|size| *size == -1) {
        dims[open] = input.n_elements().checked_div(volume(&dims))?;
    }
    Some(vec![input.shaped(dims)?])
}

fn flatten(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let axis = call.op.int("axis").unwrap_or(1);
    let rank = input.dims.len();
    let axis = if axis == rank as i64 { rank } else { axis_from_front(axis, rank)? };
    Some(vec![input.shaped(vec![volume(&input.dims[..axis]), volume(&input.dims[axis..])])?])
}

fn slice(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let (starts, ends) = (call.ints_of("starts", 1)?, call.ints_of("ends", 2)?);
    let axes = call.ints_of("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps =
        call.input(4).and_then(|value| Some(value.as_ints()?.to_vec())).unwrap_or_else(|| vec![1; starts.len()]);
    let mut taken: Vec<Vec<usize>> = input.dims.iter().map(|dim| (0..*dim).collect()).collect();
    for (at, axis) in axes.iter().enumerate() {
        let axis = axis_from_front(*axis, input.dims.len())?;
        let (start, end, step) = (*starts.get(at)?, *ends.get(at)?, *steps.get(at)?);
        let size = input.dims[axis] as i64;
        if step == 0 {
            return None;
        }
        let length = slice_length(size, start, end, step);
        let (first, _) = slice_bounds(size, start, end, step);
        taken[axis] = (0..length).map(|at| usize::try_from(first + at * step)).collect::<Result<_, _>>().ok()?;
    }
    let mut positions = vec![0usize];
    for (axis, indices) in taken.iter().enumerate() {
        positions =
            positions.iter().flat_map(|at| indices.iter().map(move |index| at * input.dims[axis] + index)).collect();
    }
    Some(vec![input.pick(taken.iter().map(Vec::len).collect(), &positions)?])
}

fn transpose(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let rank = input.dims.len();
    let perm: Vec<usize> = match call.op.ints("perm") {
        Some(perm) => perm.iter().map(|axis| axis_from_front(*axis, rank)).collect::<Option<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut strides = vec![1; rank];
    for axis in (1..rank).rev() {
        strides[axis - 1] = strides[axis] * input.dims[axis];
    }
    let mut positions = vec![0usize];
    for axis in &perm {
        let (size, stride) = (input.dims[*axis], strides[*axis]);
        positions = positions.iter().flat_map(|at| (0..size).map(move |index| at + index * stride)).collect();
    }
    Some(vec![input.pick(perm.iter().map(|axis| input.dims[*axis]).collect(), &positions)?])
}

fn constant_of_shape(call: &Call<'_>) -> Option<Vec<Value>> {
    let dims: Vec<usize> =
        call.input(0)?.as_ints()?.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().ok()?;
    let n = dims.iter().try_fold(1usize, |total, dim| total.checked_mul(*dim)).filter(|n| *n <= N_ELEMENTS_MAX)?;
    let fill = match call.op.tensor("value") {
        Some(tensor) => Value::of(tensor)?,
        None => Value { elem: DataType::Float, dims: vec![1], data: Data::Floats(vec![0.0]) },
    };
    Some(vec![fill.pick(dims, &vec![0; n])?])
}

fn range(call: &Call<'_>) -> Option<Vec<Value>> {
    let [start, limit, delta] = [0, 1, 2].map(|index| call.input(index));
    let (start, limit, delta) = (start?, limit?, delta?);
    let value = match (&start.data, &limit.data, &delta.data) {
        (Data::Ints(start_at), Data::Ints(limit), Data::Ints(delta)) => {
            let (first, limit, delta) = (*start_at.first()?, *limit.first()?, *delta.first()?);
            let n = usize::try_from(((limit - first) as f64 / delta as f64).ceil().max(0.0) as i64).ok()?;
            if delta == 0 || n > N_ELEMENTS_MAX {
                return None;
            }
            Value::ints(start.elem, vec![n], (0..n as i64).map(|at| first + at * delta).collect())
        }
        (Data::Floats(start_at), Data::Floats(limit), Data::Floats(delta)) => {
            let (first, limit, delta) = (*start_at.first()?, *limit.first()?, *delta.first()?);
            let n = ((limit - first) / delta).ceil().max(0.0);
            if !n.is_finite() || n > N_ELEMENTS_MAX as f64 {
                return None;
            }
            let data = Data::Floats((0..n as usize).map(|at| first + at as f64 * delta).collect());
            Value { elem: start.elem, dims: vec![n as usize], data }
        }
        _ => return None,
    };
    Some(vec![value])
}

fn expand(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let target: Vec<usize> =
        call.input(1)?.as_ints()?.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().ok()?;
    let dims = broadcast_dims(&[&input.dims, &target])?;
    let positions = broadcast_positions(&input.dims, &dims);
    Some(vec![input.pick(dims, &positions)?])
}

fn tile(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let repeats: Vec<usize> =
        call.input(1)?.as_ints()?.iter().map(|times| usize::try_from(*times)).collect::<Result<_, _>>().ok()?;
    if repeats.len() != input.dims.len() {
        return None;
    }
    let dims: Vec<usize> = input.dims.iter().zip(&repeats).map(|(dim, times)| dim.saturating_mul(*times)).collect();
    if volume(&dims) > N_ELEMENTS_MAX {
        return None;
    }
    let mut positions = vec![0usize];
    for (axis, dim) in dims.iter().enumerate() {
        let size = input.dims[axis];
        positions = positions.iter().flat_map(|at| (0..*dim).map(move |index| at * size + index % size)).collect();
    }
    Some(vec![input.pick(dims, &positions)?])
}

fn split(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let axis = axis_from_front(call.op.int("axis").unwrap_or(0), input.dims.len())?;
    let n_outputs = call.op.outputs.len();
    let sizes: Vec<usize> = match call.ints_of("split", 1) {
        Some(sizes) => sizes.iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>().ok()?,
        None => vec![input.dims[axis].checked_div(n_outputs)?; n_outputs],
    };
    let outer: usize = volume(&input.dims[..axis]);
    let inner: usize = volume(&input.dims[axis + 1..]);
    let mut results = Vec::with_capacity(n_outputs);
    let mut offset = 0;
    for size in sizes {
        let mut dims = input.dims.clone();
        dims[axis] = size;
        let positions: Vec<usize> = (0..outer)
            .flat_map(|before| {
                let start = (before * input.dims[axis] + offset) * inner;
                start..start + size * inner
            })
            .collect();
        results.push(input.pick(dims, &positions)?);
        offset += size;
    }
    Some(results)
}
