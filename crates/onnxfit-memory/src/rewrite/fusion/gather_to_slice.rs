//! A `Gather` by a `Range` becomes a `Slice`: gather_fusion.cc, `GatherToSliceFusion` (ORT 1.31).
//! CPU and CUDA.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::Context;
use crate::rewrite::net::{Net, Op, OpId};

/// Fuses each `Range` that only one `Gather` reads.
pub(crate) fn gather_to_slice(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Range")) && runs_on(net, id, CPU_AND_CUDA);
        if !fits || net.n_output_edges(id) != 1 {
            continue;
        }
        let Some(gather) = net.only_child(id, "Gather").filter(|gather| runs_on(net, *gather, CPU_AND_CUDA)) else {
            continue;
        };
        if net.op(id).output(0).is_some() && net.op(id).output(0) == net.op(gather).input(1) {
            fuse(net, id, gather);
            n_fused += 1;
        }
    }
    n_fused
}

fn fuse(net: &mut Net, range: OpId, gather: OpId) {
    let elem = net.op(range).output(0).and_then(|arg| net.arg(arg).elem).unwrap_or(DataType::Int64);
    let bounds = [0, 1, 2].map(|input| net.op(range).input(input));
    let outputs =
        [0, 1, 2].map(|at| net.add_arg(&format!("unsqueeze_output_{at}"), Some(elem), Some(vec![Dim::Known(1)])));
    let axes =
        (net.opset() >= 13).then(|| net.add_constant(TensorProto::from_i64("UnsqueezeAxesInitializer", &[1], &[0])));
    for (at, (bound, output)) in bounds.into_iter().zip(outputs).enumerate() {
        let mut op = Op { op_type: "Unsqueeze".to_owned(), inputs: vec![bound], ..Op::default() };
        match axes {
            Some(axes) => op.inputs.push(Some(axes)),
            None => {
                op.attributes.insert("axes".to_owned(), AttributeValue::Ints(vec![0]));
            }
        }
        let id = net.add_op(range, &format!("Unsqueeze_{at}"), op);
        net.set_output(id, 0, Some(output));
    }
    let axis = net.op(gather).int("axis").unwrap_or(0);
    let bytes = match elem {
        DataType::Int64 => axis.to_le_bytes().to_vec(),
        _ => (axis as i32).to_le_bytes().to_vec(),
    };
    let axis = net.add_constant(TensorProto::from_raw("SliceAxesInitializer", elem, &[1], bytes));
    let [start, end, step] = outputs.map(Some);
    let inputs = vec![net.op(gather).input(0), start, end, Some(axis), step];
    let slice = net.add_op(gather, "Slice", Op { op_type: "Slice".to_owned(), inputs, ..Op::default() });
    net.fuse(&[range, gather], slice);
}
