//! Elements of less than a byte, as `raw_data` holds them: a stream of bits, the first element in
//! the lowest ones (onnx.proto: two of four bits, four of two bits, four of six bits in three
//! bytes).

/// The bytes that hold these elements; bits above the element's own are dropped.
pub(crate) fn pack(bits: u32, elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut pending, mut n_pending) = (0u32, 0);
    for element in elements {
        pending |= (u32::from(element) & ((1 << bits) - 1)) << n_pending;
        n_pending += bits;
        while n_pending >= 8 {
            bytes.push(pending as u8);
            pending >>= 8;
            n_pending -= 8;
        }
    }
    if n_pending > 0 {
        bytes.push(pending as u8);
    }
    bytes
}

/// Element `index`; a byte that is not there counts as zero.
pub(crate) fn unpack(bits: u32, bytes: &[u8], index: usize) -> u8 {
    let first_bit = index * bits as usize;
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
    let wide = byte(first_bit / 8) | byte(first_bit / 8 + 1) << 8;
    (wide >> (first_bit % 8)) as u8 & ((1u16 << bits) - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};

    #[test]
    fn elements_lie_where_onnx_puts_them() {
        // The bytes of `onnx.helper.make_tensor(…, raw=True)`, onnx 1.23.
        assert_eq!(pack(6, [8, 16, 1, 31]), [0x08, 0x14, 0x7c]);
        assert_eq!(pack(4, [1, 2, 3]), [0x21, 0x03]);
        assert_eq!(pack(2, [0, 1, 2, 3, 1]), [0b1110_0100, 1]);
        assert_eq!(pack(4, []), [0; 0]);
    }

    #[test]
    fn what_is_packed_is_found_again() {
        for bits in [2, 4, 6] {
            let elements: Vec<u8> = (0..100u32).map(|index| (index * 37 % (1 << bits)) as u8).collect();
            let bytes = pack(bits, elements.iter().copied());
            let found: Vec<u8> = (0..100).map(|index| unpack(bits, &bytes, index)).collect();
            assert_eq!(found, elements, "{bits} bits");
        }
    }
}
