//! Activation functions.
//!
//! Where the derivative can be had from the output, the input need not be kept.

use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported};
use crate::rules::unary::{from_input, from_output};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "Celu", |c| {
        from_input(c, |c, x, dy| {
            let alpha = c.float_or("alpha", 1.0);
            let scaled = c.times(x, 1.0 / alpha);
            let slope = c.exp(scaled);
            below_zero(c, x, dy, slope)
        })
    }),
    ("", "Elu", |c| {
        from_input(c, |c, x, dy| {
            let alpha = c.float_or("alpha", 1.0);
            let slope = c.exp(x);
            let slope = c.times(slope, alpha);
            below_zero(c, x, dy, slope)
        })
    }),
    ("", "Gelu", gelu),
    ("com.microsoft", "Gelu", gelu),
    ("com.microsoft", "FastGelu", fast_gelu),
    ("com.microsoft", "QuickGelu", |c| {
        let alpha = c.float_or("alpha", 1.702);
        swish(c, alpha)
    }),
    ("", "HardSigmoid", |c| {
        from_output(c, |c, y, dy| {
            let alpha = c.float_or("alpha", 0.2);
            let inside = strictly_between(c, y, 0.0, 1.0);
            let slope = c.times(dy, alpha);
            let zero = c.value(0.0);
            c.select(inside, slope, zero)
        })
    }),
    ("", "HardSwish", |c| {
        from_input(c, |c, x, dy| {
            // x (x+3)/6 between -3 and 3: slope x/3 + 1/2.
            let third = c.times(x, 1.0 / 3.0);
            let half = c.value(0.5);
            let slope = c.add(third, half);
            let (low, high) = (c.value(-3.0), c.value(3.0));
            let (above, below) = (c.greater(x, low), c.less(x, high));
            let (zero, one) = (c.value(0.0), c.value(1.0));
            let slope = c.select(below, slope, one);
            let slope = c.select(above, slope, zero);
            c.mul(dy, slope)
        })
    }),
    ("", "LeakyRelu", |c| {
        let alpha = c.float_or("alpha", 0.01);
        from_input(c, |c, x, dy| {
            let slope = c.times(dy, alpha);
            let zero = c.value(0.0);
            let above = c.greater(x, zero);
            c.select(above, dy, slope)
        })
    }),
    ("", "Mish", |c| {
        from_input(c, |c, x, dy| {
            // x tanh(s) with s = softplus(x): tanh(s) + x sigmoid(x) (1 - tanh(s)^2).
            let softplus = c.op("Softplus", &[x]);
            let tanh = c.tanh(softplus);
            let square = c.mul(tanh, tanh);
            let one = c.value(1.0);
            let rest = c.sub(one, square);
            let sigmoid = c.sigmoid(x);
            let gate = c.mul(x, sigmoid);
            let change = c.mul(gate, rest);
            let slope = c.add(tanh, change);
            c.mul(dy, slope)
        })
    }),
    ("", "PRelu", prelu),
    ("", "Relu", |c| {
        from_output(c, |c, y, dy| {
            let zero = c.value(0.0);
            let above = c.greater(y, zero);
            c.select(above, dy, zero)
        })
    }),
    ("", "Selu", |c| {
        from_input(c, |c, x, dy| {
            let alpha = c.float_or("alpha", 1.673_263_2);
            let gamma = c.float_or("gamma", 1.050_701);
            let slope = c.exp(x);
            let slope = c.times(slope, alpha);
            let scaled = c.times(dy, gamma);
            below_zero(c, x, scaled, slope)
        })
    }),
    ("", "Sigmoid", |c| {
        from_output(c, |c, y, dy| {
            let one = c.value(1.0);
            let rest = c.sub(one, y);
            let slope = c.mul(y, rest);
            c.mul(dy, slope)
        })
    }),
    ("", "Softplus", |c| {
        from_input(c, |c, x, dy| {
            let sigmoid = c.sigmoid(x);
            c.mul(dy, sigmoid)
        })
    }),
    ("", "Softsign", |c| {
        from_input(c, |c, x, dy| {
            let size = c.op("Abs", &[x]);
            let one = c.value(1.0);
            let sum = c.add(size, one);
            let square = c.mul(sum, sum);
            c.div(dy, square)
        })
    }),
    ("", "Swish", |c| {
        let alpha = c.float_or("alpha", 1.0);
        swish(c, alpha)
    }),
    ("", "Tanh", |c| {
        from_output(c, |c, y, dy| {
            let square = c.mul(y, y);
            let one = c.value(1.0);
            let slope = c.sub(one, square);
            c.mul(dy, slope)
        })
    }),
    ("", "ThresholdedRelu", |c| {
        let alpha = c.float_or("alpha", 1.0);
        from_input(c, |c, x, dy| {
            let (bound, zero) = (c.value(alpha), c.value(0.0));
            let above = c.greater(x, bound);
            c.select(above, dy, zero)
        })
    }),
];

