//! Functions of one number, applied to each element.

use crate::emit::int;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "Abs", |c| {
        from_input(c, |c, x, dy| {
            let sign = c.sign(x);
            c.mul(dy, sign)
        })
    }),
    ("", "Acos", |c| {
        from_input(c, |c, x, dy| {
            let root = one_minus_square_root(c, x);
            let gradient = c.div(dy, root);
            c.neg(gradient)
        })
    }),
    ("", "Acosh", |c| {
        from_input(c, |c, x, dy| {
            let square = c.mul(x, x);
            let one = c.value(1.0);
            let difference = c.sub(square, one);
            let root = c.sqrt(difference);
            c.div(dy, root)
        })
    }),
    ("", "Asin", |c| {
        from_input(c, |c, x, dy| {
            let root = one_minus_square_root(c, x);
            c.div(dy, root)
        })
    }),
    ("", "Asinh", |c| {
        from_input(c, |c, x, dy| {
            let sum = one_plus_square(c, x);
            let root = c.sqrt(sum);
            c.div(dy, root)
        })
    }),
    ("", "Atan", |c| {
        from_input(c, |c, x, dy| {
            let sum = one_plus_square(c, x);
            c.div(dy, sum)
        })
    }),
    ("", "Atanh", |c| {
        from_input(c, |c, x, dy| {
            let difference = one_minus_square(c, x);
            c.div(dy, difference)
        })
    }),
    ("", "Cast", cast),
    ("", "CastLike", cast),
    ("", "Cos", |c| {
        from_input(c, |c, x, dy| {
            let sine = c.sin(x);
            let gradient = c.mul(dy, sine);
            c.neg(gradient)
        })
    }),
    ("", "Cosh", |c| {
        from_input(c, |c, x, dy| {
            let sinh = half_sum(c, x, -1.0);
            c.mul(dy, sinh)
        })
    }),
    ("", "Dropout", dropout),
    ("", "Erf", |c| {
        from_input(c, |c, x, dy| {
            // The derivative is 2/sqrt(pi) exp(-x^2).
            let square = c.mul(x, x);
            let negative = c.neg(square);
            let bell = c.exp(negative);
            let bell = c.times(bell, std::f64::consts::FRAC_2_SQRT_PI);
            c.mul(dy, bell)
        })
    }),
    ("", "Exp", |c| from_output(c, |c, y, dy| c.mul(dy, y))),
    ("", "Identity", |c| {
        let dy = c.dy()?;
        c.give(0, dy);
        Ok(())
    }),
    ("", "Log", |c| from_input(c, |c, x, dy| c.div(dy, x))),
    ("", "Neg", |c| from_input(c, |c, _, dy| c.neg(dy))),
    ("", "Reciprocal", |c| {
        from_output(c, |c, y, dy| {
            let square = c.mul(y, y);
            let gradient = c.mul(dy, square);
            c.neg(gradient)
        })
    }),
    ("", "Sin", |c| {
        from_input(c, |c, x, dy| {
            let cosine = c.cos(x);
            c.mul(dy, cosine)
        })
    }),
    ("", "Sinh", |c| {
        from_input(c, |c, x, dy| {
            let cosh = half_sum(c, x, 1.0);
            c.mul(dy, cosh)
        })
    }),
    ("", "Sqrt", |c| {
        from_output(c, |c, y, dy| {
            let double = c.add(y, y);
            c.div(dy, double)
        })
    }),
    ("", "Tan", |c| {
        from_output(c, |c, y, dy| {
            let sum = one_plus_square(c, y);
            c.mul(dy, sum)
        })
    }),
];

/// A rule that needs the input.
pub(super) fn from_input(c: &mut Reverse<'_>, f: impl Fn(&mut Reverse<'_>, Var, Var) -> Var) -> RuleResult {
    let (x, dy) = (c.x(0)?, c.dy()?);
    let gradient = f(c, x, dy);
    c.give(0, gradient);
    Ok(())
}

/// A rule that needs the output only, so that the input need not be kept.
pub(super) fn from_output(c: &mut Reverse<'_>, f: impl Fn(&mut Reverse<'_>, Var, Var) -> Var) -> RuleResult {
    let (y, dy) = (c.y()?, c.dy()?);
    let gradient = f(c, y, dy);
    c.give(0, gradient);
    Ok(())
}

fn one_plus_square(c: &mut Reverse<'_>, x: Var) -> Var {
    let square = c.mul(x, x);
    let one = c.value(1.0);
    c.add(square, one)
}

fn one_minus_square(c: &mut Reverse<'_>, x: Var) -> Var {
    let square = c.mul(x, x);
    let one = c.value(1.0);
    c.sub(one, square)
}

fn one_minus_square_root(c: &mut Reverse<'_>, x: Var) -> Var {
    let difference = one_minus_square(c, x);
    c.sqrt(difference)
}

/// `(exp(x) ± exp(-x)) / 2`.
fn half_sum(c: &mut Reverse<'_>, x: Var, sign: f64) -> Var {
    let up = c.exp(x);
    let down = c.reciprocal(up);
    let sum = if sign > 0.0 { c.add(up, down) } else { c.sub(up, down) };
    c.times(sum, 0.5)
}

fn cast(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let element_type = c.element_type_of(0);
    let gradient = if element_type == c.element_type() { dy } else { c.cast(dy, element_type) };
    c.give(0, gradient);
    Ok(())
}

/// Active only if the model itself switches it on; its mask says what it dropped.
fn dropout(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let is_training = match c.has(2) {
        false => false,
        true => match c.fact(2).and_then(|fact| fact.scalar()).and_then(|scalar| scalar.as_int()) {
            Some(flag) => flag != 0,
            None => return unsupported("is switched on by an input"),
        },
    };
    if !is_training {
        c.give(0, dy);
        return Ok(());
    }
    let ratio = if c.has(1) { c.known_number(1) } else { Some(0.5) };
    let Some(ratio) = ratio.filter(|ratio| *ratio < 1.0) else { return unsupported("has a ratio that is no constant") };
    let y = c.y()?;
    let Some(mask) = c.extra_output(y, 1) else { return unsupported("has no mask") };
    let element_type = c.element_type();
    let kept = c.op_with("Cast", &[mask], vec![int("to", element_type.number().into())]);
    let kept = c.times(kept, 1.0 / (1.0 - ratio));
    let gradient = c.mul(dy, kept);
    c.give(0, gradient);
    Ok(())
}
