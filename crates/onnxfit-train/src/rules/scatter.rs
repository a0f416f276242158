//! Writing at indices: what was overwritten gets nothing, what was written gets what is there.

use crate::emit::{int, text};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};

pub(crate) const TABLE: &[Entry] = &[("", "ScatterElements", scatter_elements), ("", "ScatterND", scatter_nd)];

fn scatter_elements(c: &mut Reverse<'_>) -> RuleResult {
    let (indices, dy) = (c.x(1)?, c.dy()?);
    let axis = c.int_or("axis", 0);
    let reduction = c.node.string("reduction").unwrap_or("none");
    if !matches!(reduction, "none" | "add") {
        return unsupported("reduces by something else than adding");
    }
    if c.wants(0) {
        let gradient = if reduction == "add" {
            dy
        } else {
            let zeros = c.zeros_like(2)?;
            c.op_with("ScatterElements", &[dy, indices, zeros], vec![int("axis", axis)])
        };
        c.give(0, gradient);
    }
    if c.wants(2) {
        let gradient = c.op_with("GatherElements", &[dy, indices], vec![int("axis", axis)]);
        c.give(2, gradient);
    }
    Ok(())
}

fn scatter_nd(c: &mut Reverse<'_>) -> RuleResult {
    let (indices, dy) = (c.x(1)?, c.dy()?);
    let reduction = c.node.string("reduction").unwrap_or("none");
    if !matches!(reduction, "none" | "add") {
        return unsupported("reduces by something else than adding");
    }
    if c.wants(0) {
        let gradient = if reduction == "add" {
            dy
        } else {
            let zeros = c.zeros_like(2)?;
            c.op_with("ScatterND", &[dy, indices, zeros], vec![text("reduction", "none")])
        };
        c.give(0, gradient);
    }
    if c.wants(2) {
        let gradient = c.op("GatherND", &[dy, indices]);
        c.give(2, gradient);
    }
    Ok(())
}
