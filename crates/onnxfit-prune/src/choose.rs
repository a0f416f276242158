//! Which atoms go, given how much each matters and what share each group is to lose.

use crate::analysis::Analysis;

/// Channels come in eights where a group is large enough: kernels like it.
const ROUND: usize = 8;
/// Groups of fewer atoms are not rounded: heads, not channels.
const ROUNDED_FROM: usize = 32;
/// No group loses more.
const SHARE_MAX: f64 = 0.95;

impl Analysis {
    /// The least important atoms of each group: `shares` says how many of each, in the groups' order.
    pub fn choose(&self, scores: &[f64], shares: &[f64]) -> Vec<usize> {
        let mut removed = Vec::new();
        for (group, share) in self.groups.iter().zip(shares) {
            let n = group.atoms.len();
            let n_left = left(n, share.clamp(0.0, SHARE_MAX));
            let mut order = group.atoms.clone();
            order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
            removed.extend(order.into_iter().take(n - n_left));
        }
        removed.sort_unstable();
        removed
    }
}

/// How many of `n` are left after a share is taken, in eights where that changes little.
fn left(n: usize, share: f64) -> usize {
    let exact = (n as f64 * (1.0 - share)).round().max(1.0) as usize;
    if n < ROUNDED_FROM || exact == n {
        return exact.min(n);
    }
    let rounded = ((exact + ROUND / 2) / ROUND * ROUND).max(ROUND);
    rounded.min(n)
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn channels_are_left_in_eights_and_heads_as_they_come() {
        assert_eq!([left(64, 0.4), left(512, 0.33), left(40, 0.01)], [40, 344, 40]);
        assert_eq!([left(12, 0.4), left(4, 0.95), left(32, 0.95)], [7, 1, 8]);
        assert_eq!([left(100, 0.0), left(33, 0.0)], [100, 33]);
    }
}
