//! Sequences of tensors.

use onnxfit_onnx::DataType;

use crate::context::{Axes, Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Sequence};
use crate::registry::Entry;
use crate::rules::concat::joined;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] = &[
    ("", "SequenceEmpty", empty),
    ("", "SequenceConstruct", construct),
    ("", "SequenceInsert", insert),
    ("", "SequenceErase", erase),
    ("", "SequenceAt", at),
    ("", "SequenceLength", length),
    ("", "SequenceMap", map),
    ("", "SplitToSequence", split),
    ("", "ConcatFromSequence", concat),
];

/// Elements that are kept apart; beyond, only what holds for all of them is.
const N_ITEMS_MAX: usize = 64;

fn count(n: usize) -> Option<Expr> {
    i64::try_from(n).ok().map(Expr::constant)
}

/// A sequence of these elements.
fn of_items(context: &mut RuleContext<'_, '_>, output: usize, items: Vec<Fact>) -> Fact {
    let length = count(items.len());
    let mut element = items.first().cloned().unwrap_or_default();
    for item in items.iter().skip(1) {
        element = context.either(output, &element, item);
    }
    Fact::sequence(element, length, (items.len() <= N_ITEMS_MAX).then_some(items))
}

fn sequence_input<'a>(context: &RuleContext<'a, '_>) -> Option<&'a Sequence> {
    context.input(0)?.as_sequence()
}

/// A position in a sequence of known length.
fn position(context: &RuleContext<'_, '_>, input: usize, n: usize) -> Option<usize> {
    axis_of(context.int_input(input)?.as_constant()?, n)
}

fn empty(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("dtype").or(Some(DataType::Float));
    context.set_fact(0, Fact::sequence(Fact::tensor(element_type, None), count(0), Some(Vec::new())));
    Some(())
}

fn construct(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let items = (0..context.n_inputs()).map(|index| context.input(index).cloned().unwrap_or_default()).collect();
    let fact = of_items(context, 0, items);
    context.set_fact(0, fact);
    Some(())
}

fn insert(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let sequence = sequence_input(context)?;
    let new = context.input(1)?.clone();
    if let Some(items) = &sequence.items {
        let at = match context.input(2) {
            None => Some(items.len()),
            Some(_) => position(context, 2, items.len() + 1),
        };
        if let Some(at) = at {
            let mut items = items.clone();
            items.insert(at, new);
            let fact = of_items(context, 0, items);
            context.set_fact(0, fact);
            return Some(());
        }
    }
    let is_empty = sequence.length.as_ref().is_some_and(|length| length.is(0));
    let element = if is_empty { new } else { context.either(0, &sequence.element, &new) };
    let length = sequence.length.as_ref().and_then(|length| length.plus(1));
    context.set_fact(0, Fact::sequence(element, length, None));
    Some(())
}

fn erase(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let sequence = sequence_input(context)?;
    if let Some(items) = &sequence.items {
        let at = match context.input(1) {
            None => items.len().checked_sub(1),
            Some(_) => position(context, 1, items.len()),
        };
        if let Some(at) = at {
            let mut items = items.clone();
            items.remove(at);
            let mut fact = of_items(context, 0, items);
            if fact.as_sequence().is_some_and(|left| left.length == count(0)) {
                fact = Fact::sequence((*sequence.element).clone(), count(0), Some(Vec::new()));
            }
            context.set_fact(0, fact);
            return Some(());
        }
    }
    let length = sequence.length.as_ref().and_then(|length| length.plus(-1));
    context.set_fact(0, Fact::sequence((*sequence.element).clone(), length, None));
    Some(())
}

fn at(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let sequence = sequence_input(context)?;
    let item = sequence.items.as_ref().and_then(|items| items.get(position(context, 1, items.len())?));
    let fact = item.unwrap_or(&sequence.element).clone();
    context.set_fact(0, fact);
    Some(())
}

fn length(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Int64), Some(Vec::new()));
    let length = sequence_input(context)?.length.clone()?;
    context.set_elements(0, vec![Some(Scalar::Int(length))]);
    Some(())
}

