//! Pooling.
//!
//! `MaxPool` tells where it found the largest elements; the gradient is added there, which is
//! right for overlapping windows too (`MaxUnpool` is not, and has no CUDA kernel).

use onnxfit_onnx::DataType;

use crate::emit::{int, ints, text};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::rules::convolution::{Window, spread};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "AveragePool", average_pool),
    ("", "GlobalAveragePool", global_average_pool),
    ("", "GlobalMaxPool", global_max_pool),
    ("", "MaxPool", max_pool),
];

fn max_pool(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    if c.int_or("storage_order", 0) != 0 {
        return unsupported("numbers its places by columns");
    }
    let Some(places) = c.extra_output(y, 1) else { return unsupported("does not tell its places") };
    let element_type = c.element_type();
    let flat = c.ints(&[-1]);
    let (places, parts) = (c.reshape(places, flat), c.reshape(dy, flat));
    let n_elements = c.fact(0).and_then(|fact| fact.n_elements()).and_then(|n| n.as_constant());
    let size = match n_elements {
        Some(n) => c.ints(&[n]),
        None => {
            let size = c.size(x);
            c.unsqueeze(size, &[0])
        }
    };
    let zeros = c.zeros(size, element_type);
    let sum = c.op_with("ScatterElements", &[zeros, places, parts], vec![int("axis", 0), text("reduction", "add")]);
    let gradient = c.reshape_like(sum, 0)?;
    c.give(0, gradient);
    Ok(())
}

/// Each window's share goes back to all places of the window, of one channel at a time.
fn average_pool(c: &mut Reverse<'_>) -> RuleResult {
    let (x, dy) = (c.x(0)?, c.dy()?);
    let Some(kernel) = c.node.ints("kernel_shape").map(<[i64]>::to_vec) else {
        return unsupported("has a kernel of unknown size");
    };
    let x_dims = c.known_dims(0).ok_or_else(|| Unsupported("has an input of unknown rank".to_owned()))?;
    let y_dims: Vec<Option<i64>> = match c.output_fact(0).and_then(|fact| fact.shape.as_ref()) {
        Some(dims) => dims.iter().map(|dim| dim.as_constant()).collect(),
        None => vec![None; x_dims.len()],
    };
    let mut window = Window::of(c, kernel, &x_dims)?;
    let n = window.n_spatial();
    let declared_pads = window.pads.clone();
    let is_padded = window.pads.iter().any(|pad| *pad > 0);
    let is_ceil = c.int_or("ceil_mode", 0) != 0;
    if is_ceil {
        // The last window may hang over; the overhang is padding that is never counted.
        for axis in 0..n {
            let (Some(size), Some(steps)) = (x_dims[axis + 2], y_dims.get(axis + 2).copied().flatten()) else {
                return unsupported("rounds sizes up that are not known");
            };
            let reach = (steps - 1) * window.strides[axis] + window.reach(axis);
            window.pads[axis + n] = (reach - size - window.pads[axis]).max(window.pads[axis + n]);
        }
    }
    let element_type = c.element_type();
    let counts_padding = c.int_or("count_include_pad", 0) != 0;
    let n_window: i64 = window.kernel.iter().product();
    let is_uniform = (counts_padding || !is_padded) && window.pads == declared_pads;
    let share = if is_uniform {
        c.times(dy, 1.0 / n_window as f64)
    } else {
        let n_each = counts(c, x, &x_dims, &window, counts_padding.then_some(&declared_pads[..]), element_type)?;
        c.div(dy, n_each)
    };
    // All channels are alike: they are samples of one channel to a window of ones.
    let apart = |c: &mut Reverse<'_>, value: Var, dims: &[Option<i64>]| match known_spatial(dims) {
        Some(spatial) => {
            let target: Vec<i64> = [vec![-1, 1], spatial].concat();
            c.reshape_to(value, &target)
        }
        None => {
            let (front, spatial) = (c.ints(&[-1, 1]), c.dims(value, 2, None));
            let target = c.concat(&[front, spatial], 0);
            c.reshape(value, target)
        }
    };
    let share = apart(c, share, &y_dims);
    let ones = c.numbers(element_type, &[vec![1, 1], window.kernel.clone()].concat(), &vec![1.0; n_window as usize]);
    let spread = spread(c, share, ones, &window, 1, (x, &x_dims), &y_dims);
    let gradient = c.reshape_like(spread, 0)?;
    c.give(0, gradient);
    Ok(())
}

fn known_spatial(dims: &[Option<i64>]) -> Option<Vec<i64>> {
    dims.get(2..)?.iter().copied().collect()
}

/// How many elements each window averages; with padding counted, as far as it was declared.
fn counts(
    c: &mut Reverse<'_>,
    x: Var,
    x_dims: &[Option<i64>],
    window: &Window,
    counted_pads: Option<&[i64]>,
    element_type: DataType,
) -> Result<Var, Unsupported> {
    let n = window.n_spatial();
    let shape = match known_spatial(x_dims) {
        Some(spatial) => c.ints(&[vec![1, 1], spatial].concat()),
        None => {
            let (front, spatial) = (c.ints(&[1, 1]), c.dims(x, 2, None));
            c.concat(&[front, spatial], 0)
        }
    };
    let mut places = c.filled(shape, element_type, 1.0);
    let mut pads = window.pads.clone();
    if let Some(counted) = counted_pads {
        let mut around = vec![0i64; 2 * (n + 2)];
        for axis in 0..n {
            around[axis + 2] = counted[axis];
            around[axis + 2 + n + 2] = counted[axis + n];
            pads[axis] -= counted[axis];
            pads[axis + n] -= counted[axis + n];
        }
        let (around, one) = (c.ints(&around), c.number(element_type, 1.0));
        places = c.op("Pad", &[places, around, one]);
    }
    let n_window: i64 = window.kernel.iter().product();
    let ones = c.numbers(element_type, &[vec![1, 1], window.kernel.clone()].concat(), &vec![1.0; n_window as usize]);
    let attributes = vec![ints("strides", &window.strides), ints("dilations", &window.dilations), ints("pads", &pads)];
    Ok(c.op_with("Conv", &[places, ones], attributes))
}

fn global_average_pool(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let n_each = c.ratio_to_output(0)?;
    let share = c.div(dy, n_each);
    let shape = c.shape_vector(0)?;
    let gradient = c.expand(share, shape);
    c.give(0, gradient);
    Ok(())
}

fn global_max_pool(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    let rank = c.rank(0)? as i64;
    let element_type = c.element_type();
    let is_chosen = c.equal(x, y);
    let mask = c.cast(is_chosen, element_type);
    let axes: Vec<i64> = (2..rank).collect();
    let n_chosen = c.reduce_sum(mask, &axes, true);
    let share = c.div(dy, n_chosen);
    let gradient = c.mul(mask, share);
    c.give(0, gradient);
    Ok(())
}
