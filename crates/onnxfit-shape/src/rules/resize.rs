//! Resize and Upsample: sizes by a factor.

use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::Fact;
use crate::registry::Entry;
use crate::scalar::{Arithmetic, Rounding, Scalar};

pub(super) const TABLE: &[Entry] =
    &[("", "Resize", resize), ("", "Upsample", upsample), ("com.microsoft.nchwc", "Upsample", upsample_blocked)];

fn upsample(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    context.set(0, element_type, Some(vec![None; shape.len()]));
    let scales = match context.node.attribute("scales") {
        Some(onnxfit_graph::AttributeValue::Floats(scales)) => {
            scales.iter().map(|scale| Some(Scalar::Float(f64::from(*scale)))).collect()
        }
        _ => context.input(1)?.elements()?.to_vec(),
    };
    let dims = scaled(shape, &(0..shape.len()).collect::<Vec<_>>(), &scales)?;
    context.set(0, element_type, Some(dims));
    Some(())
}

fn upsample_blocked(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let scales = context.node.ints("scales").filter(|scales| scales.len() == shape.len())?;
    let dims = shape.iter().zip(scales).map(|(dim, scale)| dim.scale(*scale)).collect();
    context.set(0, element_type, Some(dims));
    Some(())
}

fn resize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    context.set(0, element_type, Some(vec![None; shape.len()]));
    let axes: Vec<usize> = match context.node.ints("axes") {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, shape.len())).collect::<Option<_>>()?,
        None => (0..shape.len()).collect(),
    };
    // Operator set 10 has no region of interest.
    let (scales, sizes) = if context.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let is_given = |fact: &&Fact| fact.concrete().as_deref() != Some(&[0]);
    if let Some(sizes) = context.input(sizes).filter(is_given) {
        let sizes = sizes.ints()?;
        let dims = sized(context, shape, &axes, sizes)?;
        context.set(0, element_type, Some(dims));
        return Some(());
    }
    let scales = context.input(scales).filter(is_given)?;
    if context.node.string("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
        return cropped(context, shape, &axes, scales);
    }
    let dims = scaled(shape, &axes, &scales.elements()?)?;
    context.set(0, element_type, Some(dims));
    Some(())
}

/// ⌊size · scale⌋ in `float`, as ONNX Runtime computes it (upsample.cc, ORT 1.31).
fn scaled(shape: &[Expr], axes: &[usize], scales: &[Option<Scalar>]) -> Option<Dims> {
    if scales.len() != axes.len() {
        return None;
    }
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    for (axis, scale) in axes.iter().zip(scales) {
        dims[*axis] = scale.as_ref().and_then(|scale| scaled_dim(&shape[*axis], scale));
    }
    Some(dims)
}

fn scaled_dim(dim: &Expr, scale: &Scalar) -> Option<Expr> {
    if scale.as_float() == Some(1.0) {
        return Some(dim.clone());
    }
    let float = onnxfit_onnx::DataType::Float;
    let size = Scalar::Int(dim.clone()).cast(float)?;
    let scaled = size.arithmetic(Arithmetic::Mul, scale, float)?.rounded(Rounding::Down)?;
    scaled.cast(onnxfit_onnx::DataType::Int64)?.as_expr().cloned()
}

fn sized(context: &RuleContext<'_, '_>, shape: &[Expr], axes: &[usize], sizes: Dims) -> Option<Dims> {
    if sizes.len() != axes.len() {
        return None;
    }
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    let policy = context.node.string("keep_aspect_ratio_policy").unwrap_or("stretch");
    if policy == "stretch" {
        for (axis, size) in axes.iter().zip(sizes) {
            dims[*axis] = size;
        }
        return Some(dims);
    }
    // One scale for all axes: the smallest or the largest that the sizes ask for.
    let mut scale: Option<f32> = None;
    for (axis, size) in axes.iter().zip(&sizes) {
        dims[*axis] = None;
        let ratio = size.as_ref()?.as_constant()? as f32 / shape[*axis].as_constant()? as f32;
        scale = Some(match scale {
            None => ratio,
            Some(so_far) if policy == "not_larger" => so_far.min(ratio),
            Some(so_far) => so_far.max(ratio),
        });
    }
    for axis in axes {
        let size = (scale? * shape[*axis].as_constant()? as f32).round();
        dims[*axis] = (size < 1e15).then_some(Expr::constant(size as i64));
    }
    Some(dims)
}

/// A cut by the region of interest, then scaled.
fn cropped(context: &mut RuleContext<'_, '_>, shape: &[Expr], axes: &[usize], scales: &Fact) -> Option<()> {
    let region = context.input(1)?.known_floats()?;
    let scales = scales.known_floats()?;
    if region.len() != 2 * axes.len() || scales.len() != axes.len() {
        return None;
    }
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    for (at, axis) in axes.iter().enumerate() {
        let span = (region[at + axes.len()] - region[at]) as f32;
        dims[*axis] =
            shape[*axis].as_constant().map(|dim| Expr::constant((dim as f32 * span * scales[at] as f32) as i64));
    }
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}
