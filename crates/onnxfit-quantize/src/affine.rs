//! Affine quantization: `real = scale * (integer - zero_point)`.
//!
//! Parameters are those of ONNX Runtime's own tool (`compute_scale_zp`, `quant_utils.py`, 1.31),
//! so that equal ranges give equal models; integers are made as `QuantizeLinear` makes them:
//! half to even, then saturated.

mod int_type;
mod nibbles;
mod tensor;

pub use int_type::IntType;
pub use nibbles::{pack_nibbles, unpack_nibbles};
pub(crate) use tensor::raw;
pub use tensor::{Granularity, Quantized, quantize_tensor, quantize_tensor_with};

/// Whether zero sits in the middle of the integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symmetry {
    /// The range reaches as far below zero as above.
    Symmetric,
    /// The range is what the numbers need, zero included.
    Asymmetric,
}

/// Scale and zero point of a tensor, of a channel, or of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// What one step is worth; positive and finite.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i32,
}

impl Params {
    /// The parameters for numbers between `lowest` and `highest`, on the integers from `low` to
    /// `high`; a range without extent, or not finite, gets the scale 1.
    pub fn of_range(lowest: f32, highest: f32, (low, high): (i32, i32), symmetry: Symmetry) -> Self {
        // Zero must have an integer of its own: padding and Relu count on it.
        let (mut lowest, mut highest) = (f64::from(lowest).min(0.0), f64::from(highest).max(0.0));
        if symmetry == Symmetry::Symmetric {
            highest = highest.max(-lowest);
            lowest = -highest;
        }
        let middle = |number: f64| number.round_ties_even() as i32;
        let scale = (highest - lowest) / f64::from(high - low);
        if !scale.is_finite() || scale < f64::from(f32::MIN_POSITIVE) {
            let zero_point = if symmetry == Symmetry::Symmetric { (low + high) / 2 } else { 0_i32.clamp(low, high) };
            return Self { scale: 1.0, zero_point };
        }
        let zero_point = match symmetry {
            Symmetry::Symmetric => middle((f64::from(low) + f64::from(high)) / 2.0),
            Symmetry::Asymmetric => middle(f64::from(low) - lowest / scale).clamp(low, high),
        };
        // A range of the whole of float's has a step that still fits.
        Self { scale: (scale as f32).min(f32::MAX), zero_point }
    }

    /// The integer nearest to a number.
    pub fn quantize(self, number: f32, (low, high): (i32, i32)) -> i32 {
        let steps = (number / self.scale).round_ties_even();
        // A cast of a float saturates; NaN becomes zero, as a number that is nothing.
        (steps as i32).saturating_add(self.zero_point).clamp(low, high)
    }

    /// The number that an integer stands for.
    pub fn dequantize(self, integer: i32) -> f32 {
        (integer - self.zero_point) as f32 * self.scale
    }
}

#[cfg(test)]
mod tests;
