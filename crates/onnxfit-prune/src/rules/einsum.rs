//! `Einsum`: axes of the same letter go together; a letter that is summed within one operand stays.

use std::collections::BTreeMap;

use super::elementwise::tie_unless_single;
use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[Entry { domain: "", op_types: &["Einsum"], rule: einsum, mend: None }];

fn einsum(context: &mut Context<'_, '_>) -> Option<()> {
    let equation: String = context.node.string("equation")?.chars().filter(|letter| *letter != ' ').collect();
    let (operands, result) = equation.split_once("->")?;
    if equation.contains('.') {
        return None;
    }
    let output = context.node.output(0)?;
    let mut places: BTreeMap<char, Vec<(Axis, bool)>> = BTreeMap::new();
    let inputs: Vec<_> = context.node.inputs.iter().copied().flatten().collect();
    let terms: Vec<&str> = operands.split(',').collect();
    if terms.len() != inputs.len() {
        return None;
    }
    let sides = inputs.into_iter().zip(terms).map(|side| (side, false)).chain([((output, result), true)]);
    for ((value, letters), is_output) in sides {
        if context.rank(value)? != letters.chars().count() {
            return None;
        }
        for (axis, letter) in letters.chars().enumerate() {
            let of_letter = places.entry(letter).or_default();
            // A diagonal is no plain axis.
            if of_letter.iter().any(|(known, _)| known.value == value) {
                return None;
            }
            of_letter.push((Axis { value, axis }, is_output));
        }
    }
    for found in places.values() {
        let n_operands = found.iter().filter(|(_, is_output)| !is_output).count();
        let is_made = found.iter().any(|(_, is_output)| *is_output);
        let leader = found.iter().map(|(axis, _)| *axis).find(|axis| context.size(*axis) != Some(1));
        let Some(leader) = leader else { continue };
        for (axis, _) in found {
            tie_unless_single(context, *axis, leader);
        }
        if !is_made && n_operands < 2 {
            context.pin(leader);
        }
        // A batch of products of activations is a batch of heads.
        let all_activations = found.iter().all(|(axis, _)| context.constant(axis.value).is_none());
        if is_made && n_operands >= 2 && all_activations {
            context.mark_heads(leader);
        }
    }
    Some(())
}
