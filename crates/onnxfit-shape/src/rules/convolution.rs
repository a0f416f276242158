//! Convolutions, and the arithmetic of sliding windows that pooling shares.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "Conv", |c| convolution(c, c.element_type(0), 0, 1, false)),
    (MICROSOFT, "FusedConv", |c| convolution(c, c.element_type(0), 0, 1, false)),
    (MICROSOFT, "NhwcFusedConv", |c| convolution(c, c.element_type(0), 0, 1, true)),
    ("com.ms.internal.nhwc", "Conv", |c| convolution(c, c.element_type(0), 0, 1, true)),
    ("com.microsoft.nchwc", "Conv", |c| convolution(c, c.element_type(0), 0, 1, false)),
    ("", "ConvInteger", |c| convolution(c, Some(DataType::Int32), 0, 1, false)),
    ("", "QLinearConv", |c| convolution(c, c.element_type(7), 0, 3, false)),
    (MICROSOFT, "QLinearConv", |c| convolution(c, c.element_type(7), 0, 3, c.flag("channels_last"))),
    ("", "DeformConv", |c| convolution(c, c.element_type(0), 0, 1, false)),
    ("", "ConvTranspose", transposed),
    (MICROSOFT, "ConvTransposeWithDynamicPads", transposed),
    (MICROSOFT, "QLinearConvTranspose", transposed),
    ("com.microsoft.nchwc", "ReorderInput", reorder_input),
    ("com.microsoft.nchwc", "ReorderOutput", reorder_output),
];

/// The channels of one block of ONNX Runtime's NCHWc layout, on AVX-512 (mlas, ORT 1.31); 8 on
/// AVX2 and NEON.
const NCHWC_BLOCK: i64 = 16;

/// A window that slides over one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) dilation: i64,
    pub(super) pad_before: i64,
    pub(super) pad_after: i64,
}

/// What to do where the window does not fit evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Only full windows count.
    Down,
    /// A window that starts inside counts (`ceil_mode`).
    Up,
    /// As many windows as strides, padding as needed (`SAME_UPPER`, `SAME_LOWER`).
    Same,
}

impl Window {
    /// How many places the window has on an axis.
    pub(super) fn n_places(&self, dim: &Expr, fit: Fit) -> Option<Expr> {
        if self.stride <= 0 || self.dilation <= 0 || self.kernel < 0 {
            return None;
        }
        let stride = Expr::constant(self.stride);
        if fit == Fit::Same {
            return dim.ceil_div(&stride);
        }
        let reach = self.kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)?;
        let pads = self.pad_before.checked_add(self.pad_after)?;
        let room = dim.plus(pads.checked_sub(reach)?)?;
        let n_places = match fit {
            Fit::Up => {
                // The last window must start inside the input or the padding before it.
                let n_starts = dim.plus(self.pad_before.checked_sub(1)?)?.floor_div(&stride)?.plus(1)?;
                room.ceil_div(&stride)?.plus(1)?.smaller(&n_starts)?
            }
            _ => room.floor_div(&stride)?.plus(1)?,
        };
        if n_places.as_constant().is_some_and(|n| n < 0) { Some(Expr::constant(0)) } else { Some(n_places) }
    }
}

/// The windows of a node over `n` axes, by its attributes.
pub(super) fn windows(context: &RuleContext<'_, '_>, kernel: &[i64]) -> Option<(Vec<Window>, Fit)> {
    let n = kernel.len();
    let strides = context.ints_or("strides", 1, n);
    let dilations = context.ints_or("dilations", 1, n);
    let mut pads = context.ints_or("pads", 0, 2 * n);
    let mut fit = if context.flag("ceil_mode") { Fit::Up } else { Fit::Down };
    match context.node.string("auto_pad") {
        Some("SAME_UPPER" | "SAME_LOWER") => fit = Fit::Same,
        Some("VALID") => pads = vec![0; 2 * n],
        _ => {}
    }
    let window = |at: usize| Window {
        kernel: kernel[at],
        stride: strides[at],
        dilation: dilations[at],
        pad_before: pads[at],
        pad_after: pads[at + n],
    };
    Some(((0..n).map(window).collect(), fit))
}

