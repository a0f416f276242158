//! Evaluation of element-wise operators and reductions.

use onnxfit_onnx::DataType;

use super::evaluate::{Call, Evaluate};
use super::value::{Data, Value, broadcast_dims, broadcast_positions, volume};
use crate::rewrite::infer::axis_from_front;

pub(super) const TABLE: &[(&str, Evaluate)] = &[
    ("Add", |call| binary(call, i64::checked_add, |a, b| a + b)),
    ("Sub", |call| binary(call, i64::checked_sub, |a, b| a - b)),
    ("Mul", |call| binary(call, i64::checked_mul, |a, b| a * b)),
    ("Div", |call| binary(call, i64::checked_div, |a, b| a / b)),
    ("Mod", modulo),
    ("Pow", power),
    ("Max", |call| binary(call, |a, b| Some(a.max(b)), f64::max)),
    ("Min", |call| binary(call, |a, b| Some(a.min(b)), f64::min)),
    ("Equal", |call| compare(call, |a, b| a == b, |a, b| a == b)),
    ("Greater", |call| compare(call, |a, b| a > b, |a, b| a > b)),
    ("Less", |call| compare(call, |a, b| a < b, |a, b| a < b)),
    ("GreaterOrEqual", |call| compare(call, |a, b| a >= b, |a, b| a >= b)),
    ("LessOrEqual", |call| compare(call, |a, b| a <= b, |a, b| a <= b)),
    ("And", |call| compare(call, |a, b| a != 0 && b != 0, |_, _| false)),
    ("Or", |call| compare(call, |a, b| a != 0 || b != 0, |_, _| false)),
    ("Xor", |call| compare(call, |a, b| (a != 0) != (b != 0), |_, _| false)),
    ("Not", |call| unary(call, |a| Some(i64::from(a == 0)), |a| a)),
    ("Neg", |call| unary(call, i64::checked_neg, |a| -a)),
    ("Abs", |call| unary(call, i64::checked_abs, f64::abs)),
    ("Sqrt", |call| unary(call, |_| None, f64::sqrt)),
    ("Floor", |call| unary(call, |_| None, f64::floor)),
    ("Ceil", |call| unary(call, |_| None, f64::ceil)),
    ("Exp", |call| unary(call, |_| None, f64::exp)),
    ("Log", |call| unary(call, |_| None, f64::ln)),
    ("Reciprocal", |call| unary(call, |_| None, f64::recip)),
    ("Sign", |call| unary(call, |a| Some(a.signum()), |a| if a == 0.0 { 0.0 } else { a.signum() })),
    ("Cast", cast),
    ("Where", choose),
    ("Round", |call| unary(call, |_| None, f64::round_ties_even)),
    ("ReduceProd", |call| reduce(call, i64::checked_mul, None)),
    ("ReduceSum", |call| reduce(call, i64::checked_add, None)),
    ("ReduceMax", |call| reduce(call, |a, b| Some(a.max(b)), Some(f64::max))),
    ("ReduceMin", |call| reduce(call, |a, b| Some(a.min(b)), Some(f64::min))),
];

fn binary(call: &Call<'_>, ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Option<Vec<Value>> {
    let mut result = call.input(0)?.clone();
    for index in 1..call.inputs.len() {
        result = pairwise(&result, call.input(index)?, ints, floats)?;
    }
    Some(vec![result])
}

