//! The order of samples: a function of seed and epoch, the same on every machine.

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

/// The samples of an epoch in the order in which they come.
#[derive(Debug)]
pub(crate) enum Order {
    Plain(u64),
    Shuffled(Vec<u32>),
}

impl Order {
    /// The order of `n_samples` samples; more than `u32::MAX` of them are not shuffled.
    pub(crate) fn of(n_samples: u64, seed: Option<u64>, epoch: u64) -> Self {
        let (Some(seed), Ok(count)) = (seed, u32::try_from(n_samples)) else { return Self::Plain(n_samples) };
        let mut random = SplitMix(seed ^ epoch.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut order: Vec<u32> = (0..count).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
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
            let order = Order::of(1000, seed, epoch);
            (0..1000).map(|index| order.at(index).unwrap()).collect::<Vec<_>>()
        };
        let (first, again, second) = (all(Some(7), 0), all(Some(7), 0), all(Some(7), 1));
        assert_eq!(first, again);
        assert_ne!(first, second);
        assert_ne!(first, all(Some(8), 0));
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, all(None, 3));
        assert_eq!(Order::of(3, Some(1), 0).at(3), None);
    }
}
