//! The attributes of a node: few, so that a list is searched faster than a tree.

use super::{Attribute, Name};

/// The attributes of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(Name, Attribute)>);

impl Attributes {
    /// An attribute by name; of several of one name the last.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().rfind(|(own, _)| own == name).map(|(_, attribute)| attribute)
    }

    /// Whether there is an attribute of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl FromIterator<(Name, Attribute)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (Name, Attribute)>>(attributes: T) -> Self {
        Self(attributes.into_iter().collect())
    }
}
