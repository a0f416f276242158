//! If, Loop and Scan: graphs inside the graph.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Kind};
use crate::registry::Entry;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] = &[("", "If", if_), ("", "Loop", loop_), ("", "Scan", scan)];

/// Rounds after which a loop's shapes are given up as unstable.
const N_ROUNDS_MAX: usize = 4;
/// Rounds of known number that are followed one by one.
const N_ROUNDS_APART_MAX: i64 = 64;
/// Nodes walked for that, all rounds together.
const N_NODES_APART_MAX: usize = 4096;

fn if_(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let condition = context.input(0).and_then(Fact::scalar).and_then(|scalar| scalar.is_true());
    let outputs = match condition {
        Some(true) => context.run_subgraph("then_branch", &[])?,
        Some(false) => context.run_subgraph("else_branch", &[])?,
        None => {
            let then = context.run_subgraph("then_branch", &[])?;
            let otherwise = context.run_subgraph("else_branch", &[])?;
            let pairs = then.iter().zip(&otherwise).enumerate();
            pairs.map(|(output, (a, b))| context.either(output, a, b)).collect()
        }
    };
    for (output, fact) in outputs.into_iter().enumerate() {
        context.set_fact(output, fact);
    }
    Some(())
}

fn loop_(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let body = context.node.graph("body")?;
    let n_carried = context.n_inputs().saturating_sub(2);
    let n_trips = context.input(0).and_then(Fact::scalar).and_then(|scalar| scalar.as_expr().cloned());
    let starts_true = match context.input(1) {
        None => Some(true),
        Some(fact) => fact.scalar().and_then(|scalar| scalar.is_true()),
    };
    let iteration = Fact::tensor(Some(DataType::Int64), Some(Vec::new()));
    let condition = Fact::tensor(Some(DataType::Bool), Some(Vec::new()));
    let initial: Vec<Fact> =
        (2..context.n_inputs()).map(|index| context.input(index).cloned().unwrap_or_default()).collect();
    if n_trips.as_ref().is_some_and(|n| n.is(0)) || starts_true == Some(false) {
        return loop_never_runs(context, body.outputs().len(), &initial);
    }
    let mut carried: Vec<Fact> = initial.clone();
    let mut outputs = Vec::new();
    let mut is_stable = false;
    for _ in 0..N_ROUNDS_MAX {
        let mut inputs = vec![iteration.clone(), condition.clone()];
        inputs.extend(carried.iter().cloned());
        outputs = context.run_subgraph("body", &inputs)?;
        let next: Vec<Fact> = (0..n_carried)
            .map(|at| match outputs.get(at + 1) {
                Some(made) => context.either(at, &carried[at], made),
                None => carried[at].clone(),
            })
            .collect();
        is_stable = next == carried;
        carried = next;
        if is_stable {
            break;
        }
    }
    let n_known = n_trips.as_ref().and_then(Expr::as_constant);
    if let Some(n_trips) = n_known.filter(|_| starts_true == Some(true))
        && !context.subgraph_is_concrete("body")
        && rounds_apart(context, n_trips, &initial)
    {
        return Some(());
    }
    if !is_stable {
        carried.fill(Fact::default());
    }
    // The loop ends by its count alone if the body never says stop.
    let never_stops = starts_true == Some(true)
        && outputs.first().and_then(Fact::scalar).is_some_and(|scalar| scalar.is_true() == Some(true));
    let runs_in_full = never_stops || (starts_true == Some(true) && passes_condition_on(context));
    for at in 0..n_carried {
        let mut fact = carried[at].clone();
        if let (Some(n_trips), true, Some(made)) = (&n_trips, runs_in_full, outputs.get(at + 1)) {
            grow(&initial[at], &carried[at], made, n_trips, &mut fact);
        }
        context.set_fact(at, fact);
    }
    for output in n_carried..context.n_outputs() {
        let Some(made) = outputs.get(output + 1) else { continue };
        let n = match (&n_trips, runs_in_full) {
            (Some(n_trips), true) => n_trips.larger(&Expr::constant(0)),
            (most, _) => Some(context.data_dependent_dim(output, 0, most.clone())),
        };
        stack(context, output, made, n, 0);
    }
    Some(())
}

