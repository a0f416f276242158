//! Numbers as the little-endian bytes of any element type, out-of-range ones brought to the end
//! of the range.

use crate::data_type::DataType;
use crate::packing::pack;

/// Appends `n_elements` values; strings have none.
pub(super) fn extend(bytes: &mut Vec<u8>, data_type: DataType, n_elements: u64, value: impl Fn(u64) -> f32) {
    use DataType::*;
    let indices = 0..n_elements;
    match data_type {
        Float => fixed(bytes, n_elements, |index| value(index).to_le_bytes()),
        Double => fixed(bytes, n_elements, |index| f64::from(value(index)).to_le_bytes()),
        Float16 => fixed(bytes, n_elements, |index| half::f16::from_f32(value(index)).to_le_bytes()),
        Bfloat16 => fixed(bytes, n_elements, |index| half::bf16::from_f32(value(index)).to_le_bytes()),
        // Rust's casts saturate, as wanted.
        Uint8 => fixed(bytes, n_elements, |index| (value(index).round() as u8).to_le_bytes()),
        Int8 => fixed(bytes, n_elements, |index| (value(index).round() as i8).to_le_bytes()),
        Uint16 => fixed(bytes, n_elements, |index| (value(index).round() as u16).to_le_bytes()),
        Int16 => fixed(bytes, n_elements, |index| (value(index).round() as i16).to_le_bytes()),
        Int32 => fixed(bytes, n_elements, |index| (value(index).round() as i32).to_le_bytes()),
        Int64 => fixed(bytes, n_elements, |index| (value(index).round() as i64).to_le_bytes()),
        Uint32 => fixed(bytes, n_elements, |index| (value(index).round() as u32).to_le_bytes()),
        Uint64 => fixed(bytes, n_elements, |index| (value(index).round() as u64).to_le_bytes()),
        Bool => fixed(bytes, n_elements, |index| [u8::from(value(index).round() != 0.0)]),
        Complex64 => fixed(bytes, n_elements, |index| u64::from(value(index).to_bits()).to_le_bytes()),
        Complex128 => fixed(bytes, n_elements, |index| u128::from(f64::from(value(index)).to_bits()).to_le_bytes()),
        Float8E4M3FN => fixed(bytes, n_elements, |index| [MiniFloat::new(4, 3, 7, 448.0).bits(value(index))]),
        Float8E4M3FNUZ => {
            fixed(bytes, n_elements, |index| [unsigned_zero(MiniFloat::new(4, 3, 8, 240.0), value(index))])
        }
        Float8E5M2 => fixed(bytes, n_elements, |index| [MiniFloat::new(5, 2, 15, 57344.0).bits(value(index))]),
        Float8E5M2FNUZ => {
            fixed(bytes, n_elements, |index| [unsigned_zero(MiniFloat::new(5, 2, 16, 57344.0), value(index))])
        }
        // Scales have an exponent alone.
        Float8E8M0 => fixed(bytes, n_elements, |index| [exponent(value(index))]),
        Int4 => bytes.extend(pack(4, indices.map(|index| value(index).round().clamp(-8.0, 7.0) as i8 as u8))),
        Uint4 => bytes.extend(pack(4, indices.map(|index| value(index).round().clamp(0.0, 15.0) as u8))),
        Int2 => bytes.extend(pack(2, indices.map(|index| value(index).round().clamp(-2.0, 1.0) as i8 as u8))),
        Uint2 => bytes.extend(pack(2, indices.map(|index| value(index).round().clamp(0.0, 3.0) as u8))),
        Float4E2M1 => bytes.extend(pack(4, indices.map(|index| MiniFloat::new(2, 1, 1, 6.0).bits(value(index))))),
        Float6E2M3 => bytes.extend(pack(6, indices.map(|index| MiniFloat::new(2, 3, 1, 7.5).bits(value(index))))),
        Float6E3M2 => bytes.extend(pack(6, indices.map(|index| MiniFloat::new(3, 2, 3, 28.0).bits(value(index))))),
        String => {}
    }
}

fn fixed<const N: usize>(bytes: &mut Vec<u8>, n_elements: u64, element: impl Fn(u64) -> [u8; N]) {
    // Whole slices at once: the compiler then needs no check per element.
    let start = bytes.len();
    bytes.resize(start + n_elements as usize * N, 0);
    let (elements, _) = bytes[start..].as_chunks_mut::<N>();
    for (index, place) in elements.iter_mut().enumerate() {
        *place = element(index as u64);
    }
}

fn exponent(value: f32) -> u8 {
    // The bias is that of `float`: its exponent bits are the answer.
    ((value.abs().to_bits() >> 23) & 0xff).min(254) as u8
}

/// A float type of at most eight bits, as the ONNX specification lays them out.
struct MiniFloat {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    max: f32,
}

impl MiniFloat {
    const fn new(exponent_bits: u32, mantissa_bits: u32, bias: i32, max: f32) -> Self {
        Self { exponent_bits, mantissa_bits, bias, max }
    }

    /// The nearest value's bits.
    fn bits(&self, value: f32) -> u8 {
        let sign = u8::from(value.is_sign_negative()) << (self.exponent_bits + self.mantissa_bits);
        let magnitude = value.abs().min(self.max);
        // The step between neighbours is that of the exponent, and no finer than the subnormals'.
        let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(1 - self.bias);
        let step = (exponent - self.mantissa_bits as i32) as f32;
        let n_steps = (magnitude / step.exp2()).round_ties_even() as u32;
        // Counting on from the first value of this exponent also carries into the next one.
        let n_before = (exponent + self.bias - 1) as u32;
        sign | (n_steps + (n_before << self.mantissa_bits)) as u8
    }
}

/// Types without a negative zero use its bits for NaN.
fn unsigned_zero(float: MiniFloat, value: f32) -> u8 {
    let bits = float.bits(value);
    if bits == 0x80 { 0 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::MiniFloat;

    #[test]
    fn small_floats_round_to_their_nearest_value() {
        let e4m3 = MiniFloat::new(4, 3, 7, 448.0);
        let cases = [
            (0.0, 0x00),
            (1.0, 0x38),
            (-1.0, 0xb8),
            (1.06, 0x38),
            (1.07, 0x39),
            (448.0, 0x7e),
            (1e9, 0x7e),
            (0.001_953_125, 0x01),
            (0.015_625, 0x08),
            (0.014_6, 0x07),
            (1.99, 0x40),
            (-448.0, 0xfe),
        ];
        for (value, bits) in cases {
            assert_eq!(e4m3.bits(value), bits, "{value}");
        }
        let e2m1 = MiniFloat::new(2, 1, 1, 6.0);
        let all = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (bits, value) in all.iter().enumerate() {
            assert_eq!(usize::from(e2m1.bits(*value)), bits, "{value}");
        }
        assert_eq!(MiniFloat::new(5, 2, 15, 57344.0).bits(57344.0), 0x7b);
        assert_eq!(MiniFloat::new(2, 3, 1, 7.5).bits(7.5), 0x1f);
        assert_eq!(MiniFloat::new(3, 2, 3, 28.0).bits(28.0), 0x1f);
        assert_eq!(MiniFloat::new(4, 3, 8, 240.0).bits(240.0), 0x7f);
        assert_eq!(MiniFloat::new(5, 2, 16, 57344.0).bits(57344.0), 0x7f);
    }
}
