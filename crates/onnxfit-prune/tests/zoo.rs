//! The proof of a cut: the whole model with the same weights set to zero answers as the pruned one
//! does, in the real ONNX Runtime, on real architectures with made-up weights.
//!
//! `ONNXFIT_ZOO=all` takes every architecture, `ONLY=name` those whose name has that in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_graph::Model;
use onnxfit_onnx::proto::ValueInfoProto;
use onnxfit_onnx::{ModelFile, RandomWeights, SaveOptions, TensorSource, save};
use onnxfit_prune::{Analysis, CuttingSource, Pruned};
use onnxfit_rewrite::inline::inline_functions;
use onnxfit_rewrite::weight_roles::roles;
use onnxfit_runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::{ElementType, Library, OptimizationLevel, Session, SessionSpec, Tensors, locate};
use onnxfit_shape::{Bindings, infer};

/// Run without asking: a minute of one core together.
const QUICK: [&str; 8] = [
    "bilstm_tagger",
    "densenet121",
    "distilbert_base_cls",
    "mobilenetv3_large",
    "resnet18",
    "shufflenet_v2",
    "swin_t_dynamo",
    "yolov8n",
];

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

fn graphs() -> PathBuf {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    shared.join("zoo/graphs")
}

/// Two of five atoms of each group, other ones for each group.
fn choice(analysis: &Analysis) -> Vec<usize> {
    let mut removed = Vec::new();
    for (number, group) in analysis.groups.iter().enumerate() {
        let n_removed = (group.atoms.len() * 2 / 5).max(1).min(group.atoms.len() - 1);
        let mut order: Vec<(usize, usize)> =
            group.atoms.iter().map(|atom| ((atom * 7919 + number * 104_729) % 10_007, *atom)).collect();
        order.sort_unstable();
        removed.extend(order.into_iter().take(n_removed).map(|(_, atom)| atom));
    }
    removed
}

fn bindings(path: &Path) -> Bindings {
    let text = std::fs::read_to_string(path.with_extension("meta.json")).unwrap_or_default();
    let meta: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let sizes = meta["variants"][0].as_object().cloned().unwrap_or_default();
    let long = |name: &str| match name {
        "h" => "height".to_owned(),
        "w" => "width".to_owned(),
        name => name.to_owned(),
    };
    let dims = sizes.iter().filter_map(|(name, size)| Some((long(name), size.as_i64()?))).collect();
    let mut bindings = Bindings { dims, ..Bindings::default() };
    for (name, shape) in meta["shapes"].as_object().into_iter().flatten() {
        let size = |dim: &serde_json::Value| dim.as_i64().or_else(|| bindings.dims.get(dim.as_str()?).copied());
        if let Some(shape) = shape.as_array().and_then(|dims| dims.iter().map(size).collect()) {
            bindings.inputs.insert(name.clone(), shape);
        }
    }
    bindings
}

fn inputs(model: &Model, bindings: &Bindings) -> Result<Tensors, String> {
    let mut bindings = bindings.clone();
    for _ in 0..2 {
        let facts = infer(model, &bindings).graph;
        for id in model.graph.required_inputs() {
            for dim in facts.fact(id).shape.iter().flatten() {
                for symbol in dim.symbols() {
                    bindings.dims.entry(symbol.name().to_owned()).or_insert(1);
                }
            }
        }
    }
    let facts = infer(model, &bindings).graph;
    let mut specs = Vec::new();
    for id in model.graph.required_inputs() {
        let name = model.graph.value(id).name.clone();
        let fact = facts.fact(id);
        let element_type = fact.element_type.and_then(|ty| ElementType::from_onnx(ty.number()));
        let (Some(element_type), Some(shape)) = (element_type, fact.concrete()) else {
            return Err(format!("the size of `{name}` is not known"));
        };
        let shape = shape.into_iter().map(|dim| dim as i64).collect();
        specs.push(InputSpec { name, element_type, shape, role: None });
    }
    make(&specs, InputOptions::default()).map_err(|error| error.to_string())
}

struct Outcome {
    n_groups: usize,
    n_atoms: usize,
    before: u64,
    after: u64,
    worst: f64,
    kept_whole: String,
    problem: Option<String>,
}