/// Follows a loop round by round, each with its number and what the one before made: sizes may differ
/// from round to round, and a sequence grows. `false`, and nothing changed, if it cannot be told when
/// the loop ends.
fn rounds_apart(context: &mut RuleContext<'_, '_>, n_trips: i64, initial: &[Fact]) -> bool {
    let Some(body) = context.node.graph("body") else { return false };
    let n_rounds = usize::try_from(n_trips.min(N_ROUNDS_APART_MAX + 1)).unwrap_or(0);
    if n_trips > N_ROUNDS_APART_MAX || n_rounds * body.n_nodes() > N_NODES_APART_MAX {
        return false;
    }
    let goes_on = passes_condition_on(context);
    let together = context.take_subgraphs();
    let scalar = |element_type, value| Fact::tensor(Some(element_type), Some(Vec::new())).with_elements(vec![value]);
    let mut carried = initial.to_vec();
    let mut collected: Vec<Vec<Fact>> = vec![Vec::new(); context.n_outputs().saturating_sub(carried.len())];
    let mut rounds = Vec::new();
    for round in 0..n_rounds {
        let mut inputs = vec![
            scalar(DataType::Int64, i64::try_from(round).ok().map(Scalar::int)),
            scalar(DataType::Bool, Some(Scalar::truth(true))),
        ];
        inputs.extend(carried.iter().cloned());
        let outputs = context.run_subgraph_at("body", round, &inputs);
        let is_true = |outputs: &Vec<Fact>| outputs.first().and_then(Fact::scalar).and_then(|scalar| scalar.is_true());
        let Some(outputs) = outputs.filter(|outputs| outputs.len() > carried.len()) else { break };
        let again = if goes_on { Some(true) } else { is_true(&outputs) };
        for (slot, made) in carried.iter_mut().zip(&outputs[1..]) {
            *slot = made.clone();
        }
        for (slot, made) in collected.iter_mut().zip(&outputs[initial.len() + 1..]) {
            slot.push(made.clone());
        }
        rounds.append(&mut context.take_subgraphs());
        // What the last round says about another one does not matter.
        if round + 1 == n_rounds || again == Some(false) {
            context.put_subgraphs(rounds);
            say_apart(context, carried, &collected);
            return true;
        }
        if again.is_none() {
            break;
        }
    }
    context.put_subgraphs(together);
    false
}

fn say_apart(context: &mut RuleContext<'_, '_>, carried: Vec<Fact>, collected: &[Vec<Fact>]) {
    let n_carried = carried.len();
    for (at, fact) in carried.into_iter().enumerate() {
        context.set_fact(at, fact);
    }
    for (at, made) in collected.iter().enumerate() {
        let Some(first) = made.first() else { continue };
        let n = i64::try_from(made.len()).ok().map(Expr::constant);
        stack(context, n_carried + at, first, n, 0);
    }
}

/// Whether the body's condition output is just its condition input.
fn passes_condition_on(context: &RuleContext<'_, '_>) -> bool {
    let Some(body) = context.node.graph("body") else { return false };
    let (Some(input), Some(mut output)) = (body.inputs().get(1).copied(), body.outputs().first().copied()) else {
        return false;
    };
    while let Some((_, node)) = body.producer(output).filter(|(_, node)| node.is("Identity")) {
        match node.input(0) {
            Some(before) => output = before,
            None => return false,
        }
    }
    input == output
}

fn loop_never_runs(context: &mut RuleContext<'_, '_>, n_made: usize, initial: &[Fact]) -> Option<()> {
    // What scan outputs would have been made of still says their rank and type.
    let inputs: Vec<Fact> = [Fact::default(), Fact::default()].into_iter().chain(initial.iter().cloned()).collect();
    let outputs = context.run_subgraph("body", &inputs).unwrap_or_else(|| vec![Fact::default(); n_made]);
    for (at, fact) in initial.iter().enumerate() {
        context.set_fact(at, fact.clone());
    }
    for output in initial.len()..context.n_outputs() {
        if let Some(made) = outputs.get(output + 1) {
            stack(context, output, made, Some(Expr::constant(0)), 0);
        }
    }
    Some(())
}

