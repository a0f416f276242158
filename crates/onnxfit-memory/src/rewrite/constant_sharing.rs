//! Small initializers of equal content become one.
//!
//! constant_sharing.cc (ORT 1.31), all providers, level 1; not applied to bodies. It lets equal
//! nodes be found equal afterwards.

use hashbrown::HashMap;
use onnxfit_onnx::DataType;

use super::Context;
use super::net::{ArgId, Net};

/// `ConstantSharing::TENSOR_ELEM_COUNT_THRESHOLD`.
const N_ELEMENTS_MAX: i64 = 8;

/// Shares initializers; returns how many went.
pub(super) fn share_constants(net: &mut Net, _: &Context<'_>) -> usize {
    let mut first: HashMap<(DataType, Vec<i64>, Vec<u8>), ArgId> = HashMap::new();
    let mut n_shared = 0;
    for id in net.arg_ids() {
        let arg = net.arg(id);
        let Some(tensor) = arg.constant.as_ref().filter(|_| !arg.is_output && net.is_constant(id)) else { continue };
        if arg.uses.is_empty() || !tensor.dims.iter().all(|dim| (1..=N_ELEMENTS_MAX).contains(dim)) {
            continue;
        }
        if crate::rewrite::content::count(&tensor.dims) > N_ELEMENTS_MAX {
            continue;
        }
        let Ok(elem) = tensor.element_type() else { continue };
        let shared = [DataType::Float16, DataType::Float, DataType::Double, DataType::Int32, DataType::Int64];
        if !shared.contains(&elem) || arg.uses.iter().any(|reading| reading.slot >= net.op(reading.op).inputs.len()) {
            continue;
        }
        let Ok(Some(bytes)) = tensor.inline_bytes() else { continue };
        let key = (elem, tensor.dims.clone(), bytes.to_vec());
        match first.get(&key) {
            Some(kept) => {
                net.replace_uses(id, *kept);
                n_shared += 1;
            }
            None => {
                first.insert(key, id);
            }
        }
    }
    n_shared
}
