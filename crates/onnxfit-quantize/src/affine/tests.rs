//! The arithmetic against values that can be checked by hand.

use onnxfit_onnx::DataType;
use proptest::prelude::*;

use super::*;
use crate::QuantizeError;

const ALL: [IntType; 6] =
    [IntType::Int4, IntType::Uint4, IntType::Int8, IntType::Uint8, IntType::Int16, IntType::Uint16];

#[test]
fn ranges_give_the_parameters_of_the_runtime_s_own_tool() {
    // onnxruntime.quantization.quant_utils.compute_scale_zp, 1.31.1.
    let of = |lowest, highest, int_type: IntType, symmetry| {
        let params = Params::of_range(lowest, highest, int_type.used_range(symmetry, false), symmetry);
        (params.scale, params.zero_point)
    };
    assert_eq!(of(-1.0, 3.0, IntType::Uint8, Symmetry::Asymmetric), (4.0 / 255.0, 64));
    assert_eq!(of(-1.0, 3.0, IntType::Int8, Symmetry::Asymmetric), (4.0 / 255.0, -64));
    assert_eq!(of(-1.0, 3.0, IntType::Int8, Symmetry::Symmetric), (3.0 / 127.0, 0));
    assert_eq!(of(2.0, 3.0, IntType::Uint8, Symmetry::Asymmetric), (3.0 / 255.0, 0));
    assert_eq!(of(0.0, 0.0, IntType::Int8, Symmetry::Asymmetric), (1.0, 0));
    assert_eq!(of(-7.0, 3.0, IntType::Int4, Symmetry::Symmetric), (1.0, 0));
    assert_eq!(of(-1.0, 1.0, IntType::Int16, Symmetry::Symmetric), (1.0 / 32767.0, 0));
}

#[test]
fn reduced_ranges_leave_a_bit_free() {
    assert_eq!(IntType::Int8.used_range(Symmetry::Symmetric, true), (-64, 64));
    assert_eq!(IntType::Uint8.used_range(Symmetry::Asymmetric, true), (0, 127));
    assert_eq!(IntType::Int8.used_range(Symmetry::Symmetric, false), (-127, 127));
    assert_eq!(IntType::Uint4.used_range(Symmetry::Asymmetric, false), (0, 15));
}

#[test]
fn halves_go_to_the_even_neighbour_and_the_rest_saturates() {
    let params = Params { scale: 2.0, zero_point: 10 };
    let integers: Vec<i32> =
        [1.0, 3.0, 5.0, -3.0, 1e9, -1e9, f32::NAN].iter().map(|number| params.quantize(*number, (0, 255))).collect();
    assert_eq!(integers, [10, 12, 12, 8, 255, 0, 10]);
}

