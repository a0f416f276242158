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

/// For every place of a shape, in row-major order, the sum of its coordinates times `steps`, from `start` on.
pub(crate) fn positions(shape: &[usize], steps: &[usize], start: usize) -> impl Iterator<Item = usize> + use<> {
    let n_places = count(shape).unwrap_or(0);
    let axes: Vec<(usize, usize)> = shape.iter().copied().zip(steps.iter().copied()).collect();
    let mut place = vec![0; axes.len()];
    let mut next = start;
    (0..n_places).map(move |_| {
        let position = next;
        for ((dim, step), at) in axes.iter().zip(&mut place).rev() {
            *at += 1;
            next = next.wrapping_add(*step);
            if *at < *dim {
                break;
            }
            *at = 0;
            next = next.wrapping_sub(step.wrapping_mul(*dim));
        }
        position
    })
}

/// The row-major position, in a tensor that broadcasts to a shape, of every place of that shape.
pub(crate) fn broadcast_positions(to: &[usize], from: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let mut steps = vec![0; to.len().saturating_sub(from.len())];
    steps.extend(from.iter().zip(strides(from)).map(|(dim, stride)| if *dim == 1 { 0 } else { stride }));
    positions(to, &steps, 0)
}
