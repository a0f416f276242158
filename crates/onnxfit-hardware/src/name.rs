//! Reads names the way people write them, and finds the ones they may have meant.

use onnxfit_base::Bytes;

use crate::{Accelerator, Gpu, accelerators, gpus, instances};

/// Words that tell no GPU that AWS rents out from another.
const NOISE: [&str; 16] = [
    "nvidia",
    "tesla",
    "grid",
    "aws",
    "amd",
    "gpu",
    "sxm",
    "sxm2",
    "sxm4",
    "sxm5",
    "sxm6",
    "hbm3",
    "pcie",
    "blackwell",
    "server",
    "edition",
];

/// Names suggested at most.
const SUGGESTIONS_MAX: usize = 3;

/// Every GPU that a name may mean, the one with the least memory first.
pub(crate) fn gpus_named(text: &str) -> Vec<&'static Gpu> {
    let wanted = plain(text);
    if let Some(gpu) = gpus().iter().find(|gpu| plain(&gpu.key) == wanted) {
        return vec![gpu];
    }
    let mut found: Vec<_> = gpus().iter().filter(|gpu| is_spelling(&wanted, &gpu.key, Some(gpu.advertised))).collect();
    found.sort_by_key(|gpu| gpu.advertised);
    found
}

/// The accelerator without CUDA that a name means.
pub(crate) fn accelerator_named(text: &str) -> Option<&'static Accelerator> {
    let wanted = plain(text);
    let is_it = |other: &&Accelerator| {
        [&other.key, &other.model].iter().any(|name| is_spelling(&wanted, name, other.advertised))
            || plain(other.key.trim_end_matches('1')) == wanted
    };
    accelerators().iter().find(is_it)
}

/// A count and a name, from `4xT4`, `T4 x 4` or `T4:4`.
pub(crate) fn split_count(text: &str) -> Option<(u32, &str)> {
    let (left, right) = text.split_once([':', '*']).or_else(|| {
        let is_count = |part: &str| !part.trim().is_empty() && part.trim().bytes().all(|byte| byte.is_ascii_digit());
        let forward = text.split_once(['x', 'X']).filter(|(left, _)| is_count(left));
        forward.or_else(|| text.rsplit_once(['x', 'X']).filter(|(_, right)| is_count(right)))
    })?;
    let (left, right) = (left.trim(), right.trim());
    let counted = left.parse().ok().map(|count| (count, right));
    counted.or_else(|| right.parse().ok().map(|count| (count, left)))
}

/// The known names nearest to a text, nearest first; for a known family, its own sizes.
pub(crate) fn suggestions(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let text = text.strip_prefix("ml.").unwrap_or(&text);
    let family = text.split('.').next().unwrap_or(text);
    let sizes = instances().iter().filter(|instance| instance.family() == family).map(|instance| &instance.name);
    let mut near: Vec<(usize, &str)> = sizes.map(|name| (distance(text, name), name.as_str())).collect();
    if near.is_empty() {
        let names = instances().iter().map(|instance| &instance.name);
        let names = names.chain(gpus().iter().map(|gpu| &gpu.key));
        let distance_max = 1 + text.chars().count() / 4;
        near = names.map(|name| (distance(text, &name.to_lowercase()), name.as_str())).collect();
        near.retain(|(distance, _)| *distance <= distance_max);
    }
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// Whether `wanted` is this name, alone or followed by its memory in gigabytes.
fn is_spelling(wanted: &str, name: &str, memory: Option<Bytes>) -> bool {
    let head = name.split('-').next().unwrap_or(name);
    let gigabytes = memory.map_or(0, |memory| memory.get() / Bytes::GIB.get());
    [name, head].iter().any(|name| {
        let name = plain(name);
        wanted == name || wanted.strip_prefix(&name).is_some_and(|rest| rest == gigabytes.to_string())
    })
}

/// Lower case, without noise words, punctuation and the unit after a size: `A100-SXM4-40GB` is `a10040`.
fn plain(text: &str) -> String {
    let text = text.to_lowercase();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !NOISE.contains(word));
    let without_unit = |word: &str| {
        let number = ["gib", "gb", "g"].iter().find_map(|unit| word.strip_suffix(unit));
        let is_size = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.filter(is_size).unwrap_or(word).to_owned()
    };
    words.map(without_unit).collect()
}

/// How many letters have to be put in, taken out or replaced to make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    // A longer text is no misspelling of anything here; the bound keeps the work small.
    for (above, letter) in left.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "t4"), 2);
        assert_eq!(distance("g4dn.xlarge", "g4dn.xlarge"), 0);
    }

    #[test]
    fn noise_and_units_are_dropped() {
        for (text, expected) in [
            ("NVIDIA Tesla V100-SXM2-16GB", "v10016"),
            ("A100 40g", "a10040"),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtxpro6000"),
            ("A10G", "a10g"),
            ("T4G", "t4g"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn a_count_is_read_on_either_side() {
        assert_eq!(split_count("4xT4"), Some((4, "T4")));
        assert_eq!(split_count("T4 x 4"), Some((4, "T4")));
        assert_eq!(split_count("A100-80:8"), Some((8, "A100-80")));
        assert_eq!(split_count("g4dn.xlarge"), None);
    }
}