pub(super) fn convolution(
    context: &mut RuleContext<'_, '_>,
    element_type: Option<DataType>,
    data: usize,
    weight: usize,
    channels_last: bool,
) -> Option<()> {
    context.set(0, element_type, None);
    let input = context.shape(data)?;
    let n_axes = input.len().checked_sub(2)?;
    let weight = context.shape(weight).filter(|weight| weight.len() == input.len());
    let first = if channels_last { 1 } else { 2 };
    let mut dims: Dims = vec![Some(input[0].clone())];
    let channels = weight.map(|weight| weight[0].clone());
    let kernel: Option<Vec<i64>> = match context.node.ints("kernel_shape") {
        Some(kernel) if kernel.len() == n_axes => Some(kernel.to_vec()),
        _ => weight.and_then(|weight| weight[2..].iter().map(Expr::as_constant).collect()),
    };
    let windows = kernel.and_then(|kernel| windows(context, &kernel));
    for at in 0..n_axes {
        dims.push(windows.as_ref().and_then(|(windows, fit)| windows[at].n_places(&input[first + at], *fit)));
    }
    dims.insert(if channels_last { dims.len() } else { 1 }, channels);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn transposed(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let is_quantized = context.node.op_type == "QLinearConvTranspose";
    let element_type = if is_quantized { context.element_type(7) } else { context.element_type(0) };
    context.set(0, element_type, None);
    let input = context.shape(0)?;
    let n_axes = input.len().checked_sub(2)?;
    context.set(0, element_type, Some(vec![None; input.len()]));
    let weight = context.shape(if is_quantized { 3 } else { 1 }).filter(|weight| weight.len() == input.len())?;
    let channels = weight[1].scale(context.int("group", 1));
    let kernel: Option<Vec<i64>> = match context.node.ints("kernel_shape") {
        Some(kernel) if kernel.len() == n_axes => Some(kernel.to_vec()),
        _ => weight[2..].iter().map(Expr::as_constant).collect(),
    };
    let mut dims = vec![Some(input[0].clone()), channels];
    let output_shape = context.node.ints("output_shape");
    let strides = context.ints_or("strides", 1, n_axes);
    let dilations = context.ints_or("dilations", 1, n_axes);
    let extra = context.ints_or("output_padding", 0, n_axes);
    let mut pads: Option<Vec<i64>> = Some(context.ints_or("pads", 0, 2 * n_axes));
    if context.node.op_type == "ConvTransposeWithDynamicPads" && context.input(2).is_some() {
        pads = context.known_ints(2).filter(|pads| pads.len() == 2 * n_axes);
    }
    let auto_pad = context.node.string("auto_pad").unwrap_or("NOTSET");
    if auto_pad == "VALID" {
        pads = Some(vec![0; 2 * n_axes]);
    }
    for at in 0..n_axes {
        let dim = &input[2 + at];
        dims.push(match output_shape {
            // Given for all axes or for those of space only.
            Some(shape) if shape.len() == n_axes => Some(Expr::constant(shape[at])),
            Some(shape) if shape.len() == n_axes + 2 => Some(Expr::constant(shape[at + 2])),
            _ if auto_pad.starts_with("SAME") => dim.scale(strides[at]),
            _ => kernel.as_ref().zip(pads.as_ref()).and_then(|(kernel, pads)| {
                let reach = kernel[at].checked_sub(1)?.checked_mul(dilations[at])?.checked_add(1)?;
                let fixed = extra[at].checked_add(reach)?.checked_sub(pads[at])?.checked_sub(pads[at + n_axes])?;
                dim.plus(-1)?.scale(strides[at])?.plus(fixed)
            }),
        });
    }
    context.set(0, element_type, Some(dims));
    Some(())
}

fn reorder_input(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut shape = context.shape(0).filter(|shape| shape.len() > 1)?.to_vec();
    let channels = if context.flag("channels_last") { shape.pop()? } else { shape.remove(1) };
    let padded = channels.ceil_div(&Expr::constant(NCHWC_BLOCK)).and_then(|blocks| blocks.scale(NCHWC_BLOCK));
    let mut dims: Dims = shape.into_iter().map(Some).collect();
    dims.insert(1, padded);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn reorder_output(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut shape = context.shape(0)?.to_vec();
    if shape.len() < 2 {
        return None;
    }
    shape.remove(1);
    let at = if context.flag("channels_last") { shape.len() } else { 1 };
    shape.insert(at, Expr::constant(context.node.int("channels")?));
    context.set_shape(0, element_type, &shape);
    Some(())
}
