//! The command `onnxfit`: makes an ONNX model fit the GPU memory it has.
//!
//! stdout is the answer, stderr the talk and the progress; exit codes are 0 yes, 1 no, 2 could
//! not tell.

mod arguments;
mod output;
mod progress;
mod verbs;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use verbs::{
    check, convert, deploy, distill, explain, fix, measure, prune, quantize, recommend, run, runtime, serve, split,
    train, watch,
};

/// Makes an ONNX model fit the GPU memory it has.
#[derive(Debug, Parser)]
#[command(name = "onnxfit", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Does it fit, what holds the bytes, which node fails
    Check(check::Arguments),
    /// Make it fit, prove it, write model and session options
    Fix(fix::Arguments),
    /// The same model in half precision, measured and verified
    Convert(convert::Arguments),
    /// Fewer bits a number, as few as the answers allow
    Quantize(quantize::Arguments),
    /// Fewer channels and heads, the cut proved and its price told
    Prune(prune::Arguments),
    /// A real run beside the prediction, and how far the two agree
    Measure(measure::Arguments),
    /// Run it over a file of inputs of any size, never out of memory
    Run(run::Arguments),
    /// What this error message means, what caused it, what to do
    Explain(explain::Arguments),
    /// The cheapest AWS instances it fits on
    Recommend(recommend::Arguments),
    /// Learns from samples, with gradients on stock ONNX Runtime, on the memory that is there
    Train(Box<train::Arguments>),
    /// A student learns from a teacher
    Distill(Box<distill::Arguments>),
    /// Models behind the Open Inference Protocol, refusing rather than dying
    Serve(Box<serve::Arguments>),
    /// What Triton, Kubernetes and SageMaker must be told, sized to fit
    Deploy(Box<deploy::Arguments>),
    /// A model too large for one GPU, in stages that each fit one of several
    Split(split::Arguments),
    /// Who holds the memory of the GPUs, live
    Watch(watch::Arguments),
    /// Which ONNX Runtime is used; install one
    Runtime(runtime::Arguments),
    /// A process of its own for runs that may end it
    #[command(name = "__worker", hide = true)]
    Worker,
    /// A process that holds one served model
    #[command(name = "__serve-worker", hide = true)]
    ServeWorker,
}

/// Runs the command with these arguments, the program's name first, and returns its exit code.
///
/// `program` is what starts this command again as a worker, where that is not the running program:
/// a script of Python's, for one.
pub fn main(arguments: impl IntoIterator<Item = OsString>, program: Option<PathBuf>) -> u8 {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            // Nothing is left to tell if even stderr is closed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    verbs::set_program(program);
    match carry_out(command) {
        Ok(code) => code,
        // A reader that has seen enough, such as `head`, is no failure of ours.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let (message, hint) = told(&error);
            // Nothing is left to tell if even stderr is closed.
            let _ = writeln!(stderr, "error: {message}");
            if let Some(hint) = hint {
                let _ = writeln!(stderr, "  hint: {hint}");
            }
            2
        }
    }
}

/// What a verb answered, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 0 yes, 1 no, 2 could not tell.
    pub code: u8,
    /// The answer as JSON, if there is one.
    pub json: String,
    /// The answer as the command prints it.
    pub text: String,
    /// Why there is none, and what to do about it.
    pub error: Option<(String, Option<String>)>,
}

/// Carries out one verb and returns its answer instead of printing it.
pub fn ask(arguments: impl IntoIterator<Item = OsString>, program: Option<PathBuf>) -> Answer {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            let message = error.to_string().trim_start_matches("error: ").trim_end().to_owned();
            return Answer { code: 2, error: Some((message, None)), ..Answer::default() };
        }
    };
    verbs::set_program(program);
    let (result, (json, text)) = verbs::captured(|| carry_out(command));
    match result {
        Ok(code) => Answer { code, json, text, error: None },
        Err(error) => Answer { code: 2, json, text, error: Some(told(&error)) },
    }
}

fn carry_out(command: Command) -> anyhow::Result<u8> {
    match command.verb {
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Fix(arguments) => fix::run(&arguments),
        Verb::Convert(arguments) => convert::run(&arguments),
        Verb::Quantize(arguments) => quantize::run(&arguments),
        Verb::Prune(arguments) => prune::run(&arguments),
        Verb::Measure(arguments) => measure::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Recommend(arguments) => recommend::run(&arguments),
        Verb::Train(arguments) => train::run(&arguments),
        Verb::Distill(arguments) => distill::run(&arguments),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Deploy(arguments) => deploy::run(&arguments),
        Verb::Split(arguments) => split::run(&arguments),
        Verb::Watch(arguments) => watch::run(&arguments),
        Verb::Runtime(arguments) => runtime::run(&arguments),
        Verb::Worker => verbs::worker(),
        Verb::ServeWorker => serve::worker(),
    }
}

/// What went wrong, and what to do about it.
fn told(error: &anyhow::Error) -> (String, Option<String>) {
    match error.downcast_ref::<onnxfit::Error>() {
        // It names its source itself.
        Some(error) => (error.to_string(), error.hint()),
        None => (format!("{error:#}"), None),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
