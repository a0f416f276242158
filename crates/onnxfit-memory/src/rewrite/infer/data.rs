//! Operators that pick elements, make tensors or tell shapes.

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::layout::{RANK_MAX, SHAPE};
use super::{Context, Inferred, Rule, axis_from_front, known, one};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Shape", shape),
    ("Size", size),
    ("Gather", gather),
    ("GatherND", gather_nd),
    ("GatherElements", gather_elements),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("OneHot", one_hot),
    ("RandomNormal", random),
    ("RandomUniform", random),
    ("Compress", compress),
    ("Unique", unique),
    ("Multinomial", multinomial),
    ("Embedding", gather),
];

fn shape(context: &Context<'_>) -> Vec<Inferred> {
    let length = context.rank(0).map(|rank| {
        let rank = rank as i64;
        let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank);
        let start = place(context.op.int("start").unwrap_or(0));
        let end = place(context.op.int("end").unwrap_or(rank));
        Dim::Known((end - start).max(0))
    });
    one(SHAPE, Some(vec![length.unwrap_or(Dim::Unknown)]))
}

fn size(_: &Context<'_>) -> Vec<Inferred> {
    one(SHAPE, Some(Vec::new()))
}

fn gather(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let (data, indices) = (context.shape(0)?, context.shape(1)?);
        let axis = context.axis(0, data.len())?;
        Some([&data[..axis], indices, &data[axis + 1..]].concat())
    })();
    one(context.elem(0), shape)
}

fn gather_nd(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let (data, indices) = (context.shape(0)?, context.shape(1)?);
        let batch = usize::try_from(context.op.int("batch_dims").unwrap_or(0)).ok()?;
        let (Dim::Known(depth), front) = indices.split_last()? else { return None };
        let from = batch + usize::try_from(*depth).ok()?;
        Some([front, data.get(from..)?].concat())
    })();
    one(context.elem(0), shape)
}

fn gather_elements(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), context.shape(1).map(<[Dim]>::to_vec))
}

fn constant_of_shape(context: &Context<'_>) -> Vec<Inferred> {
    let elem = match context.op.tensor("value") {
        Some(tensor) => tensor.element_type().ok(),
        None => Some(DataType::Float),
    };
    let shape = match context.values(0) {
        Some(values) => Some(known(&values)),
        None => match context.shape(0) {
            Some([Dim::Known(rank)]) => {
                let rank = usize::try_from(*rank).ok().filter(|rank| *rank <= RANK_MAX);
                rank.map(|rank| vec![Dim::Unknown; rank])
            }
            _ => None,
        },
    };
    one(elem, shape)
}

fn range(context: &Context<'_>) -> Vec<Inferred> {
    let bound = |index: usize| {
        let tensor = context.net.constant(context.op.input(index)?)?;
        super::super::content::first_number(tensor)
    };
    let length = (|| {
        let (start, limit, delta) = (bound(0)?, bound(1)?, bound(2)?);
        Some(Dim::Known((((limit - start) / delta).ceil() as i64).max(0)))
    })();
    one(context.elem(0), Some(vec![length.unwrap_or(Dim::Unknown)]))
}

fn one_hot(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let mut shape = context.shape(0)?.to_vec();
        let axis = axis_from_front(context.op.int("axis").unwrap_or(-1), shape.len() + 1)?;
        let depth = context.values(1).and_then(|values| values.first().copied());
        shape.insert(axis, depth.map_or(Dim::Unknown, Dim::Known));
        Some(shape)
    })();
    one(context.elem(2), shape)
}

fn random(context: &Context<'_>) -> Vec<Inferred> {
    let elem =
        context.op.int("dtype").map_or(Some(DataType::Float), |to| DataType::from_number(i32::try_from(to).ok()?));
    one(elem, context.op.ints("shape").map(known))
}

fn compress(context: &Context<'_>) -> Vec<Inferred> {
    let shape = match context.op.int("axis") {
        None => Some(vec![Dim::Unknown]),
        Some(axis) => context.shape(0).and_then(|shape| {
            let mut shape = shape.to_vec();
            let axis = axis_from_front(axis, shape.len())?;
            shape[axis] = Dim::Unknown;
            Some(shape)
        }),
    };
    one(context.elem(0), shape)
}

fn unique(context: &Context<'_>) -> Vec<Inferred> {
    let list = |elem| Inferred { elem, shape: Some(vec![Dim::Unknown]) };
    let values =
        Inferred { elem: context.elem(0), shape: context.op.int("axis").is_none().then(|| vec![Dim::Unknown]) };
    vec![values, list(SHAPE), list(SHAPE), list(SHAPE)]
}

fn multinomial(context: &Context<'_>) -> Vec<Inferred> {
    let samples = Dim::Known(context.op.int("sample_size").unwrap_or(1));
    one(Some(DataType::Int32), context.shape(0).and_then(<[Dim]>::first).map(|batch| vec![batch.clone(), samples]))
}
