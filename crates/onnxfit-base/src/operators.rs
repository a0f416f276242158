//! A table that is asked by operator: its registry's lines, found without a search.
//!
//! Registries stay lists that read well, one line an operator; who asks them node by node builds
//! this from them once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// What a registry says about each operator.
#[derive(Debug)]
pub struct Operators<T> {
    /// By operator. Most have one row.
    rows: HashMap<&'static str, Row<T>, BuildHasherDefault<NameHasher>>,
}

#[derive(Debug)]
struct Row<T> {
    domain: &'static str,
    said: T,
    /// What is said for other domains.
    others: Vec<(&'static str, T)>,
}

/// The domain of a row that holds for an operator of any domain.
const ANY_DOMAIN: &str = "*";

impl<T> Operators<T> {
    /// The table of a registry's rows: domain (`*` for any), operator, what is said. Of two rows of
    /// one operator the first counts.
    pub fn of(rows: impl IntoIterator<Item = (&'static str, &'static str, T)>) -> Self {
        let mut table = Self { rows: HashMap::default() };
        for (domain, operator, said) in rows {
            match table.rows.entry(operator) {
                Entry::Vacant(entry) => {
                    entry.insert(Row { domain, said, others: Vec::new() });
                }
                Entry::Occupied(mut entry) => entry.get_mut().others.push((domain, said)),
            }
        }
        table
    }

    /// What is said about an operator; a row for its own domain goes before one for any.
    pub fn get(&self, domain: &str, operator: &str) -> Option<&T> {
        let row = self.rows.get(operator)?;
        // An empty domain, the usual one, is not compared byte by byte.
        let is = |own: &str| own.len() == domain.len() && (own.is_empty() || own == domain);
        if is(row.domain) {
            return Some(&row.said);
        }
        let find = |wanted: &dyn Fn(&str) -> bool| row.others.iter().find(|(own, _)| wanted(own)).map(|(_, said)| said);
        let any = if row.domain == ANY_DOMAIN { Some(&row.said) } else { None };
        find(&is).or(any).or_else(|| find(&|own| own == ANY_DOMAIN))
    }
}

/// A hash of short names that nobody attacks: the rows are ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameHasher(u64);

impl NameHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table looks at the top bits as well as the bottom ones.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_its_domain_goes_before_one_for_any_and_the_first_of_two_counts() {
        let rows = [("", "Add", 1), ("*", "Add", 2), ("", "Add", 3), ("*", "Trilu", 4), ("com.microsoft", "Gelu", 5)];
        let table = Operators::of(rows);
        let asked = [("", "Add"), ("ai.other", "Add"), ("com.microsoft", "Trilu"), ("", "Gelu"), ("", "add")];
        let said = asked.map(|(domain, operator)| table.get(domain, operator).copied());
        assert_eq!(said, [Some(1), Some(2), Some(4), None, None]);
    }

    #[test]
    fn names_that_differ_in_a_zero_byte_or_a_letter_hash_differently() {
        let hash = |name: &str| {
            let mut hasher = NameHasher::default();
            hasher.write(name.as_bytes());
            hasher.finish()
        };
        let names = ["", "\0", "Add", "Add\0", "Conv", "ConvInteger", "ReduceMax", "ReduceMin", "LayerNormalization"];
        for (at, name) in names.iter().enumerate() {
            assert!(names[..at].iter().all(|other| hash(other) != hash(name)), "{name:?}");
        }
    }
}
