//! Changes to a model or to its session: one file, one change
