//! RAGFlow: paths of its document reader, and how its task executor reports a failure.

use super::Dialect;

pub(super) const DIALECT: Dialect =
    Dialect { id: RAGFLOW, marks: &["ragflow", "RAGFlow", "/deepdoc/", "\\deepdoc\\", " [ERROR][Exception]: "] };

/// Its id.
pub(crate) const RAGFLOW: &str = "ragflow";
