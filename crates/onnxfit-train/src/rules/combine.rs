//! Concatenation and splitting: each is the other's way back.

use crate::emit::int;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[("", "Concat", concat), ("", "Split", split)];

fn concat(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let rank = c.rank(0)?;
    let axis = c.axis_or("axis", 0, rank)?;
    let n_inputs = c.inputs.len();
    if n_inputs == 1 {
        c.give(0, dy);
        return Ok(());
    }
    let known: Option<Vec<i64>> = (0..n_inputs).map(|index| c.known_dim(index, axis)).collect();
    let n_wanted = (0..n_inputs).filter(|index| c.wants(*index)).count();
    // One part of many with known places is cut out; otherwise all are split at once.
    if let (Some(sizes), 1) = (&known, n_wanted) {
        let mut start = 0;
        for (index, size) in sizes.iter().enumerate() {
            if c.wants(index) {
                let gradient = c.slice(dy, axis as i64, start, start + size);
                c.give(index, gradient);
            }
            start += size;
        }
        return Ok(());
    }
    let sizes = match known {
        Some(sizes) => c.ints(&sizes),
        None => {
            let mut sizes = Vec::new();
            for index in 0..n_inputs {
                let x = c.x(index)?;
                sizes.push(match c.known_dim(index, axis) {
                    Some(size) => c.ints(&[size]),
                    None => c.dim(x, axis as i64),
                });
            }
            c.concat(&sizes, 0)
        }
    };
    let parts = c.emit("Split", &[Some(dy), Some(sizes)], vec![int("axis", axis as i64)], n_inputs);
    for (index, part) in parts.into_iter().enumerate() {
        if c.wants(index) {
            c.give(index, part);
        }
    }
    Ok(())
}

fn split(c: &mut Reverse<'_>) -> RuleResult {
    let axis = c.int_or("axis", 0);
    let mut parts: Vec<Var> = Vec::new();
    for (output, gradient) in c.outputs.clone().into_iter().zip(c.output_gradients.clone()) {
        match (output, gradient) {
            (_, Some(gradient)) => parts.push(gradient),
            (Some(output), None) => {
                let element_type = c.element_type();
                let shape = c.shape(output);
                parts.push(c.zeros(shape, element_type));
            }
            (None, None) => return unsupported("leaves out an output"),
        }
    }
    let gradient = c.concat(&parts, axis);
    c.give(0, gradient);
    Ok(())
}
