//! Tables of which rows are taken: integers at rest, numbers behind the lookup.

use onnxfit_graph::{NewNode, NodeId, Place};

use super::product::n_elements;
use super::scope::{Scope, Site, WEIGHT, Writer};
use crate::affine::quantize_tensor;
use crate::{Granularity, QuantizeError, Symmetry};

/// Smaller tables are not worth a node.
const N_ELEMENTS_MIN: u64 = 4096;
/// `DequantizeLinear` came with this version.
const OPSET_DEQUANTIZE: i64 = 10;

pub(super) fn gather(scope: &Scope<'_>, id: NodeId) -> Option<Site> {
    let dims = scope.float_dims(scope.graph.node(id).input(0)?).filter(|dims| dims.len() == 2)?;
    let n_weights = n_elements(&dims);
    (n_weights >= N_ELEMENTS_MIN && scope.opset >= OPSET_DEQUANTIZE).then_some(Site { n_weights, write })
}

fn write(writer: &mut Writer<'_, '_>, id: NodeId) -> Result<(), QuantizeError> {
    let node = writer.scope.graph.node(id);
    let (Some(table), Some(output)) = (node.input(0), node.output(0)) else { return Ok(()) };
    let [integers, scale, zero_point] = writer.weight(table, "table", |numbers, dims| {
        quantize_tensor(numbers, dims, WEIGHT, Granularity::Tensor, Symmetry::Symmetric, false)
    })?;
    let label = writer.scope.graph.node_label(id).to_owned();
    let rows = writer.value(&format!("{label}_integers"));
    writer.patch.set_input(id, 0, Some(integers));
    writer.patch.set_output(id, 0, Some(rows));
    let inputs = [rows, scale, zero_point];
    let node = NewNode::new("DequantizeLinear", &format!("{label}_DequantizeLinear"), &inputs, &[output]);
    writer.add(Place::After(id), node);
    Ok(())
}
