//! In which type each fixed tensor is kept, and what its new content is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{TensorError, TensorSource, release_pages};

use super::convert::{HalfType, convert};
use super::islands::{Facts, MASK};
use super::numbers::{N_SMALL, floats};
use super::slots::{BORDER, Slots, is_default_weight};
use super::source::Conversions;
use super::world::World;

/// From here on a tensor is a weight: kept once, and cast where both types are needed.
pub(super) const N_ELEMENTS_LARGE: u64 = 1024;

/// Everyone who reads a value, as variables; `captured` readers are in a body.
pub(super) fn readers(world: &World<'_>, slots: &Slots) -> BTreeMap<usize, Vec<usize>> {
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for ((number, index), variable) in &slots.inputs {
        if let Some((scope, _, node)) = world.node(*number)
            && let Some(id) = node.input(*index)
        {
            readers.entry(world.value(scope, id)).or_default().push(*variable);
        }
    }
    for ((scope, output), variable) in &slots.outputs {
        let id = world.scopes[*scope].graph.outputs()[*output];
        readers.entry(world.value(*scope, id)).or_default().push(*variable);
    }
    readers
}

/// The fixed float tensors that shall be kept in the half type.
pub(super) fn stored_half(
    facts: &Facts<'_, '_>,
    slots: &Slots,
    is_half: &[bool],
    kept_exact: &dyn Fn(usize) -> bool,
) -> BTreeSet<usize> {
    let world = facts.world;
    let mut wanted: BTreeMap<usize, (bool, bool, bool)> = BTreeMap::new();
    for (value, variables) in readers(world, slots) {
        let entry = wanted.entry(world.definition[value]).or_default();
        for variable in variables {
            // An output of the model that is a fixed tensor keeps its name, so it keeps its type.
            let is_exact = variable == BORDER || slots.variables[variable].node.is_some_and(kept_exact);
            match is_half[variable] {
                true => entry.0 = true,
                false if is_exact => entry.2 = true,
                false => entry.1 = true,
            }
        }
    }
    let mut stored = BTreeSet::new();
    for (value, element) in facts.elements.iter().enumerate() {
        if world.definition[value] != value || !element.is_float() || slots.makers.contains_key(&value) {
            continue;
        }
        let tensor = world.fixed_tensor(value).or_else(|| {
            let entry = world.get(value);
            entry.tensor().filter(|_| is_default_weight(world, value)).cloned()
        });
        let Some(tensor) = tensor else { continue };
        let is_large = tensor.n_elements().is_ok_and(|n| n >= N_ELEMENTS_LARGE);
        let (by_half, by_float, by_exact) = wanted.get(&value).copied().unwrap_or_default();
        let is_wanted = !by_exact && (is_large || (by_half && !by_float));
        if is_wanted && (!is_large || survives(&tensor, facts.options.target, facts.weights)) {
            stored.insert(value);
        }
    }
    stored
}

/// Whether a weight is still the same weight in the half type: hardly a number vanishes or passes the
/// range. Of what lies in another file a few pieces are looked at, for reading all would cost as much
/// as converting it.
fn survives(tensor: &TensorProto, target: HalfType, weights: &dyn TensorSource) -> bool {
    // bfloat16 has the range of float.
    if target == HalfType::Bfloat16 || weights.check(tensor).is_err() {
        return true;
    }
    let Ok(bytes) = weights.tensor_bytes(tensor) else { return true };
    let is_alive = is_alive(&bytes, target);
    release_pages(&bytes);
    is_alive
}

fn is_alive(bytes: &[u8], target: HalfType) -> bool {
    const PIECE_BYTES: usize = 64 << 10;
    const N_PIECES_MAX: usize = 16;
    /// Eight times what rounding to 11 bits costs at worst.
    const DISTANCE_MAX: f64 = 4e-3;
    let n_pieces = bytes.len().div_ceil(PIECE_BYTES);
    let step = n_pieces.div_ceil(N_PIECES_MAX).max(1);
    let (mut distance, mut size) = (0.0, 0.0);
    for piece in bytes.chunks(PIECE_BYTES).step_by(step) {
        for bytes in piece.as_chunks::<4>().0 {
            let number = f32::from_le_bytes(*bytes);
            let too_large = number.abs() > target.max();
            // Far below zero is a mask.
            if !number.is_finite() || (too_large && number < MASK) {
                continue;
            }
            if too_large {
                return false;
            }
            let error = f64::from(number - target.round(number));
            distance += error * error;
            size += f64::from(number) * f64::from(number);
        }
    }
    distance <= DISTANCE_MAX * DISTANCE_MAX * size
}

/// From here on a tensor is converted when it is written, so that a conversion takes the memory of
/// one of them.
const N_POSTPONED: u64 = 1 << 14;

/// A tensor in the half type. What is small and in the model file is converted now; what is absent
/// stays absent.
pub(super) fn half_tensor(
    name: &str,
    tensor: &Arc<TensorProto>,
    target: HalfType,
    weights: &dyn TensorSource,
    conversions: &mut Conversions,
) -> Result<TensorProto, TensorError> {
    let mut result = TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(target.data_type().number()),
        dims: tensor.dims.clone(),
        doc_string: tensor.doc_string.clone(),
        ..TensorProto::default()
    };
    if let Some(numbers) = floats(tensor, weights).filter(|numbers| numbers.len() as u64 <= N_SMALL) {
        // A bound or a guard that would vanish is raised to the smallest number there is.
        let raised = numbers.iter().map(|number| match target.round(*number) == 0.0 && *number != 0.0 {
            true => target.min_positive().copysign(*number),
            false => *number,
        });
        let bytes: Vec<u8> = raised.flat_map(f32::to_le_bytes).collect();
        let converted = convert(&bytes, target);
        conversions.note_clamped(name, converted.n_clamped);
        result.set_raw(converted.bytes);
        return Ok(result);
    }
    let is_now = tensor.is_inline() && tensor.n_elements()? < N_POSTPONED;
    if let Some(bytes) = is_now.then(|| tensor.inline_bytes()).transpose()?.flatten() {
        let converted = convert(&bytes, target);
        conversions.note_clamped(name, converted.n_clamped);
        result.set_raw(converted.bytes);
        return Ok(result);
    }
    conversions.postpone(&mut result, tensor, target, weights)?;
    Ok(result)
}
