//! Places in row-major tensors.

use crate::expr::Expr;
use crate::fact::N_ELEMENTS_MAX;

/// A shape as plain numbers, if it holds few enough elements to go through them.
pub(crate) fn small_shape(shape: &[Expr]) -> Option<Vec<usize>> {
    let shape: Vec<usize> =
        shape.iter().map(|dim| usize::try_from(dim.as_constant()?).ok()).collect::<Option<Vec<_>>>()?;
    (count(&shape)? <= N_ELEMENTS_MAX).then_some(shape)
}

/// How many places a shape has.
pub(crate) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))
}

/// How far apart neighbours of each axis are.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Saturates only beside an axis of no size, where there are no places.
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

/// The coordinates of every place, in row-major order.
pub(crate) fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    let strides = strides(&shape);
    let n_places = count(&shape).unwrap_or(0);
    (0..n_places).map(move |at| shape.iter().zip(&strides).map(|(dim, stride)| at / stride % (*dim).max(1)).collect())
}

/// The row-major position of coordinates in a tensor that broadcasts to their shape.
pub(crate) fn broadcast_position(place: &[usize], shape: &[usize]) -> usize {
    let skip = place.len().saturating_sub(shape.len());
    let strides = strides(shape);
    place
        .iter()
        .skip(skip)
        .zip(shape)
        .zip(strides)
        .map(|((at, dim), stride)| if *dim == 1 { 0 } else { at * stride })
        .sum()
}