/// Sizes that grow by the same amount each round are known at the end.
fn grow(initial: &Fact, carried: &Fact, made: &Fact, n_trips: &Expr, fact: &mut Fact) {
    if let (Some(initial), Some(carried), Some(made), Kind::Sequence(sequence)) =
        (initial.as_sequence(), carried.as_sequence(), made.as_sequence(), &mut fact.kind)
        && let (Some(start), Some(before), Some(after)) = (&initial.length, &carried.length, &made.length)
        && let Some(total) = grown(start, before, after, n_trips)
    {
        sequence.length = Some(total);
    }
    let (Some(start), Some(before), Some(after), Some(dims)) =
        (&initial.shape, &carried.shape, &made.shape, &mut fact.shape)
    else {
        return;
    };
    for (((start, before), after), dim) in start.iter().zip(before).zip(after).zip(dims) {
        if let Some(total) = grown(start, before, after, n_trips) {
            *dim = total;
        }
    }
}

/// What a size is at the end that was `start` at first and goes from `before` to `after` each round.
fn grown(start: &Expr, before: &Expr, after: &Expr, n_trips: &Expr) -> Option<Expr> {
    if before == start {
        return None;
    }
    let name = before.as_symbol()?;
    let step = after.sub(before)?;
    if step.symbols().iter().any(|symbol| symbol.name() == name) {
        return None;
    }
    start.add(&step.mul(n_trips)?)
}

/// Sets an output to `n` of the same thing along a new axis.
fn stack(context: &mut RuleContext<'_, '_>, output: usize, made: &Fact, n: Option<Expr>, axis: usize) {
    let dims = made.shape.as_ref().map(|shape| {
        let mut dims: Dims = shape.iter().cloned().map(Some).collect();
        dims.insert(axis.min(dims.len()), n);
        dims
    });
    context.set(output, made.element_type, dims);
}

fn scan(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n_scanned = usize::try_from(context.node.int("num_scan_inputs")?).ok()?;
    // Operator set 8 has an optional length first, and a batch axis.
    let is_old = context.opset < 9;
    let first = usize::from(is_old);
    let n_state = context.n_inputs().checked_sub(first)?.checked_sub(n_scanned)?;
    let scan_axis = |name: &str, at: usize| context.node.ints(name).and_then(|axes| axes.get(at).copied()).unwrap_or(0);
    let mut inputs: Vec<Fact> = Vec::new();
    let mut n_steps: Option<Expr> = None;
    for at in 0..n_state + n_scanned {
        let mut fact = context.input(first + at).cloned().unwrap_or_default();
        fact.value = None;
        if let Some(shape) = &mut fact.shape {
            if is_old && !shape.is_empty() {
                shape.remove(0);
            }
            if at >= n_state
                && let Some(axis) = axis_of(scan_axis("scan_input_axes", at - n_state), shape.len())
            {
                // All scanned inputs have the same length.
                let length = shape.remove(axis);
                n_steps = n_steps.or(Some(length));
            }
        }
        inputs.push(fact);
    }
    let batch = if is_old { context.dim(1, 0) } else { None };
    let mut outputs = context.run_subgraph("body", &inputs)?;
    // State keeps its shape from step to step; a second run sees what the first one settled.
    for (at, input) in inputs.iter_mut().enumerate().take(n_state) {
        *input = outputs.get(at).map(|made| context.either(at, input, made)).unwrap_or_default();
    }
    outputs = context.run_subgraph("body", &inputs).unwrap_or(outputs);
    for output in 0..context.n_outputs() {
        let Some(made) = outputs.get(output).cloned() else { continue };
        if output < n_state {
            let dims = made.shape.as_ref().map(|shape| {
                let batch = is_old.then(|| batch.clone());
                batch.into_iter().chain(shape.iter().cloned().map(Some)).collect()
            });
            context.set(output, made.element_type, dims);
            continue;
        }
        let rank = made.rank().unwrap_or(0) + 1;
        let axis = axis_of(scan_axis("scan_output_axes", output - n_state), rank).unwrap_or(0);
        stack(context, output, &made, n_steps.clone(), axis);
        if let (true, Some(shape)) = (is_old, context.output(output).and_then(|fact| fact.shape.clone())) {
            let dims = std::iter::once(batch.clone()).chain(shape.into_iter().map(Some)).collect();
            context.set(output, made.element_type, Some(dims));
        }
    }
    Some(())
}
