//! Everything a developer of onnxfit runs: `cargo xtask ci`, `tidy`, `test`.

mod ci;
mod runner;
mod tidy;
mod zoo;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND
  ci      all that the continuous integration checks: fmt, clippy, tidy, docs, tests
  test    the tests alone, with ONNX Runtime at hand (arguments go to the test runner)
  tidy    layers, bans, file sizes, module heads
  zoo     every real architecture through `onnxfit check`: results/zoo.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("ci", [])) => ci::ci(),
        Some(("test", rest)) => ci::test(rest),
        Some(("tidy", [])) => tidy::tidy(),
        Some(("zoo", [])) => zoo::zoo(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