fn map(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let length = sequence_input(context)?.length.clone();
    let one = |index: usize| {
        let fact = context.input(index).cloned().unwrap_or_default();
        match fact.as_sequence() {
            Some(sequence) => (*sequence.element).clone(),
            None => fact,
        }
    };
    let inputs: Vec<Fact> = (0..context.n_inputs()).map(one).collect();
    // Item by item where the items are told apart, for shapes may differ.
    let n_items = sequence_input(context)?.items.as_ref().map(Vec::len).filter(|n| (1..=8).contains(n));
    let Some(n_items) = n_items else {
        let outputs = context.run_subgraph("body", &inputs)?;
        for (output, fact) in outputs.into_iter().enumerate() {
            context.set_fact(output, Fact::sequence(fact, length.clone(), None));
        }
        return Some(());
    };
    let mut made: Vec<Vec<Fact>> = vec![Vec::new(); context.n_outputs()];
    for item in 0..n_items {
        let own = |(index, common): (usize, &Fact)| {
            let sequence = context.input(index).and_then(Fact::as_sequence);
            sequence.and_then(|sequence| sequence.items.as_ref()?.get(item).cloned()).unwrap_or_else(|| common.clone())
        };
        let inputs: Vec<Fact> = inputs.iter().enumerate().map(own).collect();
        for (made, fact) in made.iter_mut().zip(context.run_subgraph("body", &inputs)?) {
            made.push(fact);
        }
    }
    for (output, items) in made.into_iter().enumerate() {
        let fact = of_items(context, output, items);
        context.set_fact(output, fact);
    }
    Some(())
}

fn split(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set_fact(0, Fact::sequence(Fact::tensor(element_type, None), None, None));
    let shape = context.shape(0)?;
    let axis = axis_of(context.int("axis", 0), shape.len())?;
    let part = |length: Expr| {
        let mut shape = shape.to_vec();
        shape[axis] = length;
        Fact::tensor(element_type, Some(shape))
    };
    if context.input(1).is_none() {
        let mut element = part(Expr::constant(1));
        if context.int("keepdims", 1) == 0 {
            element.shape.as_mut()?.remove(axis);
        }
        context.set_fact(0, Fact::sequence(element, Some(shape[axis].clone()), None));
        return Some(());
    }
    let is_scalar = context.rank(1) == Some(0);
    match context.axes("", 1) {
        Axes::Known(lengths) if !is_scalar => {
            let items = lengths.into_iter().take(4096).map(|length| part(Expr::constant(length))).collect();
            let fact = of_items(context, 0, items);
            context.set_fact(0, fact);
        }
        Axes::Known(lengths) => {
            let length = Expr::constant(*lengths.first()?);
            let n_parts = shape[axis].ceil_div(&length);
            // The last part may be smaller; told apart where the number of parts is known.
            match (shape[axis].as_constant(), length.as_constant(), n_parts.as_ref().and_then(Expr::as_constant)) {
                (Some(total), Some(length), Some(n)) if (1..=4096).contains(&n) => {
                    let at = |index: i64| part(Expr::constant(length.min(total - index * length)));
                    let items = (0..n).map(at).collect();
                    let fact = of_items(context, 0, items);
                    context.set_fact(0, fact);
                }
                _ => {
                    let element = part(context.data_dependent_dim(0, axis, Some(length)));
                    context.set_fact(0, Fact::sequence(element, n_parts, None));
                }
            }
        }
        Axes::Absent | Axes::Unknown => {
            let element = part(context.data_dependent_dim(0, axis, Some(shape[axis].clone())));
            let n_parts = context.dim(1, 0);
            context.set_fact(0, Fact::sequence(element, n_parts, None));
        }
    }
    Some(())
}

fn concat(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let sequence = sequence_input(context)?;
    let element_type = sequence.element.element_type;
    context.set(0, element_type, None);
    let axis = context.node.int("axis")?;
    let is_stacked = context.flag("new_axis");
    let items = sequence.items.as_ref().filter(|items| !items.is_empty());
    let rank = sequence.element.rank().or_else(|| items.and_then(|items| items[0].rank()))?;
    let axis = axis_of(axis, rank + usize::from(is_stacked))?;
    let dims = match (is_stacked, items) {
        (false, Some(items)) => joined(context, &items.iter().collect::<Vec<_>>(), axis)?,
        (false, None) => {
            let mut dims: Dims = sequence.element.shape.as_ref()?.iter().cloned().map(Some).collect();
            dims[axis] = dims[axis].as_ref().zip(sequence.length.as_ref()).and_then(|(dim, n)| {
                // A size that differs from element to element has no sum that could be told.
                if context.state.is_made_up(dim) { None } else { dim.mul(n) }
            });
            dims
        }
        (true, _) => {
            let mut dims: Dims = sequence.element.shape.as_ref()?.iter().cloned().map(Some).collect();
            dims.insert(axis, sequence.length.clone());
            dims
        }
    };
    context.set(0, element_type, Some(dims));
    Some(())
}