fn proved(library: &'static Library, path: &Path) -> Result<Outcome, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = ModelFile::open(path).map_err(|error| text(&error))?;
    let model = Model::from_proto(&file.proto).map_err(|error| text(&error))?;
    let model = inline_functions(&model).map_err(|error| text(&error))?.unwrap_or(model);
    let weights = RandomWeights::new(file.weights(), 1, roles(&model));
    let analysis = Analysis::of(&model).map_err(|error| text(&error))?;
    let removed = choice(&analysis);
    let mut outcome = Outcome {
        n_groups: analysis.groups.len(),
        n_atoms: analysis.groups.iter().map(|group| group.atoms.len()).sum(),
        before: analysis.weights_bytes(&[]).get(),
        after: analysis.weights_bytes(&removed).get(),
        worst: 0.0,
        kept_whole: analysis.diagnostics.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; "),
        problem: None,
    };
    if removed.is_empty() {
        return Ok(outcome);
    }
    let masked = analysis.mask(&removed).map_err(|error| format!("mask: {error}"))?;
    let pruned = analysis.cut(&removed).map_err(|error| format!("cut: {error}"))?;
    let feeds = inputs(&model, &bindings(path))?;
    let folder = tempfile::tempdir().map_err(|error| text(&error))?;
    // Rounding to eight bits in between makes steps of the last bit's differences.
    let is_quantized = model.graph.nodes().any(|(_, node)| node.is("QuantizeLinear"));
    let exactness = if is_quantized { Exactness::Quantized } else { Exactness::Exact };
    let values = analysis.proof_values();
    let run = |name: &str, made: &Pruned| -> Result<Tensors, String> {
        let file = folder.path().join(name);
        let source: &dyn TensorSource = &CuttingSource::new(&weights, &made.cuts);
        let mut proto = made.model.to_proto();
        if let Some(graph) = &mut proto.graph {
            let declared = std::mem::take(&mut graph.output);
            graph.output = values
                .iter()
                .map(|name| {
                    let known = declared.iter().find(|output| output.name() == *name).cloned();
                    known.unwrap_or_else(|| ValueInfoProto { name: Some(name.clone()), ..Default::default() })
                })
                .collect();
        }
        save(&proto, &file, &SaveOptions::new(source)).map_err(|error| format!("{name}: {error}"))?;
        let spec = SessionSpec {
            optimization: OptimizationLevel::Basic,
            intra_op_threads: Some(1),
            ..SessionSpec::new(&file)
        };
        let mut session = Session::open(library, &spec).map_err(|error| format!("{name}: {error}"))?;
        session.run(&feeds).map_err(|error| format!("{name}: {error}"))
    };
    let expected = run("masked", &masked)?;
    let found = run("pruned", &pruned)?;
    let comparison = compare(&expected, &found, exactness);
    outcome.worst = comparison.outputs.iter().map(|output| output.relative_l2).fold(0.0, f64::max);
    let problems =
        comparison.outputs.iter().filter_map(|output| Some(format!("{}: {}", output.name, output.problem.clone()?)));
    let problems: Vec<String> = problems.collect();
    outcome.problem = (!comparison.agrees).then(|| problems.join("; "));
    Ok(outcome)
}

#[test]
fn a_pruned_architecture_answers_as_the_masked_one() {
    let Some(library) = library() else { return };
    let only = std::env::var("ONLY").ok();
    let all = std::env::var_os("ONNXFIT_ZOO").is_some();
    let Ok(entries) = std::fs::read_dir(graphs()) else {
        eprintln!("skipped: no zoo beside the repository");
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_wanted = match &only {
            Some(only) => only.split(',').any(|part| name.contains(part)),
            None => all || QUICK.contains(&name.as_str()),
        };
        if !is_wanted {
            continue;
        }
        let started = std::time::Instant::now();
        let outcome = proved(library, &path);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Err(error) => {
                eprintln!("{name}: FAILED {error} ({seconds:.1} s)");
                failures.insert(name, error);
            }
            Ok(outcome) => {
                let Outcome { n_groups, n_atoms, before, after, worst, kept_whole, problem } = outcome;
                let share = 1.0 - after as f64 / before.max(1) as f64;
                eprintln!(
                    "{name}: {n_groups} groups, {n_atoms} atoms, {:.1} MB, {:.0} % less, error {worst:.1e} {} ({seconds:.1} s) {kept_whole}",
                    before as f64 / 1e6,
                    share * 100.0,
                    if problem.is_some() { "DIFFERS" } else { "" },
                );
                if let Some(problem) = problem {
                    failures.insert(name, problem);
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{failures:#?}", failures.len());
}
