//! Which wrapper printed the text: language bindings, servers, operating systems.
//!
//! Prefixes, colour codes, escapes and boxes are recognised while they are removed (`clean`).

mod cpp;
mod csharp;
mod java;
mod node;
mod ort_log;
mod python;
mod ragflow;
mod rust_ort;
mod sagemaker;
mod servers;
mod triton;
mod windows;

pub(crate) use ragflow::RAGFLOW;

/// One dialect: an id and the pieces of text that give it away.
pub(crate) struct Dialect {
    pub id: &'static str,
    pub marks: &'static [&'static str],
}

const REGISTRY: &[Dialect] = &[
    python::DIALECT,
    python::IO_BINDING,
    cpp::DIALECT,
    csharp::DIALECT,
    java::DIALECT,
    node::DIALECT,
    rust_ort::DIALECT,
    ort_log::DIALECT,
    triton::DIALECT,
    sagemaker::DIALECT,
    servers::GUNICORN,
    ragflow::DIALECT,
    windows::DIALECT,
];

/// The dialects of a text.
pub(crate) fn read(text: &str) -> impl Iterator<Item = &'static str> {
    let seen = |dialect: &&Dialect| dialect.marks.iter().any(|mark| text.contains(mark));
    REGISTRY.iter().filter(seen).map(|dialect| dialect.id)
}
