//! Two elements of four bits in a byte, the first in the lower half, as ONNX keeps them.

/// Packs; the upper bits of each element are dropped, an odd end is filled with zero.
pub fn pack_nibbles(elements: impl IntoIterator<Item = i32>) -> Vec<u8> {
    let mut elements = elements.into_iter();
    let mut bytes = Vec::with_capacity(elements.size_hint().0.div_ceil(2));
    while let Some(first) = elements.next() {
        let second = elements.next().unwrap_or(0);
        bytes.push((first & 0xf) as u8 | ((second & 0xf) as u8) << 4);
    }
    bytes
}

/// The first `n` elements; a byte that is not there counts as zero.
pub fn unpack_nibbles(bytes: &[u8], n: usize, is_signed: bool) -> Vec<i32> {
    let element = |index: usize| {
        let byte = bytes.get(index / 2).copied().unwrap_or(0);
        let nibble = i32::from(if index.is_multiple_of(2) { byte & 0xf } else { byte >> 4 });
        if is_signed && nibble > 7 { nibble - 16 } else { nibble }
    };
    (0..n).map(element).collect()
}