fn pairwise(
    left: &Value,
    right: &Value,
    ints: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Option<Value> {
    let dims = broadcast_dims(&[&left.dims, &right.dims])?;
    let (l, r) = (broadcast_positions(&left.dims, &dims), broadcast_positions(&right.dims, &dims));
    let data = match (&left.data, &right.data) {
        (Data::Ints(a), Data::Ints(b)) => {
            Data::Ints(l.iter().zip(&r).map(|(l, r)| ints(*a.get(*l)?, *b.get(*r)?)).collect::<Option<_>>()?)
        }
        (Data::Floats(a), Data::Floats(b)) => {
            Data::Floats(l.iter().zip(&r).map(|(l, r)| Some(floats(*a.get(*l)?, *b.get(*r)?))).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(Value { elem: left.elem, dims, data: rounded(data, left.elem) })
}

/// Single precision stays single precision.
fn rounded(data: Data, elem: DataType) -> Data {
    match data {
        Data::Floats(values) if elem == DataType::Float => {
            Data::Floats(values.into_iter().map(|value| f64::from(value as f32)).collect())
        }
        data => data,
    }
}

fn compare(call: &Call<'_>, ints: fn(i64, i64) -> bool, floats: fn(f64, f64) -> bool) -> Option<Vec<Value>> {
    let (left, right) = (call.input(0)?, call.input(1)?);
    let dims = broadcast_dims(&[&left.dims, &right.dims])?;
    let (l, r) = (broadcast_positions(&left.dims, &dims), broadcast_positions(&right.dims, &dims));
    let pairs = l.iter().zip(&r);
    let values: Vec<i64> = match (&left.data, &right.data) {
        (Data::Ints(a), Data::Ints(b)) => pairs.map(|(l, r)| i64::from(ints(a[*l], b[*r]))).collect(),
        (Data::Floats(a), Data::Floats(b)) => pairs.map(|(l, r)| i64::from(floats(a[*l], b[*r]))).collect(),
        _ => return None,
    };
    Some(vec![Value::ints(DataType::Bool, dims, values)])
}

fn unary(call: &Call<'_>, ints: fn(i64) -> Option<i64>, floats: fn(f64) -> f64) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let data = match &input.data {
        Data::Ints(values) => Data::Ints(values.iter().map(|value| ints(*value)).collect::<Option<_>>()?),
        Data::Floats(values) => rounded(Data::Floats(values.iter().map(|value| floats(*value)).collect()), input.elem),
    };
    Some(vec![Value { data, ..input.clone() }])
}

fn modulo(call: &Call<'_>) -> Option<Vec<Value>> {
    if call.op.int("fmod").unwrap_or(0) != 0 {
        return binary(call, i64::checked_rem, |a, b| a % b);
    }
    // The sign follows the divisor.
    binary(call, |a, b| if b == 0 { None } else { Some(((a % b) + b) % b) }, |a, b| a - b * (a / b).floor())
}

fn power(call: &Call<'_>) -> Option<Vec<Value>> {
    let base = call.input(0)?;
    let exponent = call.input(1)?;
    let exponent = match (&base.data, &exponent.data) {
        (Data::Floats(_), Data::Ints(values)) => {
            Value { data: Data::Floats(values.iter().map(|value| *value as f64).collect()), ..exponent.clone() }
        }
        _ => exponent.clone(),
    };
    let whole = |a: i64, b: i64| a.checked_pow(u32::try_from(b).ok()?);
    Some(vec![pairwise(base, &exponent, whole, f64::powf)?])
}

fn cast(call: &Call<'_>) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let to = DataType::from_number(i32::try_from(call.op.int("to")?).ok()?)?;
    let is_float = matches!(to, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16);
    if !is_float && (to.is_float() || to == DataType::String || to.bits() < 8) {
        return None;
    }
    let data = match (&input.data, is_float) {
        (Data::Ints(values), false) => Data::Ints(values.iter().map(|value| narrow(*value, to)).collect()),
        (Data::Ints(values), true) => rounded(Data::Floats(values.iter().map(|value| *value as f64).collect()), to),
        (Data::Floats(values), true) => rounded(Data::Floats(values.clone()), to),
        (Data::Floats(values), false) if to == DataType::Bool => {
            Data::Ints(values.iter().map(|value| i64::from(*value != 0.0)).collect())
        }
        (Data::Floats(values), false) => Data::Ints(values.iter().map(|value| narrow(*value as i64, to)).collect()),
    };
    Some(vec![Value { elem: to, data, ..input.clone() }])
}

fn narrow(value: i64, to: DataType) -> i64 {
    match to {
        DataType::Bool => i64::from(value != 0),
        DataType::Int32 => i64::from(value as i32),
        DataType::Uint32 => i64::from(value as u32),
        DataType::Int16 => i64::from(value as i16),
        DataType::Uint16 => i64::from(value as u16),
        DataType::Int8 => i64::from(value as i8),
        DataType::Uint8 => i64::from(value as u8),
        _ => value,
    }
}

fn choose(call: &Call<'_>) -> Option<Vec<Value>> {
    let (condition, yes, no) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let dims = broadcast_dims(&[&condition.dims, &yes.dims, &no.dims])?;
    let [c, y, n] = [condition, yes, no].map(|value| broadcast_positions(&value.dims, &dims));
    let flags = condition.as_ints()?;
    let data = match (&yes.data, &no.data) {
        (Data::Ints(a), Data::Ints(b)) => {
            Data::Ints((0..c.len()).map(|at| if flags[c[at]] != 0 { a[y[at]] } else { b[n[at]] }).collect())
        }
        (Data::Floats(a), Data::Floats(b)) => {
            Data::Floats((0..c.len()).map(|at| if flags[c[at]] != 0 { a[y[at]] } else { b[n[at]] }).collect())
        }
        _ => return None,
    };
    Some(vec![Value { elem: yes.elem, dims, data }])
}

/// A reduction over some axes, or all. Floating-point sums and products follow no order that could be
/// told, so only extremes of them are known.
fn reduce(
    call: &Call<'_>,
    whole: fn(i64, i64) -> Option<i64>,
    floating: Option<fn(f64, f64) -> f64>,
) -> Option<Vec<Value>> {
    let input = call.input(0)?;
    let rank = input.dims.len();
    let axes = call.ints_of("axes", 1).unwrap_or_default();
    if axes.is_empty() && call.op.int("noop_with_empty_axes").unwrap_or(0) != 0 {
        return Some(vec![input.clone()]);
    }
    let mut is_gone = vec![axes.is_empty(); rank];
    for axis in axes {
        is_gone[axis_from_front(axis, rank)?] = true;
    }
    let kept: Vec<usize> = input.dims.iter().zip(&is_gone).map(|(dim, gone)| if *gone { 1 } else { *dim }).collect();
    // By element of the input: the element of the result that it goes into.
    let into = broadcast_positions(&kept, &input.dims);
    let data = match &input.data {
        Data::Ints(values) => Data::Ints(gather(values, &into, volume(&kept), whole)?),
        Data::Floats(values) => {
            let step = floating?;
            rounded(Data::Floats(gather(values, &into, volume(&kept), |a, b| Some(step(a, b)))?), input.elem)
        }
    };
    let keep = call.op.int("keepdims").unwrap_or(1) != 0;
    let left = input.dims.iter().zip(&is_gone).filter(|(_, gone)| !**gone).map(|(dim, _)| *dim);
    let dims = if keep { kept } else { left.collect() };
    Some(vec![Value { elem: input.elem, dims, data }])
}

/// Joins the elements that go into one place, place by place; `None` if a place gets none.
fn gather<T: Copy>(values: &[T], into: &[usize], n: usize, step: impl Fn(T, T) -> Option<T>) -> Option<Vec<T>> {
    let mut made: Vec<Option<T>> = vec![None; n];
    for (value, at) in values.iter().zip(into) {
        let slot = made.get_mut(*at)?;
        *slot = Some(match *slot {
            Some(before) => step(before, *value)?,
            None => *value,
        });
    }
    made.into_iter().collect()
}
