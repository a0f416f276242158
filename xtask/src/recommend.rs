//! `cargo xtask recommend`: every real architecture through `onnxfit recommend`, as a table.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::runner::{release_binary, root};
use crate::zoo::{first_rows, graphs};

/// Rows of the batch that are asked for: enough that the smallest share of a GPU is too small for many.
const BATCH: &str = "64";
/// The bar for one model.
const SECONDS_MAX: f64 = 1.0;

/// Writes `results/recommend.md`; names given restrict it to those graphs.
pub(crate) fn recommend(only: &[String]) -> Result<()> {
    let binary = release_binary()?;
    let first = first_rows()?;
    let graphs = graphs()?;
    let mut text = format!(
        "# Every real architecture through `onnxfit recommend`\n\n\
         Made by `cargo xtask recommend`: the whole process, best of three, no weights read, the sizes of the first \
         measured row with {BATCH} rows a batch where the batch has a name. Speeds are estimates from data sheets.\n\n\
         | graph | seconds | smallest GPU as it is | cheapest as it is | cheapest with `fix` | what `fix` changes there | rows/s* | $/million* |\n\
         |---|---:|---:|---|---|---|---:|---:|\n"
    );
    let (mut n_all, mut n_fast) = (0, 0);
    for graph in &graphs {
        let name = graph.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let (seconds, answer) = ask(&binary, graph, first.get(&name).map_or(&[], Vec::as_slice))?;
        eprintln!("{name}: {seconds:.3} s");
        n_all += 1;
        n_fast += usize::from(seconds < SECONDS_MAX);
        row(&mut text, &name, seconds, &answer);
    }
    let summary = format!("{n_fast} of {n_all} are answered in under {SECONDS_MAX:.0} s");
    text += &format!("\n{summary}\n");
    std::fs::write(root().join("results/recommend.md"), text)?;
    println!("{summary}");
    Ok(())
}

fn ask(binary: &Path, graph: &Path, first: &[String]) -> Result<(f64, Value)> {
    let mut fastest = Duration::MAX;
    let mut answer = Value::Null;
    // With the batch named, the shapes of the measured row would say otherwise.
    let is_batch = |text: &str| text.split('=').next().unwrap_or("").to_lowercase().contains("batch");
    let has_batch = first.iter().any(|argument| is_batch(argument));
    let mut arguments = Vec::new();
    for pair in first.chunks(2) {
        match pair {
            [flag, _] if flag == "--shape" && has_batch => {}
            [flag, dim] if flag == "--dim" && is_batch(dim) => {
                let name = dim.split('=').next().unwrap_or("");
                arguments.extend(["--dim".to_owned(), format!("{name}={BATCH}")]);
            }
            pair => arguments.extend(pair.iter().cloned()),
        }
    }
    for _ in 0..3 {
        let start = Instant::now();
        let output = Command::new(binary).arg("recommend").arg(graph).arg("--json").args(&arguments).output()?;
        fastest = fastest.min(start.elapsed());
        if output.stdout.is_empty() {
            bail!("{}: {}", graph.display(), String::from_utf8_lossy(&output.stderr));
        }
        answer = serde_json::from_slice(&output.stdout)?;
    }
    Ok((fastest.as_secs_f64(), answer))
}

fn row(text: &mut String, name: &str, seconds: f64, answer: &Value) {
    let instances = answer["instances"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |whole: bool| instances.iter().find(|instance| instance["fits_as_it_is"] == whole);
    let shown = |instance: Option<&Value>| match instance {
        Some(instance) => format!(
            "{} ${:.3}/h",
            instance["name"].as_str().unwrap_or("?"),
            instance["usd_per_hour"].as_f64().unwrap_or(f64::NAN)
        ),
        None => "none".to_owned(),
    };
    let cheaper = of(false).filter(|fitted| {
        let price = |instance: &Value| instance["usd_per_hour"].as_f64().unwrap_or(f64::INFINITY);
        of(true).is_none_or(|whole| price(fitted) < price(whole))
    });
    let changes = cheaper.map_or_else(String::new, |fitted| {
        let words = fitted["changes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join("; ")
    });
    let best = instances.first();
    let number = |key: &str| best.and_then(|best| best["speed"][key].as_f64()).unwrap_or(f64::NAN);
    let least = answer["least_device_bytes"]
        .as_u64()
        .map_or("none".to_owned(), |least| format!("{:.2} GiB", least as f64 / f64::from(1_u32 << 30)));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| {name} | {seconds:.3} | {least} | {} | {} | {changes} | {:.2e} | {:.2e} |",
        shown(of(true)),
        cheaper.map_or("–".to_owned(), |fitted| shown(Some(fitted))),
        number("inferences_per_second"),
        number("usd_per_million"),
    );
}
