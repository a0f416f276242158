//! LSTM, GRU and RNN: a hidden unit goes with its rows in every gate; what comes in goes with the
//! columns of the first kernel.

use onnxfit_graph::{AttributeValue, ValueId};

use super::elementwise::tie_unless_single;
use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] =
    &[Entry { domain: "", op_types: &["GRU", "LSTM", "RNN"], rule: recurrent, mend: Some(mend_hidden_size) }];

fn recurrent(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, weight, recurrence) = (context.node.input(0)?, context.node.input(1)?, context.node.input(2)?);
    if context.node.int("layout").unwrap_or(0) != 0 {
        return None;
    }
    let hidden = Axis { value: recurrence, axis: 2 };
    let n_hidden = usize::try_from(context.size(hidden)?).ok().filter(|n| *n > 0)?;
    tie_unless_single(context, Axis { value: input, axis: 2 }, Axis { value: weight, axis: 2 });
    let gates = |context: &mut Context<'_, '_>, value: ValueId, axis: usize| {
        let gates = Axis { value, axis };
        context.tie_by(hidden, gates, |index| index % n_hidden);
        // Directions stay.
        context.pin(Axis { value, axis: 0 });
    };
    gates(context, weight, 1);
    gates(context, recurrence, 1);
    for parameter in [context.node.input(3), context.node.input(7)].into_iter().flatten() {
        gates(context, parameter, 1);
    }
    for state in [context.node.input(5), context.node.input(6)].into_iter().flatten() {
        context.tie(Axis { value: state, axis: 2 }, hidden);
        context.pin(Axis { value: state, axis: 0 });
    }
    for axis in [0, 1] {
        context.pin(Axis { value: input, axis });
    }
    let outputs: Vec<_> = context.node.outputs.iter().copied().flatten().collect();
    for output in outputs {
        let rank = context.rank(output)?;
        context.tie(Axis { value: output, axis: rank.checked_sub(1)? }, hidden);
        for axis in 0..rank - 1 {
            context.pin(Axis { value: output, axis });
        }
    }
    // The lengths of sequences are no features.
    if let Some(lengths) = context.node.input(4) {
        context.pin_all(lengths);
    }
    Some(())
}

/// The hidden size is an attribute too.
fn mend_hidden_size(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let hidden = Axis { value: context.node.input(2)?, axis: 2 };
    if let Some(left) = mender.kept.size(hidden) {
        mender.patch.set_attribute(context.id, "hidden_size", AttributeValue::Int(left));
    }
    Some(())
}
