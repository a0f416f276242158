//! Small constants, wherever they hide, and what the half type would make of them.

use std::sync::Arc;

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, TensorSource};

use super::convert::HalfType;
use super::world::World;

/// Constants with more elements are weights, and one odd number among them is no rule.
pub(super) const N_SMALL: u64 = 64;
/// Steps from a use back to its constant.
const N_STEPS_MAX: usize = 8;

/// The floats that a value always holds, if they are few; looks through operators that only copy.
pub(super) fn small_floats(world: &World<'_>, weights: &dyn TensorSource, value: usize) -> Option<Vec<f32>> {
    let mut at = world.definition[value];
    for _ in 0..N_STEPS_MAX {
        if let Some(tensor) = world.fixed_tensor(at).or_else(|| default_tensor(world, at)) {
            return floats(&tensor, weights);
        }
        let (number, _) = world.producer(at)?;
        let (scope, _, node) = world.node(number)?;
        if node.is("ConstantOfShape") {
            return match node.attribute("value") {
                Some(AttributeValue::Tensor(tensor)) => floats(tensor, weights),
                _ => Some(vec![0.0]),
            };
        }
        let is_copy = ["Identity", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Cast", "Flatten"];
        if !node.domain.is_empty() || !is_copy.contains(&node.op_type.as_str()) {
            return None;
        }
        at = world.definition[world.value(scope, node.input(0)?)];
    }
    None
}

/// The default of an initializer that is an input as well.
fn default_tensor(world: &World<'_>, value: usize) -> Option<Arc<TensorProto>> {
    world.get(value).tensor().cloned()
}

/// The numbers of a small tensor of floats.
pub(super) fn floats(tensor: &TensorProto, weights: &dyn TensorSource) -> Option<Vec<f32>> {
    if tensor.n_elements().ok()? > N_SMALL {
        return None;
    }
    let bytes = weights.tensor_bytes(tensor).ok()?;
    match tensor.element_type().ok()? {
        DataType::Float => Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        DataType::Float16 => {
            Some(bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect())
        }
        _ => None,
    }
}

/// The first number that the half type would make something quite different of: more than a
/// hundredth off, or zero. Numbers past the range are told apart by [`is_too_large`].
pub(super) fn lost(numbers: &[f32], target: HalfType) -> Option<f32> {
    numbers.iter().copied().find(|number| {
        let rounded = target.round(*number);
        number.is_finite() && !is_too_large(*number, target) && (rounded - number).abs() > number.abs() * 0.01
    })
}

/// Whether a finite number is past the half type's range.
pub(super) fn is_too_large(number: f32, target: HalfType) -> bool {
    number.is_finite() && number.abs() > target.max()
}
