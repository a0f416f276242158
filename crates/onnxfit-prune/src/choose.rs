//! Which atoms go, given how much each matters and what share each group is to lose.

use crate::analysis::Analysis;

/// Channels come in eights where a group is large enough, and in sixteens where it is larger:
/// kernels like it, and ONNX Runtime's blocked layout takes no others (nchwc_transformer.cc, 1.31).
/// Groups of fewer atoms are not rounded: heads, not channels.
const ROUNDED: [(usize, usize); 2] = [(64, 16), (32, 8)];
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

/// How many of `n` are left after a share is taken, rounded where that changes little.
fn left(n: usize, share: f64) -> usize {
    let exact = (n as f64 * (1.0 - share)).round().max(1.0) as usize;
    match ROUNDED.iter().find(|(from, _)| n >= *from) {
        Some((_, step)) if exact < n => ((exact + step / 2) / step * step).clamp(*step, n),
        _ => exact.min(n),
    }
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn channels_are_left_in_eights_or_sixteens_and_heads_as_they_come() {
        assert_eq!([left(48, 0.4), left(512, 0.33), left(40, 0.01)], [32, 336, 40]);
        assert_eq!([left(12, 0.4), left(4, 0.95), left(32, 0.95)], [7, 1, 8]);
        assert_eq!([left(100, 0.0), left(33, 0.0)], [100, 33]);
    }
}
