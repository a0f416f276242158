//! Rust: the `ort` crate, as `Debug`, as a tracing event, or as an `anyhow` chain.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    id: "rust-ort",
    marks: &[
        "Error { code: ",
        "ort::execution_providers",
        "/ort-2.0",
        "/ort-1.",
        "called `Result::unwrap",
        "Caused by:",
    ],
};
