//! Arithmetic of permutations.

/// Whether every axis appears once.
pub(super) fn is_valid(perm: &[i64]) -> bool {
    let mut seen = vec![false; perm.len()];
    !perm.is_empty()
        && perm.iter().all(|axis| {
            usize::try_from(*axis)
                .ok()
                .and_then(|axis| seen.get_mut(axis))
                .is_some_and(|seen| !std::mem::replace(seen, true))
        })
}

/// The permutation that undoes another.
pub(super) fn invert(perm: &[i64]) -> Vec<i64> {
    let mut inverse = vec![0; perm.len()];
    for (at, axis) in perm.iter().enumerate() {
        inverse[*axis as usize] = at as i64;
    }
    inverse
}

/// First one, then the other.
pub(super) fn compose(first: &[i64], second: &[i64]) -> Vec<i64> {
    second.iter().map(|axis| first[*axis as usize]).collect()
}

pub(super) fn is_identity(perm: &[i64]) -> bool {
    perm.iter().enumerate().all(|(at, axis)| *axis == at as i64)
}

/// Axes counted from the front, each once.
pub(super) fn normalized(axes: &[i64], rank: usize) -> Option<Vec<i64>> {
    let mut result: Vec<i64> = Vec::with_capacity(axes.len());
    for axis in axes {
        let axis = crate::rewrite::infer::axis_from_front(*axis, rank)? as i64;
        if result.contains(&axis) {
            return None;
        }
        result.push(axis);
    }
    Some(result)
}

/// Where axes lie before the transpose, sorted.
pub(super) fn sorted_axes(axes: &[i64], perm: &[i64]) -> Vec<i64> {
    let mut result: Vec<i64> = axes.iter().map(|axis| perm[*axis as usize]).collect();
    result.sort_unstable();
    result
}

/// The permutation after axes (of the input) were removed.
pub(super) fn squeezed(axes: &[i64], perm: &[i64]) -> Vec<i64> {
    let kept: Vec<i64> = (0..perm.len() as i64).filter(|axis| !axes.contains(axis)).collect();
    let place = |axis: &i64| kept.iter().position(|kept| kept == axis).map(|at| at as i64);
    perm.iter().filter_map(place).collect()
}

/// The permutation after axes (of the result) were added.
pub(super) fn unsqueezed(axes: &[i64], perm: &[i64]) -> Vec<i64> {
    let rank = perm.len() + axes.len();
    let old: Vec<i64> = (0..rank as i64).filter(|axis| !axes.contains(axis)).collect();
    let mut next = perm.iter();
    (0..rank as i64)
        .map(|axis| if axes.contains(&axis) { axis } else { next.next().map_or(axis, |from| old[*from as usize]) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_and_adding_axes_keeps_the_rest_in_order() {
        assert_eq!(squeezed(&[1], &[0, 2, 1]), [0, 1]);
        assert_eq!(squeezed(&[0], &[1, 0, 2]), [0, 1]);
        assert_eq!(squeezed(&[3], &[0, 3, 1, 2]), [0, 1, 2]);
        assert_eq!(unsqueezed(&[0], &[1, 0]), [0, 2, 1]);
        assert_eq!(invert(&[0, 2, 3, 1]), [0, 3, 1, 2]);
        assert_eq!(compose(&[0, 2, 3, 1], &[0, 3, 1, 2]), [0, 1, 2, 3]);
    }
}
