//! The values of a graph by name; a copy costs nothing until it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::value::ValueId;

/// Changes that are kept beside the table before it is made anew.
const CHANGES_MAX: usize = 256;

/// A table of names that copies share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    shared: Arc<HashMap<String, ValueId>>,
    /// What differs from the shared table; `None` is a name that is gone.
    changes: BTreeMap<String, Option<ValueId>>,
}

impl Names {
    pub(crate) fn get(&self, name: &str) -> Option<ValueId> {
        if let Some(changed) = self.changes.get(name) {
            return *changed;
        }
        self.shared.get(name).copied()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn insert(&mut self, name: &str, id: ValueId) {
        match self.own() {
            Some(table) => {
                table.insert(name.to_owned(), id);
            }
            None => self.change(name, Some(id)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        match self.own() {
            Some(table) => {
                table.remove(name);
            }
            None => self.change(name, None),
        }
    }

    /// Makes room for so many names more.
    pub(crate) fn reserve(&mut self, n_names: usize) {
        if let Some(table) = self.own() {
            table.reserve(n_names);
        }
    }

    /// The table, if nobody shares it and nothing lies beside it.
    fn own(&mut self) -> Option<&mut HashMap<String, ValueId>> {
        if self.changes.is_empty() { Arc::get_mut(&mut self.shared) } else { None }
    }

    fn change(&mut self, name: &str, id: Option<ValueId>) {
        self.changes.insert(name.to_owned(), id);
        if self.changes.len() > CHANGES_MAX {
            let table = Arc::make_mut(&mut self.shared);
            for (name, id) in std::mem::take(&mut self.changes) {
                match id {
                    Some(id) => table.insert(name, id),
                    None => table.remove(&name),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_changes_leaves_the_other_as_it_was() {
        let id = ValueId::new;
        let mut names = Names::default();
        (0..10).for_each(|at| names.insert(&format!("v{at}"), id(at)));
        let mut copy = names.clone();
        copy.remove("v3");
        copy.insert("v4", id(40));
        (100..1000).for_each(|at| copy.insert(&format!("v{at}"), id(at)));
        let seen = |names: &Names| ["v2", "v3", "v4", "v999"].map(|name| names.get(name).map(ValueId::index));
        assert_eq!(seen(&names), [Some(2), Some(3), Some(4), None]);
        assert_eq!(seen(&copy), [Some(2), None, Some(40), Some(999)]);
    }
}
