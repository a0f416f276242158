//! Pooling: windows without weights.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::convolution::windows;

const NCHWC: &str = "com.microsoft.nchwc";
const NHWC: &str = "com.ms.internal.nhwc";

pub(super) const TABLE: &[Entry] = &[
    ("", "MaxPool", |c| pool(c, false)),
    ("", "AveragePool", |c| pool(c, false)),
    ("", "LpPool", |c| pool(c, false)),
    (NCHWC, "MaxPool", |c| pool(c, false)),
    (NCHWC, "AveragePool", |c| pool(c, false)),
    (NHWC, "MaxPool", |c| pool(c, true)),
    (NHWC, "AveragePool", |c| pool(c, true)),
    (MICROSOFT, "NhwcMaxPool", |c| pool(c, true)),
    (MICROSOFT, "MaxpoolWithMask", |c| pool(c, false)),
    (MICROSOFT, "QLinearAveragePool", |c| pool(c, c.flag("channels_last"))),
    ("", "GlobalAveragePool", |c| global(c, false)),
    ("", "GlobalMaxPool", |c| global(c, false)),
    ("", "GlobalLpPool", |c| global(c, false)),
    (NCHWC, "GlobalAveragePool", |c| global(c, false)),
    (NCHWC, "GlobalMaxPool", |c| global(c, false)),
    (NHWC, "GlobalAveragePool", |c| global(c, true)),
    (NHWC, "GlobalMaxPool", |c| global(c, true)),
    (MICROSOFT, "QLinearGlobalAveragePool", |c| global(c, c.flag("channels_last"))),
    ("", "MaxUnpool", unpool),
    ("", "MaxRoiPool", roi_pool),
];

fn pool(context: &mut RuleContext<'_, '_>, channels_last: bool) -> Option<()> {
    let types = [context.element_type(0), Some(DataType::Int64)];
    for (output, element_type) in types.iter().enumerate() {
        context.set(output, *element_type, None);
    }
    let input = context.shape(0)?;
    let n_axes = input.len().checked_sub(2)?;
    let kernel = context.node.ints("kernel_shape").filter(|kernel| kernel.len() == n_axes)?;
    let (windows, fit) = windows(context, kernel)?;
    let first = if channels_last { 1 } else { 2 };
    let mut dims: Dims = input.iter().cloned().map(Some).collect();
    for (at, window) in windows.iter().enumerate() {
        dims[first + at] = window.n_places(&input[first + at], fit);
    }
    for (output, element_type) in types.into_iter().enumerate() {
        context.set(output, element_type, Some(dims.clone()));
    }
    Some(())
}

fn global(context: &mut RuleContext<'_, '_>, channels_last: bool) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut shape = context.shape(0)?.to_vec();
    let n = shape.len();
    let space = if channels_last { 1..n.checked_sub(1)? } else { 2.min(n)..n };
    for dim in shape.get_mut(space)? {
        *dim = Expr::constant(1);
    }
    context.set_shape(0, element_type, &shape);
    Some(())
}

fn unpool(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    if context.input(2).is_some() {
        let dims = context.ints(2)?;
        context.set(0, element_type, Some(dims));
        return Some(());
    }
    let input = context.shape(0)?;
    let n_axes = input.len().checked_sub(2)?;
    let kernel = context.node.ints("kernel_shape").filter(|kernel| kernel.len() == n_axes)?;
    let strides = context.ints_or("strides", 1, n_axes);
    let pads = context.ints_or("pads", 0, 2 * n_axes);
    let mut dims: Dims = input.iter().cloned().map(Some).collect();
    for at in 0..n_axes {
        let fixed = kernel[at].checked_sub(pads[at])?.checked_sub(pads[at + n_axes])?;
        dims[at + 2] = input[at + 2].plus(-1)?.scale(strides[at])?.plus(fixed);
    }
    context.set(0, element_type, Some(dims));
    Some(())
}

fn roi_pool(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    let mut dims = vec![context.dim(1, 0), context.dim(0, 1)];
    dims.extend(context.node.ints("pooled_shape")?.iter().map(|dim| Some(Expr::constant(*dim))));
    context.set(0, element_type, Some(dims));
    Some(())
}
