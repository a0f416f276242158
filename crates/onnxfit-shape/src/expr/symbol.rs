//! A named size.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A named number; two of the same name are the same.
#[derive(Clone)]
pub struct Symbol(Arc<Inner>);

struct Inner {
    name: String,
    min: i64,
    max: Option<i64>,
}

impl Symbol {
    pub(super) fn new(name: &str, min: i64, max: Option<i64>) -> Self {
        Self(Arc::new(Inner { name: name.to_owned(), min, max }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The least it can be.
    pub fn min(&self) -> i64 {
        self.0.min
    }

    /// The most it can be, where that is a number.
    pub fn max(&self) -> Option<i64> {
        self.0.max
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.name == other.0.name
    }
}

impl Eq for Symbol {}

impl PartialOrd for Symbol {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Symbol {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl Hash for Symbol {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}
