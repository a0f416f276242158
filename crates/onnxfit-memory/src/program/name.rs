//! The name of a part of a program: cheap to make by the thousand and to copy.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, LazyLock};

/// A name; all names of one graph lie in one text.
#[derive(Clone)]
pub struct Name {
    text: Arc<str>,
    range: Range<u32>,
}

/// The names of one graph as they are gathered.
#[derive(Debug, Default)]
pub(crate) struct NameWriter(String);

/// A name that was written; [`Names::get`] gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written(u32, u32);

/// The names of one graph.
#[derive(Debug)]
pub(crate) struct Names(Arc<str>);

impl NameWriter {
    pub(crate) fn write(&mut self, name: &str) -> Written {
        let start = self.0.len();
        self.0.push_str(name);
        let at = |at: usize| u32::try_from(at).expect("a file of at most two gigabytes holds less than four of names");
        Written(at(start), at(self.0.len()))
    }

    pub(crate) fn finish(self) -> Names {
        Names(self.0.into())
    }
}

impl Names {
    pub(crate) fn get(&self, written: Written) -> Name {
        Name { text: Arc::clone(&self.0), range: written.0..written.1 }
    }
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text[self.range.start as usize..self.range.end as usize]
    }
}

impl Default for Name {
    fn default() -> Self {
        static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));
        Self { text: Arc::clone(&EMPTY), range: 0..0 }
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let mut writer = NameWriter::default();
        let written = writer.write(name);
        writer.finish().get(written)
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}
