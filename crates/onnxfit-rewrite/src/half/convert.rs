//! Turning 32-bit floats into half-width ones, fast and without surprises.
//!
//! Numbers too large for the target become its largest finite number, never an infinity; real
//! infinities and NaNs stay what they are.

use bytes::Bytes as Buffer;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use onnxfit_onnx::{DataType, release_pages};

/// A half-width float type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HalfType {
    /// IEEE half: 11 bits of precision, up to 65504.
    Float16,
    /// The upper half of a float: 8 bits of precision, the whole range.
    Bfloat16,
}

impl HalfType {
    /// The element type in ONNX's words.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Float16 => DataType::Float16,
            Self::Bfloat16 => DataType::Bfloat16,
        }
    }

    /// The largest finite number.
    pub fn max(self) -> f32 {
        match self {
            Self::Float16 => f16::MAX.to_f32(),
            Self::Bfloat16 => bf16::MAX.to_f32(),
        }
    }

    /// The smallest positive number.
    pub fn min_positive(self) -> f32 {
        match self {
            Self::Float16 => f16::MIN_POSITIVE_SUBNORMAL.to_f32(),
            Self::Bfloat16 => bf16::MIN_POSITIVE.to_f32(),
        }
    }

    /// What a number becomes.
    pub fn round(self, number: f32) -> f32 {
        let bound = self.max();
        let number = if number.is_finite() { number.clamp(-bound, bound) } else { number };
        match self {
            Self::Float16 => f16::from_f32(number).to_f32(),
            Self::Bfloat16 => bf16::from_f32(number).to_f32(),
        }
    }
}

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Converted {
    /// The little-endian result.
    pub(super) bytes: Buffer,
    /// How many finite numbers were too large.
    pub(super) n_clamped: u64,
}

/// Numbers per step: small enough for the first-level cache.
const STEP: usize = 4096;

/// Numbers from which on a second core helps.
const N_PARALLEL: usize = 1 << 18;

/// Bytes of floats after which their pages are given back.
const PIECE_BYTES: usize = 4 << 20;

/// Converts little-endian floats, on all cores; bytes past the last whole float are ignored.
pub(super) fn convert(floats: &[u8], target: HalfType) -> Converted {
    let mut bytes = vec![0u8; floats.len() / 4 * 2];
    let n_clamped = convert_onto(floats, &mut bytes, target);
    Converted { bytes: Buffer::from(bytes), n_clamped }
}

/// Float bytes of a mapped file, whose pages are given back as they are converted: the memory is that
/// of the result.
pub(super) fn convert_mapped(floats: &Buffer, target: HalfType) -> Buffer {
    let mut bytes = vec![0u8; floats.len() / 4 * 2];
    for (index, to) in bytes.chunks_mut(PIECE_BYTES / 2).enumerate() {
        let start = index * PIECE_BYTES;
        let piece = floats.slice(start..start + to.len() * 2);
        convert_onto(&piece, to, target);
        release_pages(&piece);
    }
    Buffer::from(bytes)
}

