//! `cargo xtask speed`: how long the whole prediction takes, and `onnxsim`'s activation planner on
//! the same graphs at the same sizes, in turns on the same machine, as a table.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::runner::{release_binary, root, run};
use crate::zoo::shared;

/// What the planner needs, without what its dependencies would draw in.
const PACKAGES: [&str; 6] =
    ["onnx==1.23.2", "onnxsim==0.8.1", "numpy==2.4.6", "protobuf==7.36.2", "ml_dtypes==0.6.0", "typing_extensions"];

/// From a hundred nodes to eight thousand, with the sizes they are asked for.
const GRAPHS: [(&str, &[&str]); 10] = [
    ("resnet50", &["input:1,3,224,224"]),
    ("distilbert_base_cls", &["input_ids:1,128", "attention_mask:1,128"]),
    ("shufflenet_v2", &["input:1,3,224,224"]),
    ("clip_vit_b32_text_ts", &["input_ids:1,77", "attention_mask:1,77"]),
    ("light_densenet121", &["data_0:1,3,224,224"]),
    ("retinanet_resnet50_fpn", &["image:3,480,640"]),
    ("clip_vit_b32", &["input_ids:1,16", "attention_mask:1,16", "pixel_values:1,3,224,224"]),
    ("detr_resnet50", &["pixel_values:1,3,480,640"]),
    ("swin_t", &["input:1,3,224,224"]),
    ("donut_swin_encoder", &["pixel_values:1,3,224,224"]),
];

/// Turns of each; the middle one counts.
const N_TURNS: usize = 5;

struct Row {
    graph: String,
    n_nodes: u64,
    /// The whole process, the file read and the answer printed.
    check_seconds: f64,
    check_user_seconds: f64,
    /// The planner's call alone, in a warm interpreter with the file read.
    plan_seconds: f64,
    /// The planner's whole process.
    process_seconds: f64,
    n_unplanned: u64,
}

/// Writes `results/speed.md`.
pub(crate) fn speed() -> Result<()> {
    let binary = release_binary()?;
    let python = python()?;
    let mut rows = Vec::new();
    for (index, (graph, shapes)) in GRAPHS.iter().enumerate() {
        eprint!("\r{}/{} {graph:<30}", index + 1, GRAPHS.len());
        rows.push(time(&binary, &python, graph, shapes)?);
    }
    eprintln!();
    let text = table(&rows);
    std::fs::write(root().join("results/speed.md"), &text)?;
    println!("{text}");
    Ok(())
}

pub(crate) fn python() -> Result<std::path::PathBuf> {
    let home = root().join("target/planner");
    let python = home.join("bin/python");
    if !python.exists() {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the repository's path is no UTF-8");
        run("python3", &["-m", "venv", &text(&home)?], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--no-deps"];
        run(&text(&python)?, &[&install[..], &PACKAGES[..]].concat(), &[])?;
    }
    Ok(python)
}

fn time(binary: &Path, python: &Path, graph: &str, shapes: &[&str]) -> Result<Row> {
    let path = shared().join("zoo/graphs").join(format!("{graph}.onnx"));
    let script = root().join("crates/onnxfit/tests/peers/plan.py");
    let (mut checks, mut users, mut plans, mut processes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut n_nodes, mut n_unplanned) = (0, 0);
    for _ in 0..N_TURNS {
        let mut check = Command::new(binary);
        check.arg("check").arg(&path).args(["--on", "T4", "--json"]);
        check.args(shapes.iter().flat_map(|shape| ["--shape", shape]));
        let before = children_seconds();
        let (seconds, answer) = timed(&mut check)?;
        if let (Some(before), Some(after)) = (before, children_seconds()) {
            users.push(after - before);
        }
        checks.push(seconds);
        n_nodes = answer["n_nodes"].as_u64().with_context(|| format!("{graph}: no nodes"))?;

        let mut plan = Command::new(python);
        let (seconds, answer) = timed(plan.arg(&script).arg(&path).args(shapes))?;
        processes.push(seconds);
        plans.push(answer["plan_seconds"].as_f64().with_context(|| format!("{graph}: no plan"))?);
        n_unplanned = answer["n_unplanned"].as_u64().unwrap_or(0);
    }
    Ok(Row {
        graph: graph.to_owned(),
        n_nodes,
        check_seconds: middle(checks),
        check_user_seconds: middle(users),
        plan_seconds: middle(plans),
        process_seconds: middle(processes),
        n_unplanned,
    })
}

/// Seconds of processor time of the children that have ended; `None` where the system does not tell.
fn children_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The fields after the name in brackets; `cutime` and `cstime` are the 16th and 17th of all.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // A tick is a hundredth of a second on Linux (USER_HZ).
    Some(ticks as f64 / 100.0)
}

fn timed(command: &mut Command) -> Result<(f64, Value)> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let seconds = start.elapsed().as_secs_f64();
    if output.stdout.is_empty() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((seconds, serde_json::from_slice(&output.stdout)?))
}

fn middle(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "# How long a prediction takes\n\n\
         Made by `cargo xtask speed`: the middle of {N_TURNS} turns, each tool in turn on the same machine. \
         `onnxfit check` is the whole process for a T4 at level `all`: the file read, ONNX Runtime's rewrites, shapes, \
         placement, three runs in the arena, the answer printed. `onnxsim` 0.8.1 is `plan_activation_memory`: shapes and \
         one placement of the activations; the call alone, and its whole process with the interpreter's start. \
         Unplanned: tensors that it left out, for their size was unknown.\n\n\
         | graph | nodes | onnxfit, s | of it processor, s | onnxsim's call, s | its process, s | call / onnxfit | process / onnxfit | unplanned |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.2} | {:.3} | {:.3} | {:.1} | {:.1} | {} |",
            row.graph,
            row.n_nodes,
            row.check_seconds,
            row.check_user_seconds,
            row.plan_seconds,
            row.process_seconds,
            row.plan_seconds / row.check_seconds,
            row.process_seconds / row.check_seconds,
            row.n_unplanned
        );
    }
    let near: Vec<&Row> = rows.iter().filter(|row| (1700..=2700).contains(&row.n_nodes)).collect();
    let slowest = near.iter().map(|row| row.check_seconds).fold(0.0, f64::max);
    let least = near.iter().map(|row| row.process_seconds / row.check_seconds).fold(f64::INFINITY, f64::min);
    let least_call = near.iter().map(|row| row.plan_seconds / row.check_seconds).fold(f64::INFINITY, f64::min);
    let _ = writeln!(
        text,
        "\nGraphs of about 2,000 nodes: {slowest:.3} s at most; against onnxsim's process at least {least:.1} times \
         faster, against its call alone {least_call:.1} times."
    );
    text
}
