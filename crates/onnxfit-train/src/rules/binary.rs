//! Arithmetic of several operands that are broadcast to one shape.

use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "Add", |c| each(c, |_, _, dy| dy)),
    ("", "Div", div),
    ("", "Max", |c| chosen(c)),
    ("", "Mean", |c| {
        let n_inputs = c.inputs.iter().flatten().count().max(1);
        each(c, |c, _, dy| c.times(dy, 1.0 / n_inputs as f64))
    }),
    ("", "Min", |c| chosen(c)),
    ("", "Mod", modulo),
    ("", "Mul", |c| {
        let (a, b) = (c.x(0)?, c.x(1)?);
        each(c, |c, index, dy| c.mul(dy, if index == 0 { b } else { a }))
    }),
    ("", "Pow", pow),
    ("", "Sub", |c| each(c, |c, index, dy| if index == 0 { dy } else { c.neg(dy) })),
    ("", "Sum", |c| each(c, |_, _, dy| dy)),
    ("com.microsoft", "BiasGelu", bias_gelu),
];

/// Gives each wanted input `f` of the output's gradient, summed to the input's shape.
fn each(c: &mut Reverse<'_>, f: impl Fn(&mut Reverse<'_>, usize, Var) -> Var) -> RuleResult {
    let dy = c.dy()?;
    for index in 0..c.inputs.len() {
        if c.wants(index) {
            let gradient = f(c, index, dy);
            c.give_reduced(index, gradient)?;
        }
    }
    Ok(())
}

fn div(c: &mut Reverse<'_>) -> RuleResult {
    let (b, dy) = (c.x(1)?, c.dy()?);
    let quotient = c.div(dy, b);
    if c.wants(0) {
        c.give_reduced(0, quotient)?;
    }
    if c.wants(1) {
        let y = c.y()?;
        let change = c.mul(quotient, y);
        let gradient = c.neg(change);
        c.give_reduced(1, gradient)?;
    }
    Ok(())
}

/// The gradient goes to the operand that was chosen; equal ones share it.
fn chosen(c: &mut Reverse<'_>) -> RuleResult {
    let (y, dy) = (c.y()?, c.dy()?);
    if c.inputs.len() == 1 {
        c.give(0, dy);
        return Ok(());
    }
    let element_type = c.element_type();
    let mut masks = Vec::new();
    for index in 0..c.inputs.len() {
        let x = c.x(index)?;
        let is_chosen = c.equal(x, y);
        masks.push(c.cast(is_chosen, element_type));
    }
    let n_chosen = c.sum(&masks);
    let share = c.div(dy, n_chosen);
    for (index, mask) in masks.into_iter().enumerate() {
        if c.wants(index) {
            let gradient = c.mul(share, mask);
            c.give_reduced(index, gradient)?;
        }
    }
    Ok(())
}

/// `a - b floor(a/b)`: the divisor's part is a constant times it.
fn modulo(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    if c.wants(0) {
        c.give_reduced(0, dy)?;
    }
    if c.wants(1) {
        return unsupported("has a trained divisor");
    }
    Ok(())
}

fn pow(c: &mut Reverse<'_>) -> RuleResult {
    let (x, exponent, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    if c.wants(0) {
        let gradient = match c.known_number(1) {
            Some(1.0) => dy,
            Some(2.0) => {
                let slope = c.add(x, x);
                c.mul(dy, slope)
            }
            Some(0.5) => {
                let y = c.y()?;
                let double = c.add(y, y);
                c.div(dy, double)
            }
            Some(3.0) => {
                let square = c.mul(x, x);
                let slope = c.times(square, 3.0);
                c.mul(dy, slope)
            }
            Some(number) => {
                let less = c.value(number - 1.0);
                let power = c.pow(x, less);
                let slope = c.times(power, number);
                c.mul(dy, slope)
            }
            None => {
                let element_type = c.element_type();
                let exponent = c.cast(exponent, element_type);
                let one = c.value(1.0);
                let less = c.sub(exponent, one);
                let power = c.pow(x, less);
                let slope = c.mul(exponent, power);
                c.mul(dy, slope)
            }
        };
        c.give_reduced(0, gradient)?;
    }
    if c.wants(1) {
        // Where the base is zero or less the logarithm says nothing; the power is flat there.
        let (y, zero, one) = (c.y()?, c.value(0.0), c.value(1.0));
        let above = c.greater(x, zero);
        let safe = c.select(above, x, one);
        let logarithm = c.log(safe);
        let slope = c.mul(y, logarithm);
        let gradient = c.mul(dy, slope);
        c.give_reduced(1, gradient)?;
    }
    Ok(())
}

/// `Gelu(a + b)`, with the exact error function.
fn bias_gelu(c: &mut Reverse<'_>) -> RuleResult {
    let (a, b, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let x = c.add(a, b);
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
    let gradient = c.mul(dy, slope);
    for index in 0..2 {
        if c.wants(index) {
            c.give_reduced(index, gradient)?;
        }
    }
    Ok(())
}
