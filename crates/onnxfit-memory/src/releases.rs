//! What changed from release to release of ONNX Runtime, as data.
//!
//! The twin follows the newest release that was measured. A rule that was different before names
//! itself here with the releases in which it held; the code that it touches asks for it by name.

/// A release, such as `(1, 31, 1)`.
pub type Release = (u32, u32, u32);

/// The release that is followed where nothing else is said.
pub const NEWEST_MEASURED: Release = (1, 32, 0);

/// A rule that held for some releases only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormerRule {
    /// Small weights are taken from the arena's regions, rounded up as any block, not reserved.
    SmallWeightsInRegions,
    /// A convolution of several groups or images takes a whole unrolled image a thread, not a tile.
    WholeImageAThread,
    /// A dequantized convolution becomes a quantized one whatever the scale of its bias is.
    AnyBiasScale,
    /// A transpose is pushed through a node that several others read if any transpose lies ahead, not
    /// only one that cancels it.
    AnyTransposeAhead,
    /// The bias of a matrix product before a `SkipLayerNormalization` stays a node of its own.
    SkipLayerNormKeepsBias,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What was different.
    pub rule: FormerRule,
    /// The first release in which it held.
    pub since: Release,
    /// The first in which it did no longer.
    pub until: Release,
    /// Where ONNX Runtime changed it.
    pub changed_by: &'static str,
}

/// Every rule that was different once; releases before 1.23 tell no counters to check against.
pub const CHANGES: &[Change] = &[
    Change {
        rule: FormerRule::SmallWeightsInRegions,
        since: (0, 0, 0),
        until: (1, 24, 0),
        changed_by: "session_state_utils.cc, pull request 26345",
    },
    Change {
        rule: FormerRule::WholeImageAThread,
        since: (1, 23, 2),
        until: (1, 27, 0),
        changed_by: "mlas/lib/convolve.cpp, pull requests 26103 and 28482",
    },
    Change {
        rule: FormerRule::AnyTransposeAhead,
        since: (0, 0, 0),
        until: (1, 31, 0),
        changed_by: "transpose_optimization/onnx_transpose_optimization.cc, seen by its effect from 1.31 on",
    },
    Change {
        rule: FormerRule::SkipLayerNormKeepsBias,
        since: (0, 0, 0),
        until: (1, 26, 0),
        changed_by: "bias_skip_layer_norm_fusion.cc",
    },
    Change {
        rule: FormerRule::AnyBiasScale,
        since: (0, 0, 0),
        until: (1, 27, 0),
        changed_by: "qdq_transformer/selectors_actions/qdq_selectors.cc, pull request 28229",
    },
];

/// Whether a rule of the table holds in a release.
pub fn holds(rule: FormerRule, release: Release) -> bool {
    CHANGES.iter().any(|change| change.rule == rule && change.since <= release && release < change.until)
}

/// `1.31.1` as a release; parts that are missing count as zero, and what is no version at all as
/// the newest one.
pub fn parse(version: &str) -> Release {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().unwrap_or(0)
    });
    let mut next = || parts.next().unwrap_or(0);
    match (next(), next(), next()) {
        (0, 0, 0) => NEWEST_MEASURED,
        release => release,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_from_its_first_release_to_just_before_its_last() {
        let rule = FormerRule::WholeImageAThread;
        let held = ["1.23.1", "1.23.2", "1.26.0", "1.27.0", "1.32.0"].map(|version| holds(rule, parse(version)));
        assert_eq!(held, [false, true, true, false, false]);
    }

    #[test]
    fn a_version_with_a_suffix_is_its_release() {
        assert_eq!(parse("1.27.0rc1"), (1, 27, 0));
        assert_eq!(parse("1.31"), (1, 31, 0));
        assert_eq!(parse("newest"), NEWEST_MEASURED);
    }

    #[test]
    fn no_former_rule_holds_in_the_newest_release() {
        assert!(CHANGES.iter().all(|change| change.since < change.until && change.until <= NEWEST_MEASURED));
    }
}