/// `dy` where `x` is above zero, `dy` times `slope` elsewhere.
fn below_zero(c: &mut Reverse<'_>, x: Var, dy: Var, slope: Var) -> Var {
    let zero = c.value(0.0);
    let above = c.greater(x, zero);
    let below = c.mul(dy, slope);
    c.select(above, dy, below)
}

fn strictly_between(c: &mut Reverse<'_>, x: Var, low: f64, high: f64) -> Var {
    let (low, high) = (c.value(low), c.value(high));
    let (above, below) = (c.greater(x, low), c.less(x, high));
    c.and(above, below)
}

/// `x sigmoid(alpha x)`.
fn swish(c: &mut Reverse<'_>, alpha: f64) -> RuleResult {
    from_input(c, |c, x, dy| {
        let scaled = c.times(x, alpha);
        let gate = c.sigmoid(scaled);
        let one = c.value(1.0);
        let closed = c.sub(one, gate);
        let change = c.mul(scaled, closed);
        let sum = c.add(change, one);
        let slope = c.mul(gate, sum);
        c.mul(dy, slope)
    })
}

fn gelu(c: &mut Reverse<'_>) -> RuleResult {
    if c.node.string("approximate") == Some("tanh") {
        return fast_gelu(c);
    }
    from_input(c, |c, x, dy| {
        let scaled = c.times(x, std::f64::consts::FRAC_1_SQRT_2);
        let erf = c.erf(scaled);
        let one = c.value(1.0);
        let sum = c.add(erf, one);
        let share = c.times(sum, 0.5);
        let square = c.mul(x, x);
        let exponent = c.times(square, -0.5);
        let bell = c.exp(exponent);
        let density = c.times(bell, 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
        let change = c.mul(x, density);
        let slope = c.add(share, change);
        c.mul(dy, slope)
    })
}

/// `x/2 (1 + tanh(k (x + a x^3)))`, with an optional bias that is added to `x` first.
fn fast_gelu(c: &mut Reverse<'_>) -> RuleResult {
    const K: f64 = 0.797_884_560_802_865_4; // sqrt(2/pi)
    const A: f64 = 0.044_715;
    let (mut x, dy) = (c.x(0)?, c.dy()?);
    if c.has(1) {
        let bias = c.x(1)?;
        x = c.add(x, bias);
    }
    let square = c.mul(x, x);
    let one = c.value(1.0);
    let cubic = c.times(square, A);
    let factor = c.add(cubic, one);
    let argument = c.mul(x, factor);
    let argument = c.times(argument, K);
    let tanh = c.tanh(argument);
    let sum = c.add(tanh, one);
    let share = c.times(sum, 0.5);
    let tanh_square = c.mul(tanh, tanh);
    let rest = c.sub(one, tanh_square);
    let steep = c.times(square, 3.0 * A);
    let steep = c.add(steep, one);
    let half = c.times(x, 0.5 * K);
    let change = c.mul(half, rest);
    let change = c.mul(change, steep);
    let slope = c.add(share, change);
    let gradient = c.mul(dy, slope);
    c.give(0, gradient);
    if c.wants(1) { c.give_reduced(1, gradient) } else { Ok(()) }
}

fn prelu(c: &mut Reverse<'_>) -> Result<(), Unsupported> {
    let (x, slope, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let zero = c.value(0.0);
    let above = c.greater(x, zero);
    if c.wants(0) {
        let below = c.mul(dy, slope);
        let gradient = c.select(above, dy, below);
        c.give(0, gradient);
    }
    if c.wants(1) {
        let change = c.mul(dy, x);
        let gradient = c.select(above, zero, change);
        c.give_reduced(1, gradient)?;
    }
    Ok(())
}
