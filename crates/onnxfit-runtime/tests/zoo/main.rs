//! Measures real architectures again and compares with what another harness measured.
//!
//! The graphs carry no weights, so others stand in. How much memory is taken does not depend on
//! the numbers, except that ONNX Runtime keeps one packed copy of weights that are equal.
//! `ONNXFIT_TEST_ZOO=quick` measures every quick row instead of a few, and `=all` every row.

mod bench;
mod limits;
mod measured;
mod traces;

use onnxfit_runtime::worker;

pub(crate) const CHILD: &str = "ONNXFIT_TEST_ZOO_WORKER";

/// Not a test: the worker that the others start, which is this very program.
#[test]
fn serves_as_a_child() {
    if std::env::var_os(CHILD).is_some() {
        worker::serve(std::io::stdin().lock(), std::io::stdout()).expect("the pipe holds");
    }
}

pub(crate) fn name(row: &serde_json::Value) -> String {
    format!("{} {} {}", row["model"], row["variant"], row["opt"])
}
