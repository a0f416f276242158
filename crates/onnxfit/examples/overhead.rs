//! The guard beside the plain session when nothing fails: `cargo xtask overhead` writes what this
//! prints for each model given as `FILE:DIM=N,DIM=N`.
//!
//! All run the same inputs in turn, in rounds of short blocks whose order changes from round to
//! round, so that whatever else the machine does falls on all; what counts is the middle of the
//! rounds' ratios, of the thread's own processor time and of wall time.
//!
//! Plain is the guard's own session called past the guard, for where a session's weights happen to
//! lie makes two loads of one model differ by more than the guard costs. How much they differ is the
//! noise: a second plain session, loaded alike, against the first.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use onnxfit::runtime::guard::Guard;
use onnxfit::runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit::runtime::{ElementType, Library, Session, Tensors, locate};
use onnxfit::{Bytes, GuardSetup, Model, Provider, Quiet, Request, guard_plan, write_runnable};
use onnxfit_graph::Dim;

/// Seconds that all sides together run for one model.
const SECONDS: f64 = 15.0;
/// Seconds of one block; a run that is longer is one.
const BLOCK_SECONDS: f64 = 0.02;

const PLAIN: usize = 0;
const GUARDED: usize = 1;
const OTHER: usize = 2;
/// Each side is as often first, second and last, and follows each other as often.
const ORDERS: [[usize; 3]; 6] = [
    [PLAIN, GUARDED, OTHER],
    [OTHER, GUARDED, PLAIN],
    [GUARDED, OTHER, PLAIN],
    [PLAIN, OTHER, GUARDED],
    [OTHER, PLAIN, GUARDED],
    [GUARDED, PLAIN, OTHER],
];

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
    let mut other = Session::open(library, &spec)?;
    let asked = asked(&mut guard, &inputs);
    for _ in 0..3 {
        guard.run(&inputs)?;
        other.run(&inputs)?;
    }
    let first = Instant::now();
    other.run(&inputs)?;
    let block = (BLOCK_SECONDS / first.elapsed().as_secs_f64()).clamp(1.0, 1_000.0) as usize;
    let (mut cpu, mut wall, mut n_rounds) = (<[Vec<f64>; 3]>::default(), <[Vec<f64>; 3]>::default(), 0);
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < SECONDS {
        for side in ORDERS[n_rounds % ORDERS.len()] {
            let (start, start_cpu) = (Instant::now(), cpu_seconds());
            for _ in 0..block {
                match side {
                    PLAIN => drop(guard.session_mut().run(&inputs)?),
                    GUARDED => drop(guard.run(&inputs)?),
                    _ => drop(other.run(&inputs)?),
                }
            }
            cpu[side].push((cpu_seconds() - start_cpu) / block as f64);
            wall[side].push(start.elapsed().as_secs_f64() / block as f64);
        }
        n_rounds += 1;
    }
    let _ = std::fs::remove_dir_all(&folder);
    let percent = |of: &[Vec<f64>; 3], side: usize| {
        (middle(of[PLAIN].iter().zip(&of[side]).map(|(plain, other)| other / plain).collect()) - 1.0) * 100.0
    };
    let more: Vec<f64> = cpu[PLAIN].iter().zip(&cpu[GUARDED]).map(|(plain, guarded)| guarded - plain).collect();
    Ok(format!(
        "| {name} | {} | {:.3} | {:+.1} | {:+.2} % | {:+.2} % | {:+.2} % | {:+.2} % | {asked:.0} |",
        n_rounds * block,
        middle(cpu[PLAIN].clone()) * 1e3,
        middle(more) * 1e6,
        percent(&cpu, GUARDED),
        percent(&wall, GUARDED),
        percent(&cpu, OTHER),
        percent(&wall, OTHER),
    ))
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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

/// Processor time of this thread, which runs all: the sessions have one thread.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