/// On all cores where that pays; gives how many numbers were too large.
fn convert_onto(floats: &[u8], bytes: &mut [u8], target: HalfType) -> u64 {
    let n = floats.len() / 4;
    let n_threads = if n < N_PARALLEL { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    if n_threads == 1 {
        return convert_into(floats, bytes, target);
    }
    let share = n.div_ceil(n_threads);
    std::thread::scope(|scope| {
        let shares = floats.chunks(share * 4).zip(bytes.chunks_mut(share * 2));
        let workers: Vec<_> = shares.map(|(from, to)| scope.spawn(move || convert_into(from, to, target))).collect();
        workers.into_iter().map(|worker| worker.join().expect("converting does not panic")).sum()
    })
}

/// Gives how many numbers were too large.
fn convert_into(floats: &[u8], bytes: &mut [u8], target: HalfType) -> u64 {
    let mut n_clamped = 0u64;
    let mut wide = [0f32; STEP];
    let bound = target.max();
    for (from, to) in floats.chunks(STEP * 4).zip(bytes.chunks_mut(STEP * 2)) {
        let wide = &mut wide[..to.len() / 2];
        for (wide, bytes) in wide.iter_mut().zip(from.as_chunks::<4>().0) {
            *wide = f32::from_le_bytes(*bytes);
        }
        // Rare, so looked for apart: the common case stays one vector loop.
        let is_outside = |number: &f32| number.abs() > bound && number.is_finite();
        if wide.iter().fold(false, |any, number| any | is_outside(number)) {
            for number in wide.iter_mut().filter(|number| is_outside(number)) {
                *number = bound.copysign(*number);
                n_clamped += 1;
            }
        }
        narrow(wide, to, target);
    }
    n_clamped
}

fn narrow(wide: &[f32], to: &mut [u8], target: HalfType) {
    let mut bits = [0u16; STEP];
    let bits = &mut bits[..wide.len()];
    match target {
        HalfType::Float16 => {
            let mut halves = [f16::ZERO; STEP];
            let halves = &mut halves[..wide.len()];
            halves.convert_from_f32_slice(wide);
            bits.copy_from_slice(half::slice::HalfFloatSliceExt::reinterpret_cast(&*halves));
        }
        HalfType::Bfloat16 => {
            let mut halves = [bf16::ZERO; STEP];
            let halves = &mut halves[..wide.len()];
            halves.convert_from_f32_slice(wide);
            bits.copy_from_slice(half::slice::HalfFloatSliceExt::reinterpret_cast(&*halves));
        }
    }
    for (bytes, bits) in to.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
        *bytes = bits.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(numbers: &[f32], target: HalfType) -> (Vec<f32>, u64) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let result = convert(&bytes, target);
        let numbers = result.bytes.as_chunks::<2>().0.iter().map(|bytes| match target {
            HalfType::Float16 => f16::from_le_bytes(*bytes).to_f32(),
            HalfType::Bfloat16 => bf16::from_le_bytes(*bytes).to_f32(),
        });
        (numbers.collect(), result.n_clamped)
    }

    #[test]
    fn numbers_past_the_range_become_the_largest_and_infinities_stay() {
        let (numbers, n_clamped) = converted(&[1.5, -3.4e38, 65519.0, 70000.0, f32::INFINITY, 1e-9], HalfType::Float16);
        assert_eq!(numbers, [1.5, -65504.0, 65504.0, 65504.0, f32::INFINITY, 0.0]);
        assert_eq!(n_clamped, 3);
    }

    #[test]
    fn pieces_join_to_the_whole() {
        for n in [0, 1, PIECE_BYTES / 4 - 1, PIECE_BYTES / 4, PIECE_BYTES / 2 + 3] {
            let floats: Vec<u8> = (0..n).flat_map(|n| (n as f32 * 1e-3).to_le_bytes()).collect();
            let whole = convert(&floats, HalfType::Float16).bytes;
            assert_eq!(convert_mapped(&Buffer::from(floats), HalfType::Float16), whole, "{n} numbers");
        }
    }

    #[test]
    fn bfloat16_keeps_the_range() {
        let (numbers, n_clamped) = converted(&[-3e38, 1.0, f32::NAN], HalfType::Bfloat16);
        assert!((numbers[0] / -3e38 - 1.0).abs() < 0.01 && numbers[1] == 1.0 && numbers[2].is_nan());
        assert_eq!(n_clamped, 0);
    }

    #[test]
    fn long_slices_agree_with_one_number_at_a_time() {
        let numbers: Vec<f32> = (0..20_000).map(|n| (n as f32 - 9_000.0) * 3.7e-3).collect();
        for target in [HalfType::Float16, HalfType::Bfloat16] {
            let expected: Vec<f32> = numbers.iter().map(|number| target.round(*number)).collect();
            assert_eq!(converted(&numbers, target).0, expected);
        }
    }
}
