//! onnxfit for Python: what decides is Rust, what runs is `onnxruntime` itself.
//!
//! Three things: the command (`main`, `ask`), the explanation of an error text (`explain`),
//! and the guard's decisions for a session that Python runs (`guard::PyGuard`). All give the
//! interpreter's lock back while they work.

mod guard;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

/// The native part of the package `onnxfit`.
#[pymodule]
#[pyo3(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(ask, module)?)?;
    module.add_function(wrap_pyfunction!(explain, module)?)?;
    module.add_class::<guard::PyGuard>()?;
    module.add_class::<guard::PyJob>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}

/// Runs the command with these arguments, the program's name first, and returns its exit code.
#[pyfunction]
#[pyo3(signature = (arguments, program = None))]
fn main(py: Python<'_>, arguments: Vec<OsString>, program: Option<PathBuf>) -> u8 {
    py.detach(|| onnxfit_cli::main(arguments, program))
}

/// An answer: exit code, JSON, text, error, hint.
type Answer = (u8, String, String, Option<String>, Option<String>);

/// Carries out one verb: exit code, JSON, text, error, hint.
#[pyfunction]
#[pyo3(signature = (arguments, program = None))]
fn ask(py: Python<'_>, arguments: Vec<OsString>, program: Option<PathBuf>) -> Answer {
    let answer = py.detach(|| onnxfit_cli::ask(arguments, program));
    let (error, hint) = answer.error.map_or((None, None), |(error, hint)| (Some(error), hint));
    (answer.code, answer.json, answer.text, error, hint)
}

/// Whether an error text tells of memory, and what it means: JSON, text.
#[pyfunction]
fn explain(py: Python<'_>, message: &str) -> PyResult<(Option<bool>, String, String)> {
    let explanation = py.detach(|| onnxfit::explain(message.as_bytes(), onnxfit::ExplainContext::default()))?;
    let json = explanation.to_json().map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))?;
    Ok((explanation.is_oom, json, explanation.to_string()))
}
