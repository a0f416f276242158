//! The order of samples: a function of seed and epoch, the same on every machine.

use std::ops::Range;

/// Where reading stands: all that must be kept to go on later with the same samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// What shuffles; `None` keeps the files' order.
    pub seed: Option<u64>,
    /// Samples of this epoch that were taken or skipped.
    pub index: u64,
}

/// Blocks whose samples are mixed with each other.
pub(crate) const WINDOW_BLOCKS: usize = 4;

/// The samples of an epoch in the order in which they come.
#[derive(Debug)]
pub(crate) enum Order {
    Plain(u64),
    Shuffled(Vec<u32>),
}

impl Order {
    /// The order of `n_samples` samples; more than `u32::MAX` of them are not shuffled. Where samples
    /// lie in blocks, which end at `block_ends`, the blocks are shuffled, and then the samples of a
    /// few that follow each other.
    pub(crate) fn of(n_samples: u64, block_ends: &[u64], seed: Option<u64>, epoch: u64) -> Self {
        let (Some(seed), Ok(count)) = (seed, u32::try_from(n_samples)) else { return Self::Plain(n_samples) };
        let mut random = SplitMix(seed ^ epoch.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let ends = block_ends.iter().filter_map(|end| u32::try_from(*end).ok());
        let mut start = 0;
        let mut blocks: Vec<Range<u32>> = ends.map(|end| std::mem::replace(&mut start, end)..end).collect();
        if start < count {
            blocks.push(start..count);
        }
        random.shuffle(&mut blocks);
        let mut order: Vec<u32> = Vec::with_capacity(count as usize);
        for window in blocks.chunks(WINDOW_BLOCKS) {
            let from = order.len();
            window.iter().for_each(|block| order.extend(block.clone()));
            random.shuffle(&mut order[from..]);
        }
        Self::Shuffled(order)
    }

    /// The sample at a place.
    pub(crate) fn at(&self, index: u64) -> Option<u64> {
        match self {
            Self::Plain(n_samples) => (index < *n_samples).then_some(index),
            Self::Shuffled(order) => order.get(usize::try_from(index).ok()?).map(|sample| u64::from(*sample)),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A number below `bound`; the bias of the multiplication is below 2^-32 for 32-bit bounds.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_sample_once_in_an_order_of_its_own() {
        let all = |seed, epoch| {
            let order = Order::of(1000, &[], seed, epoch);
            (0..1000).map(|index| order.at(index).unwrap()).collect::<Vec<_>>()
        };
        let (first, again, second) = (all(Some(7), 0), all(Some(7), 0), all(Some(7), 1));
        assert_eq!(first, again);
        assert_ne!(first, second);
        assert_ne!(first, all(Some(8), 0));
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, all(None, 3));
        assert_eq!(Order::of(3, &[], Some(1), 0).at(3), None);
    }

    #[test]
    fn blocks_are_opened_a_few_at_a_time() {
        let ends: Vec<u64> = (1..=20).map(|block| block * 50).collect();
        let order = Order::of(1000, &ends, Some(7), 0);
        let samples: Vec<u64> = (0..1000).map(|index| order.at(index).unwrap()).collect();
        for window in samples.chunks(50 * WINDOW_BLOCKS) {
            let blocks: std::collections::BTreeSet<u64> = window.iter().map(|sample| sample / 50).collect();
            assert_eq!(blocks.len(), WINDOW_BLOCKS);
            let n_changes = window.windows(2).filter(|pair| pair[0] / 50 != pair[1] / 50).count();
            assert!(n_changes > 50, "{n_changes} changes from block to block");
        }
        let mut sorted = samples;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
