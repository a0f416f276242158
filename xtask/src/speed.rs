//! `cargo xtask speed`: how long the whole prediction takes, and `onnxsim`'s activation planner on
//! the same graphs at the same sizes, in turns on the same machine, as a table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::runner::{release_binary, root, run};
use crate::zoo::shared;

/// What the planner needs, without what its dependencies would draw in.
const PACKAGES: [&str; 6] =
    ["onnx==1.23.2", "onnxsim==0.8.1", "numpy==2.4.6", "protobuf==7.36.2", "ml_dtypes==0.6.0", "typing_extensions"];

/// A graph, the sizes it is asked for, and the axes that grow when the question is repeated.
type Asked = (&'static str, &'static [&'static str], &'static [&'static str]);

/// From a hundred nodes to eight thousand.
const GRAPHS: [Asked; 10] = [
    ("resnet50", &["input:1,3,224,224"], &["input:0"]),
    ("distilbert_base_cls", &["input_ids:1,128", "attention_mask:1,128"], &["input_ids:0", "attention_mask:0"]),
    ("shufflenet_v2", &["input:1,3,224,224"], &["input:0"]),
    ("clip_vit_b32_text_ts", &["input_ids:1,77", "attention_mask:1,77"], &["input_ids:0", "attention_mask:0"]),
    ("light_densenet121", &["data_0:1,3,224,224"], &[]),
    ("retinanet_resnet50_fpn", &["image:3,480,640"], &["image:1"]),
    (
        "clip_vit_b32",
        &["input_ids:1,16", "attention_mask:1,16", "pixel_values:1,3,224,224"],
        &["input_ids:0", "attention_mask:0", "pixel_values:0"],
    ),
    ("detr_resnet50", &["pixel_values:1,3,480,640"], &["pixel_values:0"]),
    ("swin_t", &["input:1,3,224,224"], &["input:0"]),
    ("donut_swin_encoder", &["pixel_values:1,3,224,224"], &["pixel_values:0"]),
];

/// Turns of each program; the middle one counts.
const N_TURNS: usize = 5;
/// Calls within a turn after the first.
const N_CALLS: usize = 9;

/// One graph; seconds are the middle of all turns.
struct Row {
    graph: &'static str,
    n_nodes: u64,
    n_unplanned: u64,
    /// Ours, the question that the planner is asked: the first call of a process, later ones about a
    /// model that was just opened, and later ones about the same model.
    plain_first: f64,
    anew: f64,
    plain: f64,
    /// The planner's call: the first of a process, and later ones.
    plan_first: f64,
    plan: f64,
    /// Ours, the whole question.
    whole: f64,
    /// Ours, the question repeated at other sizes; `None` where all sizes are fixed.
    again: Option<f64>,
    /// The whole processes: `onnxfit check`, and the planner's.
    check_process: f64,
    plan_process: f64,
}

/// Writes `results/speed.md`.
pub(crate) fn speed() -> Result<()> {
    let check = release_binary()?;
    run("cargo", &["build", "--release", "--quiet", "--package", "onnxfit", "--example", "speed"], &[])?;
    let programs = Programs { call: check.with_file_name("examples").join("speed"), check, python: python()? };
    let mut rows = Vec::new();
    for (index, asked) in GRAPHS.iter().enumerate() {
        eprint!("\r{}/{} {:<30}", index + 1, GRAPHS.len(), asked.0);
        rows.push(programs.time(asked)?);
    }
    eprintln!();
    let text = table(&rows);
    std::fs::write(root().join("results/speed.md"), &text)?;
    println!("{text}");
    Ok(())
}

pub(crate) fn python() -> Result<PathBuf> {
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

/// What is timed.
struct Programs {
    check: PathBuf,
    call: PathBuf,
    python: PathBuf,
}

impl Programs {
    fn time(&self, (graph, shapes, growing): &Asked) -> Result<Row> {
        let path = shared().join("zoo/graphs").join(format!("{graph}.onnx"));
        let script = root().join("crates/onnxfit/tests/peers/plan.py");
        let n_calls = N_CALLS.to_string();
        let (mut calls, mut plans, mut check_processes, mut plan_processes) = (vec![], vec![], vec![], vec![]);
        for _ in 0..N_TURNS {
            let mut check = Command::new(&self.check);
            check.arg("check").arg(&path).args(["--on", "T4", "--json"]);
            check_processes.push(timed(check.args(shapes.iter().flat_map(|shape| ["--shape", shape])))?.0);

            let mut call = Command::new(&self.call);
            call.arg(&path).arg(&n_calls).args(*shapes).arg("then").args(*growing);
            calls.push(timed(&mut call)?.1);

            let plan =
                |n_calls: &str| timed(Command::new(&self.python).arg(&script).arg(&path).arg(n_calls).args(*shapes));
            plan_processes.push(plan("0")?.0);
            plans.push(plan(&n_calls)?.1);
        }
        let of = |answers: &[Value], name: &str| {
            let seconds: Vec<f64> = answers.iter().filter_map(|answer| answer[name].as_f64()).collect();
            if seconds.is_empty() { None } else { Some(middle(seconds)) }
        };
        let call = |name: &str| of(&calls, name).with_context(|| format!("{graph}: no {name}"));
        let plan = |name: &str| of(&plans, name).with_context(|| format!("{graph}: no {name}"));
        Ok(Row {
            graph,
            n_nodes: calls.first().and_then(|answer| answer["n_nodes"].as_u64()).unwrap_or(0),
            n_unplanned: plans.first().and_then(|answer| answer["n_unplanned"].as_u64()).unwrap_or(0),
            plain_first: call("plain_first_seconds")?,
            anew: call("anew_seconds")?,
            plain: call("plain_seconds")?,
            plan_first: plan("plan_first_seconds")?,
            plan: plan("plan_seconds")?,
            whole: call("whole_seconds")?,
            again: of(&calls, "again_seconds"),
            check_process: middle(check_processes),
            plan_process: middle(plan_processes),
        })
    }
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

const HEAD: &str = "\
Milliseconds. *The planner's question*: shapes and memory of the graph as it is in the file, the file read before; \
onnxfit answers with the whole prediction of a CPU session with optimization off: shapes, order, plan, load and three \
runs in the arena; `onnxsim` with shapes and one placement of the activations. First: the first call of a process; \
later: the middle of the later calls. *New*: a later call about a model that was opened just before, for which nothing \
is kept. *Same*: a later call about the model of the first one, with a new predictor; the open model keeps what follows \
from its graph alone (plan, loaded arenas) and the shapes that were inferred last. *Repeated*: the same model at \
another size, the axes of the batch one larger each time. The planner keeps nothing: its later call stands against all \
three. *Whole question*: `check` for a T4 at level `all` in one process, ONNX Runtime's \
rewrites included, which the planner does not answer; against the planner's call all the same. *Processes*: \
`onnxfit check` for a T4 from its start to its end, the planner's with the interpreter's start. Unplanned: tensors that \
the planner left out, for their size was unknown.

| graph | nodes | first: onnxfit | onnxsim | times | later: onnxsim | new: onnxfit | times | same: onnxfit | times | repeated: onnxfit | times | whole: onnxfit | times | process: onnxfit | onnxsim | times | unplanned |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "# How long a prediction takes\n\nMade by `cargo xtask speed`: the middle of {N_TURNS} turns, each tool in turn \
         on the same machine, `onnxsim` 0.8.1.\n\n{HEAD}"
    );
    let ms = |seconds: f64| format!("{:.2}", seconds * 1e3);
    let times = |theirs: f64, ours: f64| format!("{:.1}", theirs / ours);
    for row in rows {
        let (again, again_times) = match row.again {
            Some(again) => (ms(again), times(row.plan, again)),
            None => ("fixed".to_owned(), "–".to_owned()),
        };
        let cells = [
            ms(row.plain_first),
            ms(row.plan_first),
            times(row.plan_first, row.plain_first),
            ms(row.plan),
            ms(row.anew),
            times(row.plan, row.anew),
            ms(row.plain),
            times(row.plan, row.plain),
            again,
            again_times,
            ms(row.whole),
            times(row.plan, row.whole),
            ms(row.check_process),
            ms(row.plan_process),
            times(row.plan_process, row.check_process),
        ];
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.graph, row.n_nodes, cells.join(" | "), row.n_unplanned);
    }
    let near: Vec<&Row> = rows.iter().filter(|row| (1700..=2700).contains(&row.n_nodes)).collect();
    let least =
        |times: &dyn Fn(&Row) -> Option<f64>| near.iter().filter_map(|row| times(row)).fold(f64::INFINITY, f64::min);
    let slowest = near.iter().map(|row| row.check_process).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\nGraphs of about 2,000 nodes: the whole process takes {slowest:.3} s at most. At least so many times faster \
         than the planner: {:.1} at the first call, {:.1} at later ones about a new model, {:.1} about the same one, \
         {:.1} when the question is repeated at another size; its call against our whole question {:.1}; process against process {:.1}.",
        least(&|row| Some(row.plan_first / row.plain_first)),
        least(&|row| Some(row.plan / row.anew)),
        least(&|row| Some(row.plan / row.plain)),
        least(&|row| row.again.map(|again| row.plan / again)),
        least(&|row| Some(row.plan / row.whole)),
        least(&|row| Some(row.plan_process / row.check_process)),
    );
    text
}
