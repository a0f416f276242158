//! The cards that a compute capability stands for: what kernels ask the device about itself.
//!
//! Only cards of AWS instances are listed; NVIDIA's data sheets give the numbers. Where one
//! capability is several cards, what depends on them is a band.

/// A card as kernels see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// Major and minor.
    pub(crate) compute_capability: (u32, u32),
    /// `multiProcessorCount`.
    pub(crate) n_multiprocessors: u64,
    /// `totalGlobalMem`, in GiB.
    pub(crate) memory_gib: u64,
}

const fn card(compute_capability: (u32, u32), n_multiprocessors: u64, memory_gib: u64) -> Card {
    Card { compute_capability, n_multiprocessors, memory_gib }
}

const CARDS: &[Card] = &[
    card((3, 7), 13, 11),    // K80
    card((5, 2), 16, 7),     // M60
    card((7, 0), 80, 15),    // V100
    card((7, 0), 80, 31),    // V100
    card((7, 5), 40, 14),    // T4
    card((8, 0), 108, 39),   // A100
    card((8, 0), 108, 79),   // A100
    card((8, 6), 72, 22),    // A10
    card((8, 6), 80, 22),    // A10G
    card((8, 9), 58, 22),    // L4
    card((8, 9), 142, 44),   // L40S
    card((9, 0), 132, 79),   // H100
    card((9, 0), 132, 140),  // H200
    card((10, 0), 148, 178), // B200
    card((12, 0), 188, 95),  // RTX PRO 6000
];

/// The capability that an unknown card is expected to have.
pub(crate) const EXPECTED_CAPABILITY: (u32, u32) = (8, 6);

/// The cards of a capability; all when it is unknown or of no listed card.
pub(crate) fn cards(compute_capability: Option<(u32, u32)>) -> Vec<Card> {
    let fitting: Vec<Card> =
        CARDS.iter().copied().filter(|card| Some(card.compute_capability) == compute_capability).collect();
    if fitting.is_empty() { CARDS.to_vec() } else { fitting }
}

/// The capabilities that are possible: the one that is known, or one of every kernel choice.
pub(crate) fn capabilities(compute_capability: Option<(u32, u32)>) -> Vec<(u32, u32)> {
    match compute_capability {
        Some(known) => vec![known],
        None => vec![(7, 0), (7, 5), (8, 0), EXPECTED_CAPABILITY, (8, 9), (9, 0)],
    }
}
