//! `cargo xtask train`: training beside `onnxsim`'s training loop in turns on the same machine, and
//! what recompute, accumulation and gradients measure, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::runner::root;

/// Turns of each program; the best counts, because others on the machine can only slow it down.
const N_TURNS: usize = 3;
/// A program that takes longer is ended: ten minutes, of which the first has the build.
const PROGRAM_SECONDS_MAX: u64 = 600;

/// What was found so far.
#[derive(Default)]
struct Figures {
    /// Steps per second by model: the trainer, its graph in Python, the other tool.
    best: BTreeMap<String, [f64; 3]>,
    recompute: Vec<Vec<String>>,
    accumulation: String,
    rules: String,
    zoo: String,
}

/// Writes `results/train.md`, anew after each program: about eight minutes on two cores, the build
/// not counted.
pub(crate) fn train() -> Result<()> {
    let folder = root().join("target/train");
    std::fs::create_dir_all(&folder)?;
    let python = crate::speed::python()?;
    // The planner's packages, and the runtime that both programs run on.
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "onnxruntime==1.31.1", "flatbuffers", "packaging"];
    crate::runner::run(&python.to_string_lossy(), &install, &[])?;
    let mut figures = Figures::default();
    for turn in 0..N_TURNS {
        eprintln!("turn {} of {N_TURNS}", turn + 1);
        for line in marked(&test("speed", &folder, true)?, "steps") {
            let [name, steps, ..] = line.as_slice() else { continue };
            keep(&mut figures.best, name, 0, steps.parse().unwrap_or(0.0));
        }
        let script = root().join("crates/onnxfit-train/tests/reference/speed.py");
        let mut peer = Command::new(&python);
        for line in marked(&output(peer.arg(script).arg(&folder))?, "steps") {
            let [name, ours, theirs, ..] = line.as_slice() else { continue };
            keep(&mut figures.best, name, 1, ours.parse().unwrap_or(0.0));
            keep(&mut figures.best, name, 2, theirs.parse().unwrap_or(0.0));
        }
        write(&figures)?;
    }
    figures.recompute = marked(&test("recompute", &folder, true)?, "figure");
    write(&figures)?;
    figures.accumulation = test("accumulation", &folder, false)?;
    write(&figures)?;
    figures.rules = test("rules", &folder, false)?;
    figures.zoo = test("zoo", &folder, false)?;
    println!("{}", write(&figures)?);
    Ok(())
}

fn write(figures: &Figures) -> Result<String> {
    let text = table(figures)?;
    std::fs::write(root().join("results/train.md"), &text)?;
    Ok(text)
}

fn keep(best: &mut BTreeMap<String, [f64; 3]>, name: &str, column: usize, steps: f64) {
    let row = best.entry(name.to_owned()).or_default();
    row[column] = row[column].max(steps);
}

/// What a test of the training crate prints, in release.
fn test(name: &str, folder: &Path, is_ignored: bool) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "--quiet", "--package", "onnxfit-train", "--test", name, "--"]);
    cargo.args(["--nocapture", "--test-threads=1"]).args(is_ignored.then_some("--ignored"));
    output(cargo.env("EXPORT", folder).current_dir(root()))
}

/// Both streams of a program, one after the other.
fn output(command: &mut Command) -> Result<String> {
    eprintln!("$ {command:?}");
    let folder = root().join("target/train");
    let streams = ["stdout.txt", "stderr.txt"].map(|name| folder.join(name));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&streams[0])?)
        .stderr(File::create(&streams[1])?)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed().as_secs() > PROGRAM_SECONDS_MAX {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} took more than {PROGRAM_SECONDS_MAX} s");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = std::fs::read_to_string(&streams[0])? + &std::fs::read_to_string(&streams[1])?;
    if !status.success() {
        bail!("{command:?} failed:\n{text}");
    }
    Ok(text)
}

/// The fields of lines that begin with a mark.
fn marked(text: &str, mark: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(mark)?.1.trim_start().strip_prefix('|'));
    lines.map(|line| line.split('|').map(|field| field.trim().to_owned()).collect()).collect()
}

fn table(figures: &Figures) -> Result<String> {
    let Figures { best, recompute, accumulation, rules, zoo } = figures;
    let mut out = String::new();
    writeln!(out, "# Training\n\nWritten by `cargo xtask train`.\n\n## Steps per second\n")?;
    writeln!(
        out,
        "Adam on a squared error, float32, CPU provider, threads as ONNX Runtime chooses; the best of {N_TURNS} turns \
         of three seconds, one program after the other. The trainer feeds and reads through Rust and keeps weights in \
         the runtime's memory; \"the same graph in Python\" is its fused graph in the loop that a Python user would \
         write; onnxsim is 0.8.1's `compile_training_loop`.\n"
    )?;
    writeln!(out, "| model | onnxfit's trainer | the same graph in Python | onnxsim | trainer / onnxsim |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (name, [trainer, graph, peer]) in best {
        let ratio = if *peer > 0.0 { format!("{:.2}", trainer / peer) } else { "–".to_owned() };
        let shown = |steps: f64| if steps > 0.0 { format!("{steps:.0}") } else { "fails".to_owned() };
        writeln!(out, "| {name} | {} | {} | {} | {ratio} |", shown(*trainer), shown(*graph), shown(*peer))?;
    }
    writeln!(
        out,
        "\n## Recompute\n\nWith over without; CPU time in turns, the middle of nine.\n\n\
         | model | activations kept, predicted | arena peak, measured | nodes that run twice | CPU time |\n|---|---|---|---|---|"
    )?;
    for row in recompute {
        writeln!(out, "| {} |", row.iter().filter(|field| !field.is_empty()).cloned().collect::<Vec<_>>().join(" | "))?;
    }
    writeln!(
        out,
        "\n## Accumulation\n\nTen steps on 64 samples, in parts of 16, of 10 (seven, uneven) and of 1, against all at once: relative distance \
         of the parameters, and of the losses.\n\n| model and optimizer | parts | parameters | losses |\n|---|---|---|---|"
    )?;
    for line in accumulation.lines() {
        let Some((what, rest)) = line.split_once(" in parts of ") else { continue };
        let Some((parts, rest)) = rest.split_once(": parameters ") else { continue };
        let Some((parameters, losses)) = rest.split_once(", loss ") else { continue };
        writeln!(out, "| {} | {parts} | {parameters} | {losses} |", what.trim_start_matches("test ").trim())?;
    }
    writeln!(out, "\n## Gradients\n\nAgainst PyTorch's autograd and central differences.\n")?;
    for line in rules.lines().filter(|line| line.contains("compared; worst")) {
        writeln!(out, "- rules: {}", line.trim())?;
    }
    writeln!(out, "\n| architecture | gradients | worst relative error |\n|---|---|---|")?;
    for line in zoo.lines() {
        let Some((name, rest)) = line.split_once(": ") else { continue };
        let Some((n_gradients, rest)) = rest.split_once(" gradients, worst ") else { continue };
        let worst = rest.split(',').next().unwrap_or(rest);
        writeln!(out, "| {name} | {n_gradients} | {worst} |")?;
    }
    Ok(out)
}
