//! Cutting a tensor along an axis, and joining pieces again.

use std::ops::Range;

use super::{Data, Tensor, element_count};

impl Tensor {
    /// The part `range` of an axis, as a tensor of its own. `None` for an axis that is not there,
    /// a range outside it, or parts that are no whole bytes.
    pub fn slice(&self, axis: usize, range: Range<u64>) -> Option<Self> {
        let size = *self.shape().get(axis)?;
        if range.start > range.end || range.end > size {
            return None;
        }
        let mut shape = self.shape().to_vec();
        shape[axis] = range.end - range.start;
        let n_outer = element_count(&shape[..axis])?;
        let n_inner = element_count(&shape[axis + 1..])?;
        let data = match &self.data {
            Data::Packed(bytes) => {
                let unit = byte_unit(n_inner, self.element_type.bits())?;
                Data::Packed(slice_units(bytes, n_outer, size, unit, &range))
            }
            Data::Strings(strings) => {
                Data::Strings(slice_units(strings, n_outer, size, usize::try_from(n_inner).ok()?, &range))
            }
        };
        Some(Self { element_type: self.element_type, shape, data })
    }

    /// The pieces one after the other along an axis. `None` if there are none, or if they differ in
    /// type or in another axis.
    pub fn concatenate(pieces: &[&Self], axis: usize) -> Option<Self> {
        let first = *pieces.first()?;
        let mut shape = first.shape().to_vec();
        shape.get(axis)?;
        shape[axis] = 0;
        for piece in pieces {
            let mut expected = shape.clone();
            expected[axis] = *piece.shape().get(axis)?;
            if piece.shape() != expected || piece.element_type != first.element_type {
                return None;
            }
            shape[axis] = shape[axis].checked_add(expected[axis])?;
        }
        let n_outer = usize::try_from(element_count(&shape[..axis])?).ok()?;
        let n_inner = element_count(&shape[axis + 1..])?;
        let widths =
            |unit: usize| -> Vec<usize> { pieces.iter().map(|piece| piece.shape()[axis] as usize * unit).collect() };
        let data = match &first.data {
            Data::Packed(_) => {
                let widths = widths(byte_unit(n_inner, first.element_type.bits())?);
                let sources: Option<Vec<&[u8]>> = pieces.iter().map(|piece| piece.bytes()).collect();
                Data::Packed(interleave(&sources?, &widths, n_outer))
            }
            Data::Strings(_) => {
                let widths = widths(usize::try_from(n_inner).ok()?);
                let sources: Option<Vec<&[String]>> = pieces.iter().map(|piece| piece.strings()).collect();
                Data::Strings(interleave(&sources?, &widths, n_outer))
            }
        };
        Some(Self { element_type: first.element_type, shape, data })
    }
}

/// Bytes of one step along the axis.
fn byte_unit(n_inner: u64, element_bits: u64) -> Option<usize> {
    let bits = n_inner.checked_mul(element_bits)?;
    if bits % 8 == 0 { usize::try_from(bits / 8).ok() } else { None }
}

fn slice_units<T: Clone>(source: &[T], n_outer: u64, size: u64, unit: usize, range: &Range<u64>) -> Vec<T> {
    let (size, start, end) = (size as usize, range.start as usize, range.end as usize);
    let mut part = Vec::with_capacity(n_outer as usize * (end - start) * unit);
    for outer in 0..n_outer as usize {
        part.extend_from_slice(&source[(outer * size + start) * unit..(outer * size + end) * unit]);
    }
    part
}

fn interleave<T: Clone>(sources: &[&[T]], widths: &[usize], n_outer: usize) -> Vec<T> {
    let mut whole = Vec::with_capacity(sources.iter().map(|source| source.len()).sum());
    for outer in 0..n_outer {
        for (source, width) in sources.iter().zip(widths) {
            whole.extend_from_slice(&source[outer * width..(outer + 1) * width]);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_axis_join_to_the_whole() {
        let values: Vec<f32> = (0..2 * 5 * 3).map(|value| value as f32).collect();
        let whole = Tensor::from_f32(vec![2, 5, 3], &values).unwrap();
        for axis in 0..3 {
            let size = whole.shape()[axis];
            let cut = size / 2;
            let pieces = [whole.slice(axis, 0..cut).unwrap(), whole.slice(axis, cut..size).unwrap()];
            assert_eq!(Tensor::concatenate(&[&pieces[0], &pieces[1]], axis).unwrap(), whole, "axis {axis}");
        }
        assert_eq!(whole.slice(1, 4..6), None);
        assert_eq!(whole.slice(3, 0..1), None);
    }

    #[test]
    fn texts_are_cut_too() {
        let texts = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let whole = Tensor::from_strings(vec![2, 2], texts).unwrap();
        let right = whole.slice(1, 1..2).unwrap();
        assert_eq!(right.strings().unwrap(), ["b", "d"]);
    }
}
