//! Everything a developer of onnxfit runs: `cargo xtask ci`, `tidy`, `test`.

mod accuracy;
mod ci;
mod explain;
mod fp16;
mod gpu;
mod guard;
mod limits;
mod pip_install;
mod prune;
mod quantize;
mod recommend;
mod releases;
mod runner;
mod serve;
mod speed;
mod split;
mod systems;
mod tidy;
mod train;
mod unseen;
mod weights;
mod zoo;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND
  ci      all that the continuous integration checks: fmt, clippy, tidy, docs, tests
  test    the tests alone, with ONNX Runtime at hand (arguments go to the test runner)
  gpu-campaign  pack what a machine with a card needs to hold the twin against it
  limits  the smallest arena limit that runs, predicted and tried: results/limits.md
  tidy    layers, bans, file sizes, module heads
  accuracy  predicted against measured: results/accuracy.md, .snap; --measure runs what nobody measured
  unseen  architectures that the twin was not tuned for, predicted and measured: results/unseen.md
  recommend  every real architecture through `onnxfit recommend`: results/recommend.md
  prune   every real architecture pruned to 60 %, and digits: results/prune.md (names choose, also `digits`)
  zoo     every real architecture through `onnxfit check`: results/zoo.md
  fp16    half precision by onnxfit and by four other tools: results/fp16.md
  quantize  ranges, accuracy, size, memory beside ONNX Runtime's own tool: results/quantize.md
  weights weights alone by onnxfit and by four other tools: results/weights.md
  convert-speed  time and memory of conversions, a model of 4 GB among them: results/convert_speed.md
  releases  real runs under five releases of ONNX Runtime beside the prediction: results/releases.md
  soak    10,000 requests while memory runs out, guarded and otherwise: results/soak.md
  overhead  what the guard costs when nothing fails: results/overhead.md
  serve   ten thousand requests with too little memory and dying workers: results/serve.md
  pip-install  the README's way for Python from a fresh clone, in release: results/pip_install.md
  systems Ray's dataset, Kubernetes' and SageMaker's whole schemas: results/systems.md, drop_in.md
  split   architectures in stages, each proved against the whole: results/split.md
  speed   the whole prediction against another tool's planner: results/speed.md
  train   steps per second beside onnxsim, recompute, accumulation, gradients: results/train.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("ci", [])) => ci::ci(),
        Some(("test", rest)) => ci::test(rest),
        Some(("gpu-campaign", [])) => gpu::pack(),
        Some(("limits", [])) => limits::limits(),
        Some(("explain", only)) => explain::explain(only),
        Some(("tidy", [])) => tidy::tidy(),
        Some(("accuracy", [])) => accuracy::accuracy(false),
        Some(("accuracy", [flag])) if flag == "--measure" => accuracy::accuracy(true),
        Some(("prune", only)) => prune::prune(only),
        Some(("zoo", [])) => zoo::zoo(),
        Some(("unseen", words)) => unseen::unseen(words),
        Some(("recommend", only)) => recommend::recommend(only),
        Some(("releases", only)) => releases::releases(only),
        Some(("soak", [])) => guard::soak(),
        Some(("overhead", [])) => guard::overhead(),
        Some(("serve", [])) => serve::serve(),
        Some(("pip-install", [])) => pip_install::pip_install(),
        Some(("split", [])) => split::split(),
        Some(("systems", [])) => systems::systems(),
        Some(("speed", [])) => speed::speed(),
        Some(("quantize", more)) => quantize::quantize(more),
        Some(("fp16", more)) => fp16::fp16(more),
        Some(("train", [])) => train::train(),
        Some(("weights", more)) => weights::weights(more),
        Some(("convert-speed", more)) => weights::convert_speed(more),
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
