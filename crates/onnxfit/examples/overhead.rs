//! The guard beside the plain session when nothing fails: `cargo xtask overhead` writes what this
//! prints for each model given as `FILE:DIM=N,DIM=N`.
//!
//! Both run the same inputs in turn, block by block; processor time of each block and the middle of
//! the ratios of neighbouring runs' wall time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use onnxfit::runtime::guard::Guard;
use onnxfit::runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit::runtime::{ElementType, Library, Session, Tensors, locate};
use onnxfit::{Bytes, GuardSetup, Model, Provider, Quiet, Request, guard_plan, write_runnable};
use onnxfit_graph::Dim;

/// Seconds that each side runs for one model.
const SECONDS: f64 = 6.0;

fn main() {
    let mut stdout = std::io::stdout().lock();
    for argument in std::env::args().skip(1) {
        let line = match measured(&argument) {
            Ok(line) => line,
            Err(error) => format!("| {argument} | {error} |"),
        };
        // Nobody is left to tell if stdout is closed.
        let _ = writeln!(stdout, "{line}");
        let _ = stdout.flush();
    }
}

fn measured(argument: &str) -> Result<String, Box<dyn std::error::Error>> {
    let (file, sizes) = argument.rsplit_once(':').ok_or("write it as FILE:DIM=N,DIM=N")?;
    let sizes: BTreeMap<&str, i64> = sizes
        .split(',')
        .filter_map(|size| size.split_once('='))
        .map(|(dim, n)| Ok((dim, n.parse()?)))
        .collect::<Result<_, std::num::ParseIntError>>()?;
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let found = locate::find(&locate::Places::of_this_process());
    let library = Library::load(found.library().ok_or("no ONNX Runtime was found")?)?;
    let folder = std::env::temp_dir().join(format!("onnxfit-overhead-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let model = write_runnable(&Model::open(file)?, 7, &folder.join("model.onnx"), &Quiet)?;
    let mut request = Request::new(Provider::Cpu);
    request.n_threads = 1;
    let inputs = made_up(&model, &sizes)?;
    // A limit far away: the guard asks before each run and is told that all is well.
    let setup = GuardSetup { limit: Some(Bytes::gib(64)), ..GuardSetup::default() };
    let plan = guard_plan(&model, &request, &setup)?;
    let spec = plan.spec.clone();
    let mut guard = Guard::open(library, &plan.spec, plan.options)?;
    let mut plain = Session::open(library, &spec)?;
    let asked = asked(&mut guard, &inputs);
    let (mut cpu, mut ratios, mut n_runs) = ([0.0; 2], Vec::new(), 0u64);
    for _ in 0..3 {
        guard.run(&inputs)?;
        plain.run(&inputs)?;
    }
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < 2.0 * SECONDS {
        // A block is long enough for the clock that counts processor time in hundredths.
        let first = Instant::now();
        plain.run(&inputs)?;
        let block = (0.5 / first.elapsed().as_secs_f64()).clamp(1.0, 100_000.0) as usize;
        let mut walls = [Vec::new(), Vec::new()];
        for side in [0, 1] {
            let start = cpu_seconds();
            for _ in 0..block {
                let one = Instant::now();
                match side {
                    0 => drop(plain.run(&inputs)?),
                    _ => drop(guard.run(&inputs)?),
                }
                walls[side].push(one.elapsed().as_secs_f64());
            }
            cpu[side] += cpu_seconds() - start;
        }
        n_runs += block as u64;
        ratios.extend(walls[0].iter().zip(&walls[1]).map(|(plain, guard)| guard / plain));
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios[ratios.len() / 2];
    let _ = std::fs::remove_dir_all(&folder);
    Ok(format!(
        "| {name} | {n_runs} | {:.3} | {:.3} | {:+.2} % | {:+.2} % | {asked:.0} |",
        cpu[0] / n_runs as f64 * 1e3,
        cpu[1] / n_runs as f64 * 1e3,
        (cpu[1] / cpu[0] - 1.0) * 100.0,
        (middle - 1.0) * 100.0,
    ))
}

/// Inputs of these sizes; what is not named is 1.
fn made_up(model: &Model, sizes: &BTreeMap<&str, i64>) -> Result<Tensors, Box<dyn std::error::Error>> {
    let graph = &model.graph().graph;
    let mut specs = Vec::new();
    for id in graph.required_inputs() {
        let value = graph.value(id);
        let ty = value.ty.as_tensor().ok_or("an input is no tensor")?;
        let element_type = ty.element_type.and_then(|element_type| ElementType::from_onnx(element_type.number()));
        let dims = ty.shape.as_ref().ok_or("an input has no rank")?.iter();
        let shape = dims.map(|dim| match dim {
            Dim::Known(size) => *size,
            Dim::Symbol(name) => sizes.get(name.as_str()).copied().unwrap_or(1),
            Dim::Unknown => 1,
        });
        specs.push(InputSpec {
            name: value.name.clone(),
            element_type: element_type.ok_or("an input has no element type")?,
            shape: shape.collect(),
            role: None,
        });
    }
    Ok(make(&specs, InputOptions { seed: 1, vocab_size: Some(100) })?)
}

/// Nanoseconds that the twin takes to answer a size that it knows, everything around it included.
fn asked(guard: &mut Guard, inputs: &Tensors) -> f64 {
    const N_ASKED: u32 = 100_000;
    guard.bytes_needed(inputs);
    let began = Instant::now();
    for _ in 0..N_ASKED {
        std::hint::black_box(guard.bytes_needed(std::hint::black_box(inputs)));
    }
    began.elapsed().as_nanos() as f64 / f64::from(N_ASKED)
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = |at: usize| after.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
