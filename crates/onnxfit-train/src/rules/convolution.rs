//! Convolutions.
//!
//! The input's gradient is the transposed convolution of the output's; the weight's gradient is a
//! convolution of the input with the output's gradient, batch and channels swapped and strides
//! and dilations exchanged.

use crate::emit::{int, ints};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[("", "Conv", conv), ("", "ConvTranspose", conv_transpose)];

/// How a window walks over a tensor; one entry for each spatial axis.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) kernel: Vec<i64>,
    pub(super) strides: Vec<i64>,
    pub(super) dilations: Vec<i64>,
    /// All beginnings, then all ends.
    pub(super) pads: Vec<i64>,
}

impl Window {
    /// The window of a node whose first input has these dimensions.
    pub(super) fn of(c: &Reverse<'_>, kernel: Vec<i64>, input: &[Option<i64>]) -> Result<Self, Unsupported> {
        let n = kernel.len();
        let list = |name: &str, default: i64, length: usize| -> Result<Vec<i64>, Unsupported> {
            let values = c.node.ints(name).map_or_else(|| vec![default; length], <[i64]>::to_vec);
            if values.len() == length { Ok(values) } else { Err(Unsupported(format!("has {} {name}", values.len()))) }
        };
        let (strides, dilations) = (list("strides", 1, n)?, list("dilations", 1, n)?);
        if strides.iter().chain(&dilations).any(|step| *step < 1) {
            return unsupported("has a step below one");
        }
        let mut window = Self { kernel, strides, dilations, pads: vec![0; 2 * n] };
        match c.node.string("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => window.pads = list("pads", 0, 2 * n)?,
            "VALID" => {}
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..n {
                    let (stride, reach) = (window.strides[axis], window.reach(axis));
                    let total = match input.get(axis + 2).copied().flatten() {
                        Some(size) => ((size + stride - 1) / stride - 1) * stride + reach - size,
                        None if stride == 1 => reach - 1,
                        None => return unsupported("pads by sizes that are not known"),
                    };
                    let total = total.max(0);
                    let small = total / 2;
                    let (begin, end) =
                        if same == "SAME_UPPER" { (small, total - small) } else { (total - small, small) };
                    (window.pads[axis], window.pads[axis + n]) = (begin, end);
                }
            }
            _ => return unsupported("has an unknown auto_pad"),
        }
        Ok(window)
    }

    pub(super) fn n_spatial(&self) -> usize {
        self.kernel.len()
    }

    /// How far the kernel reaches along an axis.
    pub(super) fn reach(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    fn is_one_by_one(&self) -> bool {
        self.kernel.iter().chain(&self.strides).all(|value| *value == 1) && self.pads.iter().all(|pad| *pad == 0)
    }
}

/// Spreads the output's gradient over the input by a transposed convolution with `weight`.
pub(super) fn spread(
    c: &mut Reverse<'_>,
    dy: Var,
    weight: Var,
    window: &Window,
    group: i64,
    input: (Var, &[Option<i64>]),
    output: &[Option<i64>],
) -> Var {
    let n = window.n_spatial();
    let mut is_exact = true;
    let output_padding: Vec<i64> = (0..n)
        .map(|axis| {
            let stride = window.strides[axis];
            let (size, steps) = (input.1.get(axis + 2).copied().flatten(), output.get(axis + 2).copied().flatten());
            match (stride, size, steps) {
                (1, _, _) => 0,
                (_, Some(size), Some(steps)) => {
                    let covered = (steps - 1) * stride - window.pads[axis] - window.pads[axis + n] + window.reach(axis);
                    (size - covered).clamp(0, stride - 1)
                }
                // The largest that may be needed; what is too much is cut off.
                _ => {
                    is_exact = false;
                    stride - 1
                }
            }
        })
        .collect();
    let mut attributes = vec![
        ints("kernel_shape", &window.kernel),
        ints("strides", &window.strides),
        ints("dilations", &window.dilations),
        ints("pads", &window.pads),
        int("group", group),
    ];
    if output_padding.iter().any(|padding| *padding > 0) {
        attributes.push(ints("output_padding", &output_padding));
    }
    let spread = c.op_with("ConvTranspose", &[dy, weight], attributes);
    if is_exact {
        return spread;
    }
    let (starts, ends) = (c.ints(&vec![0; n]), c.dims(input.0, 2, None));
    let axes = c.ints(&(2..n as i64 + 2).collect::<Vec<_>>());
    c.op("Slice", &[spread, starts, ends, axes])
}

