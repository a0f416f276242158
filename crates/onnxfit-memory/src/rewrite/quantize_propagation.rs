//! Quantization spreads over operators that only move elements, so that they run quantized.
//!
//! qdq_propagation.cc (ORT 1.31), level 1, all providers: a `QuantizeLinear` reaches backwards, a
//! `DequantizeLinear` forwards, over pooling, reshapes, transposes and slices.

use std::collections::VecDeque;

use super::Context;
use super::net::{ArgId, Net, Op, OpId, Use};

/// Inserts pairs; returns how many.
pub(super) fn propagate(net: &mut Net, _: &Context<'_>) -> usize {
    let order = net.topological_order();
    let mut n_inserted = 0;
    for id in &order {
        if net.get(*id).is_some_and(|op| op.op_type == "QuantizeLinear") && has_scalar_parameters(net, *id) {
            n_inserted += backwards(net, *id);
        }
    }
    for id in &order {
        let fits = net.get(*id).is_some_and(|op| op.op_type == "DequantizeLinear")
            && net.has_only_edges(*id, 1)
            && has_scalar_parameters(net, *id)
            && !net.input_is_constant(*id, 0);
        if fits {
            n_inserted += forwards(net, *id);
        }
    }
    n_inserted
}

fn has_scalar_parameters(net: &Net, id: OpId) -> bool {
    let scalar =
        |slot: usize| net.input_constant(id, slot).is_some_and(|tensor| tensor.dims.is_empty() || tensor.dims == [1]);
    scalar(1) && (net.op(id).input(2).is_none() || scalar(2))
}

fn passes(op: &Op) -> bool {
    let moves = ["MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"];
    op.domain.is_empty() && moves.contains(&op.op_type.as_str())
}

/// The value that a node reads first, if only this node reads it.
fn edge_before(net: &Net, id: OpId) -> Option<(ArgId, Use)> {
    let arg = net.op(id).input(0)?;
    let reading = Use { op: id, slot: 0 };
    let alone = net.producer(arg).is_none() || (!net.arg(arg).is_output && net.arg(arg).uses == [reading]);
    alone.then_some((arg, reading))
}

fn backwards(net: &mut Net, quantize: OpId) -> usize {
    let mut n_inserted = 0;
    let mut edge = edge_before(net, quantize);
    while let Some((arg, _)) = edge {
        let Some(source) = net.producer(arg).filter(|source| passes(net.op(*source))) else { break };
        let Some((before, reading)) = edge_before(net, source) else { break };
        let producer = net.producer(before);
        if producer.is_some_and(|producer| net.op(producer).op_type == "DequantizeLinear") {
            break;
        }
        insert(net, quantize, before, &[reading], false);
        n_inserted += 1;
        // What lies before the pair just inserted comes next.
        edge = Some((before, reading)).filter(|_| producer.is_some_and(|producer| passes(net.op(producer))));
        if let (Some(producer), Some(slot)) = (producer, edge.as_mut()) {
            let made = net.op(producer).output(0);
            match made {
                Some(made) => slot.0 = made,
                None => break,
            }
        }
    }
    n_inserted
}

fn forwards(net: &mut Net, dequantize: OpId) -> usize {
    let mut n_inserted = 0;
    let Some(first) = net.first_child(dequantize) else { return 0 };
    let mut queue = VecDeque::from([first]);
    while let Some(id) = queue.pop_front() {
        if net.get(id).is_none_or(|op| !passes(op)) {
            continue;
        }
        let Some(output) = net.op(id).output(0) else { continue };
        let readers = net.arg(output).uses.clone();
        let is_output = net.arg(output).is_output;
        let ends_quantized = readers.iter().any(|reading| net.op(reading.op).op_type == "QuantizeLinear");
        if (readers.is_empty() && !is_output) || ends_quantized {
            continue;
        }
        insert(net, dequantize, output, &readers, is_output);
        n_inserted += 1;
        queue.extend(readers.iter().map(|reading| reading.op));
    }
    n_inserted
}

/// Puts a quantization after a value and a dequantization before each of its readers.
fn insert(net: &mut Net, like: OpId, arg: ArgId, readers: &[Use], is_output: bool) {
    let base = net.arg(arg).name.clone();
    let (elem, shape) = (net.arg(arg).elem, net.arg(arg).shape.clone());
    let quantized = net.input_constant(like, 2).and_then(|zero| zero.element_type().ok());
    let (scale, zero, domain) = (net.op(like).input(1), net.op(like).input(2), net.op(like).domain.clone());
    let parameters = |value: ArgId| {
        let mut inputs = vec![Some(value), scale];
        inputs.extend(zero.map(Some));
        inputs
    };
    let producer = net.arg(arg).producer;
    let before = match producer {
        Some(_) => net.add_arg(&format!("{base}_pre_q"), elem, shape.clone()),
        None => arg,
    };
    let between = net.add_arg(&format!("{base}_q_to_dq"), quantized, shape.clone());
    let op = |op_type: &str, value: ArgId| Op {
        op_type: op_type.to_owned(),
        domain: domain.clone(),
        inputs: parameters(value),
        ..Op::default()
    };
    let quantize = net.add_op(like, &format!("{base}_q"), op("QuantizeLinear", before));
    net.set_output(quantize, 0, Some(between));
    let ends = readers.iter().copied().map(Some).chain(is_output.then_some(None));
    for (at, reading) in ends.enumerate() {
        let suffix = if at == 0 { String::new() } else { at.to_string() };
        let dequantize = net.add_op(like, &format!("{base}_dq{suffix}"), op("DequantizeLinear", between));
        match reading {
            Some(reading) => {
                let after = net.add_arg(&format!("{base}_post_dq{suffix}"), elem, shape.clone());
                net.set_output(dequantize, 0, Some(after));
                net.redirect(reading, after);
            }
            None => net.set_output(dequantize, 0, Some(arg)),
        }
    }
    if let Some((producer, index)) = producer {
        let made = net.op(producer).output(index);
        if made == Some(arg) {
            net.set_output(producer, index, Some(before));
            if is_output {
                // The graph output is the last dequantization's now.
                if let Some(last) = net.ids().last() {
                    net.set_output(last, 0, Some(arg));
                }
            }
        }
    }
}
