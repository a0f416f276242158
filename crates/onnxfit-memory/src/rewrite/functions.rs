//! Operators without a kernel give way to the function that ONNX defines them by.
//!
//! `GraphPartitioner::InlineFunctionsAOT` (graph_partitioner.cc, ORT 1.31), before everything else.

use onnxfit_graph::AttributeValue;

use super::net::{Net, Op, OpId};
use super::{Context, Provider};

/// Inlines what the provider has no kernel for; returns how many nodes went.
pub(super) fn inline_functions(net: &mut Net, context: &Context<'_>) -> usize {
    let mut n_inlined = 0;
    for id in net.ids().collect::<Vec<_>>() {
        // The CPU provider has no HardSwish; CUDA does.
        if net.op(id).is("HardSwish") && context.options.provider == Provider::Cpu {
            inline_hard_swish(net, id);
            n_inlined += 1;
        }
    }
    n_inlined
}

/// `x * HardSigmoid(x)` with 1/6 and 1/2.
fn inline_hard_swish(net: &mut Net, id: OpId) {
    let op = net.op(id);
    let (input, output, name) = (op.input(0), op.output(0), op.name.clone());
    let (elem, shape) = match input {
        Some(arg) => (net.arg(arg).elem, net.arg(arg).shape.clone()),
        None => (None, None),
    };
    let between = net.add_arg(&format!("_inlfunc_HardSwish_{name}_HS_X"), elem, shape);
    let mut sigmoid = Op { op_type: "HardSigmoid".to_owned(), inputs: vec![input], ..Op::default() };
    sigmoid.attributes.insert("alpha".to_owned(), AttributeValue::Float(1.0 / 6.0));
    sigmoid.attributes.insert("beta".to_owned(), AttributeValue::Float(0.5));
    let first = net.add_op(id, &format!("_inlfunc_HardSwish_{name}_HardSigmoid"), sigmoid);
    net.set_output(first, 0, Some(between));
    let product = Op { op_type: "Mul".to_owned(), inputs: vec![input, Some(between)], ..Op::default() };
    let second = net.add_op(id, &format!("_inlfunc_HardSwish_{name}_Mul"), product);
    net.remove_op(id);
    net.set_output(second, 0, output);
}
