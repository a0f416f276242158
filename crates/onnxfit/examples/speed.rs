//! How long the memory twin takes to answer, in one process, as JSON. `cargo xtask speed` runs it beside
//! another tool's planner.
//!
//! Usage: speed MODEL N_TURNS INPUT:SHAPE... [then INPUT:AXIS...]
//!
//! The axes after `then` grow with each repetition of the repeated question. The first answer is told apart
//! from the middle of the later ones: it also builds the tables that the process keeps.
#![allow(clippy::print_stdout)] // Its answer is what it prints.

use std::collections::BTreeMap;
use std::time::Instant;

use onnxfit::{Error, Model, OptimizationLevel, Predictor, Provider, Request};

type Shapes = BTreeMap<String, Vec<i64>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("no model is named")?;
    let n_turns: usize = words.next().ok_or("no number of turns is given")?.parse()?;
    let words: Vec<String> = words.collect();
    let (first, then) = words.split_at(words.iter().position(|word| word == "then").unwrap_or(words.len()));
    let (shapes, growing) = (shapes(first)?, shapes(then.get(1..).unwrap_or_default())?);

    let cpu =
        Request { optimization: OptimizationLevel::Disable, shapes: shapes.clone(), ..Request::new(Provider::Cpu) };
    let cuda = Request { shapes, ..Request::new(Provider::Cuda).on("T4")? };
    let model = Model::open(&path)?;
    // What the other planner is asked: shapes and a placement of the graph as it is in the file.
    let (plain_first, plain) = timed(n_turns, || Predictor::new(&model, &cpu).as_requested().map(drop))?;
    let anew = anew(n_turns, &path, &cpu)?;
    let (_, whole) = timed(n_turns, || onnxfit::check(&model, &cuda).map(drop))?;
    let (_, open) = timed(n_turns, || Model::open(&path).map(drop))?;
    let predictor = Predictor::new(&model, &cpu);
    let mut sizes = cpu.shapes.clone();
    let mut again = || {
        for (input, axes) in &growing {
            let shape = sizes.get_mut(input);
            let dims = shape.into_iter().flat_map(|shape| shape.iter_mut().enumerate());
            dims.filter(|(axis, _)| axes.contains(&(*axis as i64))).for_each(|(_, dim)| *dim += 1);
        }
        predictor.at_shapes(&cpu.dims, &sizes).map(drop)
    };
    let again = if growing.is_empty() { None } else { Some(timed(n_turns, &mut again)?.1) };
    let number = |seconds: Option<f64>| seconds.map_or_else(|| "null".to_owned(), |seconds| format!("{seconds:.7}"));
    println!(
        "{{\"n_nodes\": {}, \"plain_first_seconds\": {plain_first:.7}, \"plain_seconds\": {plain:.7}, \
         \"anew_seconds\": {anew:.7}, \"whole_seconds\": {whole:.7}, \"open_seconds\": {open:.7}, \"again_seconds\": {}}}",
        model.graph().graph.n_nodes(),
        number(again)
    );
    Ok(())
}

/// Seconds of the first answer, and the middle of the later ones.
fn timed(n_turns: usize, mut ask: impl FnMut() -> Result<(), Error>) -> Result<(f64, f64), Error> {
    let mut seconds = Vec::new();
    for _ in 0..=n_turns {
        let start = Instant::now();
        ask()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let first = seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok((first, seconds.get(seconds.len() / 2).copied().unwrap_or(first)))
}

/// Seconds of the middle answer about a model that was opened just before: nothing is kept for it.
fn anew(n_turns: usize, path: &str, request: &Request) -> Result<f64, Error> {
    let mut seconds = Vec::new();
    for _ in 0..n_turns.max(1) {
        let model = Model::open(path)?;
        let start = Instant::now();
        Predictor::new(&model, request).as_requested()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied().unwrap_or_default())
}

fn shapes(words: &[String]) -> Result<Shapes, Box<dyn std::error::Error>> {
    let mut shapes = Shapes::new();
    for word in words {
        let (name, dims) = word.rsplit_once(':').ok_or("a shape is INPUT:1,2,3")?;
        let dims: Result<Vec<i64>, _> = dims.split(',').map(str::parse).collect();
        shapes.insert(name.to_owned(), dims?);
    }
    Ok(shapes)
}