/// The gradient of the weights `[M, C/group, kernel]`, from what the window walked over, `x`, and
/// the gradient of what it made, `dy`.
fn weight_gradient(
    c: &mut Reverse<'_>,
    (x, x_dims): (Var, &[Option<i64>]),
    (dy, dy_dims): (Var, &[Option<i64>]),
    window: &Window,
    group: i64,
    weight: usize,
) -> Result<Var, Unsupported> {
    let n = window.n_spatial();
    let swapped: Vec<i64> = [1, 0].into_iter().chain(2..n as i64 + 2).collect();
    // Of a single sample the batch axis can be moved by renaming.
    let swap = |c: &mut Reverse<'_>, value: Var| c.transpose(value, &swapped);
    let (x_swapped, dy_swapped) = (swap(c, x), swap(c, dy));
    if window.is_one_by_one() && group == 1 {
        let (Some(n_in), Some(n_out)) = (x_dims.get(1).copied().flatten(), dy_dims.get(1).copied().flatten()) else {
            return unsupported("has an unknown number of channels");
        };
        let (rows, columns) = (c.reshape_to(dy_swapped, &[n_out, -1]), c.reshape_to(x_swapped, &[n_in, -1]));
        let gradient = c.gemm(rows, columns, false, true);
        return c.reshape_like(gradient, weight);
    }
    let walked = if group == 1 { x_swapped } else { by_group(c, (x, x_dims), x_swapped, group, n)? };
    let attributes = vec![
        ints("strides", &window.dilations),
        ints("dilations", &window.strides),
        ints("pads", &window.pads),
        int("group", group),
    ];
    let mut gradient = c.op_with("Conv", &[walked, dy_swapped], attributes);
    // A stride that does not come out even leaves more places than the kernel has.
    let is_longer = |axis: usize| {
        let (stride, n) = (window.strides[axis], window.n_spatial());
        let (size, steps) = (x_dims.get(axis + 2).copied().flatten(), dy_dims.get(axis + 2).copied().flatten());
        match (stride, size, steps) {
            (1, _, _) => false,
            (_, Some(size), Some(steps)) => {
                let reach = (steps - 1) * stride + 1;
                let places = (size + window.pads[axis] + window.pads[axis + n] - reach) / window.dilations[axis] + 1;
                places != window.kernel[axis]
            }
            _ => true,
        }
    };
    if (0..n).any(is_longer) {
        let starts = c.ints(&vec![0; n]);
        let (ends, axes) = (c.ints(&window.kernel), c.ints(&(2..n as i64 + 2).collect::<Vec<_>>()));
        gradient = c.op("Slice", &[gradient, starts, ends, axes]);
    }
    Ok(c.transpose(gradient, &swapped))
}

/// `[N, group*C, ..]` to `[C, group*N, ..]`.
fn by_group(
    c: &mut Reverse<'_>,
    (x, x_dims): (Var, &[Option<i64>]),
    x_swapped: Var,
    group: i64,
    n: usize,
) -> Result<Var, Unsupported> {
    let Some(channels) = x_dims.get(1).copied().flatten() else {
        return unsupported("has an unknown number of channels");
    };
    let each = channels / group.max(1);
    let known: Option<Vec<i64>> = x_dims.get(2..).unwrap_or_default().iter().copied().collect();
    let shape = |c: &mut Reverse<'_>, front: &[i64]| match &known {
        Some(spatial) => c.ints(&[front, spatial].concat()),
        None => {
            let (front, spatial) = (c.ints(front), c.dims(x, 2, None));
            c.concat(&[front, spatial], 0)
        }
    };
    if each == 1 {
        let target = shape(c, &[1, -1]);
        return Ok(c.reshape(x_swapped, target));
    }
    let apart = shape(c, &[0, group, each]);
    let apart = c.reshape(x, apart);
    let perm: Vec<i64> = [2, 1, 0].into_iter().chain(3..n as i64 + 3).collect();
    let turned = c.transpose(apart, &perm);
    let target = shape(c, &[each, -1]);
    Ok(c.reshape(turned, target))
}

fn dims_of(c: &Reverse<'_>, index: usize) -> Vec<Option<i64>> {
    c.known_dims(index).unwrap_or_default()
}

fn output_dims(c: &Reverse<'_>) -> Vec<Option<i64>> {
    let shape = c.output_fact(0).and_then(|fact| fact.shape.as_ref());
    shape.map(|dims| dims.iter().map(|dim| dim.as_constant()).collect()).unwrap_or_default()
}

fn kernel_of(c: &Reverse<'_>) -> Result<Vec<i64>, Unsupported> {
    let from_weight = || -> Option<Vec<i64>> { c.known_dims(1)?.get(2..)?.iter().copied().collect() };
    match c.node.ints("kernel_shape").map(<[i64]>::to_vec).or_else(from_weight) {
        Some(kernel) => Ok(kernel),
        None => unsupported("has a kernel of unknown size"),
    }
}

fn bias(c: &mut Reverse<'_>, dy: Var, n: usize) {
    if c.wants(2) {
        let axes: Vec<i64> = [0].into_iter().chain(2..n as i64 + 2).collect();
        let gradient = c.reduce_sum(dy, &axes, false);
        c.give(2, gradient);
    }
}

fn conv(c: &mut Reverse<'_>) -> RuleResult {
    let (x, weight, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let (x_dims, y_dims) = (dims_of(c, 0), output_dims(c));
    let window = Window::of(c, kernel_of(c)?, &x_dims)?;
    let group = c.int_or("group", 1);
    if c.wants(0) {
        let gradient = spread(c, dy, weight, &window, group, (x, &x_dims), &y_dims);
        c.give(0, gradient);
    }
    if c.wants(1) {
        let gradient = weight_gradient(c, (x, &x_dims), (dy, &y_dims), &window, group, 1)?;
        c.give(1, gradient);
    }
    bias(c, dy, window.n_spatial());
    Ok(())
}

fn conv_transpose(c: &mut Reverse<'_>) -> RuleResult {
    let (x, weight, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    if c.node.ints("output_shape").is_some() || !matches!(c.node.string("auto_pad"), None | Some("NOTSET" | "VALID")) {
        return unsupported("pads so that a given size comes out");
    }
    let (x_dims, y_dims) = (dims_of(c, 0), output_dims(c));
    let window = Window::of(c, kernel_of(c)?, &x_dims)?;
    let group = c.int_or("group", 1);
    if c.wants(0) {
        let attributes = vec![
            ints("kernel_shape", &window.kernel),
            ints("strides", &window.strides),
            ints("dilations", &window.dilations),
            ints("pads", &window.pads),
            int("group", group),
        ];
        let gradient = c.op_with("Conv", &[dy, weight], attributes);
        c.give(0, gradient);
    }
    if c.wants(1) {
        // The window walked over the output.
        let gradient = weight_gradient(c, (dy, &y_dims), (x, &x_dims), &window, group, 1)?;
        c.give(1, gradient);
    }
    bias(c, dy, window.n_spatial());
    Ok(())
}
