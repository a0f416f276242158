//! The command `onnxfit`; all it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(onnxfit_cli::main(std::env::args_os(), None))
}