#[test]
fn each_channel_and_each_block_has_its_own_scale() {
    let numbers = [1.0, -2.0, 3.0, 40.0, 50.0, -60.0];
    let of = |granularity| {
        quantize_tensor(&numbers, &[2, 3], IntType::Int8, granularity, Symmetry::Symmetric, false).unwrap()
    };
    let scales = |quantized: &Quantized| -> Vec<f32> { quantized.params.iter().map(|p| p.scale * 127.0).collect() };
    let near = |have: Vec<f32>, want: &[f32]| {
        assert_eq!(have.len(), want.len());
        assert!(have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{have:?} {want:?}");
    };
    let rows = of(Granularity::Channel { axis: 0 });
    near(scales(&rows), &[3.0, 60.0]);
    assert_eq!(rows.params_dims, [2]);
    near(scales(&of(Granularity::Channel { axis: 1 })), &[40.0, 50.0, 60.0]);
    let blocks = of(Granularity::Block { axis: 1, size: 2 });
    assert_eq!(blocks.params_dims, [2, 2]);
    near(scales(&blocks), &[2.0, 3.0, 50.0, 60.0]);
    let blocks = of(Granularity::Block { axis: 0, size: 2 });
    assert_eq!(blocks.params_dims, [1, 3]);
    near(scales(&blocks), &[40.0, 50.0, 60.0]);
    let whole = of(Granularity::Tensor);
    assert!(whole.params_dims.is_empty());
    near(scales(&whole), &[60.0]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let of = |dims: &[usize], granularity| {
        quantize_tensor(&[0.0; 6], dims, IntType::Int8, granularity, Symmetry::Symmetric, false)
    };
    assert!(matches!(of(&[7], Granularity::Tensor), Err(QuantizeError::WrongLength { have: 6, .. })));
    assert!(matches!(of(&[2, 3], Granularity::Channel { axis: 2 }), Err(QuantizeError::NoAxis { axis: 2, .. })));
    assert!(matches!(of(&[6], Granularity::Block { axis: 0, size: 0 }), Err(QuantizeError::EmptyBlock)));
    let empty = quantize_tensor(&[], &[0, 3], IntType::Int8, Granularity::Tensor, Symmetry::Symmetric, false);
    assert!(empty.unwrap().integers.is_empty());
}

#[test]
fn four_bits_are_packed_as_onnx_packs_them() {
    assert_eq!(pack_nibbles([1, 2, 3]), [0x21, 0x03]);
    assert_eq!(pack_nibbles([-1, -8]), [0x8f]);
    assert_eq!(unpack_nibbles(&[0x8f, 0x07], 3, true), [-1, -8, 7]);
    let numbers = [7.0, -7.0, 1.0];
    let granularity = Granularity::Tensor;
    let quantized = quantize_tensor(&numbers, &[3], IntType::Int4, granularity, Symmetry::Symmetric, false).unwrap();
    let tensor = quantized.to_tensor("w");
    assert_eq!(tensor.element_type().unwrap(), DataType::Int4);
    assert_eq!(tensor.inline_bytes().unwrap().unwrap().as_ref(), [0x97, 0x01]);
    assert_eq!(quantized.dequantized(), numbers);
}

proptest! {
    #[test]
    fn no_number_moves_by_more_than_half_a_step(
        numbers in proptest::collection::vec(-1e6f32..1e6, 1..40), which in 0usize..6, symmetric: bool,
    ) {
        let symmetry = if symmetric { Symmetry::Symmetric } else { Symmetry::Asymmetric };
        let int_type = ALL[which];
        let quantized =
            quantize_tensor(&numbers, &[numbers.len()], int_type, Granularity::Tensor, symmetry, false).unwrap();
        let step = quantized.params[0].scale;
        for (before, after) in numbers.iter().zip(quantized.dequantized()) {
            // Rounding the zero point moves the whole grid by up to half a step: numbers at its
            // ends then saturate.
            prop_assert!((before - after).abs() <= step * 1.001 + 1e-3, "{before} {after} {step}");
        }
        let (low, high) = int_type.range();
        prop_assert!(quantized.integers.iter().all(|integer| (low..=high).contains(integer)));
    }

    #[test]
    fn zero_stays_zero(lowest in -1e9f32..1e9, extent in 0f32..1e9, which in 0usize..6, symmetric: bool) {
        let symmetry = if symmetric { Symmetry::Symmetric } else { Symmetry::Asymmetric };
        let used = ALL[which].used_range(symmetry, false);
        let params = Params::of_range(lowest, lowest + extent, used, symmetry);
        prop_assert_eq!(params.dequantize(params.quantize(0.0, used)), 0.0);
        prop_assert!(params.scale > 0.0 && params.scale.is_finite());
    }

    #[test]
    fn packed_elements_are_found_again(elements in proptest::collection::vec(-8i32..8, 0..50)) {
        let bytes = pack_nibbles(elements.iter().copied());
        prop_assert_eq!(unpack_nibbles(&bytes, elements.len(), true), elements);
    }
}
