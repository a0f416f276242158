//! Products with a constant weight that is dequantized alone (`DQMatMulToMatMulNBits`).
//!
//! qdq_selectors.cc and qdq_actions.cc (ORT 1.31), level 2, on the CPU and on CUDA.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;

use super::super::net::{ArgId, Net, OpId};
use super::super::{MS, content};
use super::{Unit, replace};

/// A product with a constant weight that is dequantized alone becomes `MatMulNBits`.
pub(super) fn product(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let is_gemm = net.op(id).op_type == "Gemm";
    let dequantize = match unit.before.as_slice() {
        [(1, dequantize)] => *dequantize,
        [(1, dequantize), (2, _)] if is_gemm => *dequantize,
        _ => return false,
    };
    if !unit.after.is_empty() || !net.has_only_edges(dequantize, 1) || is_shared(net, dequantize) {
        return false;
    }
    let (Some(weight), Some(scale)) =
        (net.input_constant(dequantize, 0).cloned(), net.input_constant(dequantize, 1).cloned())
    else {
        return false;
    };
    let bits = match weight.element_type() {
        Ok(DataType::Int4 | DataType::Uint4) => 4,
        Ok(DataType::Int8 | DataType::Uint8) => 8,
        Ok(DataType::Int2 | DataType::Uint2) => 2,
        _ => return false,
    };
    let signed = matches!(weight.element_type(), Ok(DataType::Int4 | DataType::Int8 | DataType::Int2));
    let Ok(scale_type @ (DataType::Float | DataType::Float16)) = scale.element_type() else { return false };
    let [k, n] = weight.dims[..] else { return false };
    let op = net.op(dequantize);
    let stated = op.int("block_size").filter(|size| *size > 0);
    let fits = match stated {
        Some(size) => {
            op.int("axis") == Some(0)
                && size >= 16
                && (size & (size - 1)) == 0
                && scale.dims == [(k + size - 1) / size, n]
        }
        None => scale.dims.is_empty() || scale.dims == [n],
    };
    if !fits {
        return false;
    }
    if is_gemm && !is_plain_gemm(net, id, n) {
        return false;
    }
    let bias = net.op(id).input(2);
    let block = stated.unwrap_or(32);
    let n_blocks = (k + block - 1) / block;
    let has_zero = op.input(2).is_some() || !signed;
    let named = |arg: Option<ArgId>| arg.map_or(String::new(), |arg| format!("{}_T", net.arg(arg).name));
    let names = [named(op.input(0)), named(op.input(1)), named(op.input(2))];
    let bytes = (block * bits + 7) / 8;
    let weight = net.add_constant(content::placeholder(&names[0], DataType::Uint8, &[n, n_blocks, bytes]));
    let scale = net.add_constant(content::placeholder(&names[1], scale_type, &[n * n_blocks]));
    let mut inputs = vec![net.op(id).input(0), Some(weight), Some(scale)];
    if has_zero {
        let dims = [n * ((n_blocks * bits + 7) / 8)];
        inputs.push(Some(net.add_constant(content::placeholder(&names[2], DataType::Uint8, &dims))));
    }
    if let Some(bias) = bias {
        inputs.resize(5, None);
        inputs.push(Some(bias));
    }
    let before: Vec<(usize, OpId)> = unit.before.iter().copied().filter(|(slot, _)| *slot == 1).collect();
    let new = replace(net, id, &Unit { before, after: Vec::new() }, MS, "MatMulNBits", inputs);
    for name in ["alpha", "beta", "transA", "transB"] {
        net.op_mut(new).attributes.remove(name);
    }
    for (name, value) in [("K", k), ("N", n), ("bits", bits), ("block_size", block), ("accuracy_level", 4)] {
        net.op_mut(new).attributes.insert(name.to_owned(), AttributeValue::Int(value));
    }
    let last = Dim::Known(n);
    if let (Some(output), Some(shape)) = (net.op(new).output(0), net.input_shape(new, 0).map(<[Dim]>::to_vec))
        && let Some((_, front)) = shape.split_last()
    {
        net.arg_mut(output).shape = Some([front, &[last]].concat());
    }
    true
}

/// Whether other nodes read the weight or its scale, too.
fn is_shared(net: &Net, dequantize: OpId) -> bool {
    let n_readers = |slot: usize| net.op(dequantize).input(slot).map_or(0, |arg| net.arg(arg).uses.len());
    n_readers(0) > 1 || n_readers(1) > 1
}

/// A `Gemm` that is a product and a bias of this many columns.
fn is_plain_gemm(net: &Net, id: OpId, columns: i64) -> bool {
    let op = net.op(id);
    let is_one = |name: &str| (op.float(name).unwrap_or(1.0) - 1.0).abs() <= 1e-6;
    let turned = op.int("transA").unwrap_or(0) != 0 || op.int("transB").unwrap_or(0) != 0;
    let bias_fits =
        op.input(2).is_none_or(|_| is_one("beta") && net.input_shape(id, 2) == Some(&[Dim::Known(columns)][..]));
    is_one("alpha") && !turned && bias_fits
}
