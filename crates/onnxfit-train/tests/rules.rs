//! Every gradient rule against PyTorch's gradients, recorded in `data/rules.json`.

mod common;

use std::collections::BTreeMap;

use common::{Numbers, feeds, library, open, parse, relative_error, tensor};
use onnxfit_runtime::{ElementType, RunError, Session, Tensors};
use onnxfit_train::{BatchNorm, GradientOptions, Gradients, differentiate};
use serde_json::Value;

/// Single precision against PyTorch in double.
const TOLERANCE: f64 = 1e-4;

struct Case {
    name: String,
    text: String,
    options: GradientOptions,
    loss: f64,
    inputs: Numbers,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value["values"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("data/rules.json")).unwrap();
    let case = |case: &Value| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        text: case["model"].as_str().unwrap().to_owned(),
        options: GradientOptions {
            batch_norm: match case["batch_norm"].as_str() {
                Some("training") => BatchNorm::Training,
                _ => BatchNorm::Frozen,
            },
            ..GradientOptions::default()
        },
        loss: case["loss"].as_f64().unwrap(),
        inputs: case["inputs"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), input(value))).collect(),
        gradients: case["gradients"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), numbers(value)))
            .collect(),
    };
    all.as_array().unwrap().iter().map(case).collect()
}

fn input(value: &Value) -> (ElementType, Vec<u64>, Vec<f64>) {
    let element_type = match value["type"].as_str().unwrap() {
        "int64" => ElementType::Int64,
        "bool" => ElementType::Bool,
        _ => ElementType::Float,
    };
    let shape = value["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).collect();
    (element_type, shape, numbers(value))
}

fn gradients_of(case: &Case) -> Gradients {
    let parameters: Vec<&str> = case.gradients.keys().map(String::as_str).collect();
    differentiate(&parse(&case.text), "loss", &parameters, &case.options)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

#[test]
fn every_rule_gives_the_gradients_that_pytorch_gives() {
    let Some(library) = library() else { return };
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut failures = Vec::new();
    let mut worst: (f64, String) = (0.0, String::new());
    let mut n_gradients = 0;
    for case in cases().iter().filter(|case| case.name.contains(&only)) {
        let made = gradients_of(case);
        let outputs = open(library, &made.model).and_then(|(mut session, _folder)| session.run(&feeds(&case.inputs)));
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                failures.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        let value = |name: &str| outputs.get(name).unwrap().values().unwrap();
        let mut check = |what: String, found: &[f64], expected: &[f64]| {
            let error = if found.len() == expected.len() { relative_error(found, expected) } else { f64::INFINITY };
            n_gradients += 1;
            if error > worst.0 {
                worst = (error, format!("{} {what}", case.name));
            }
            if error > TOLERANCE {
                failures.push(format!("{} {what}: {error:.1e}", case.name));
            }
        };
        check("loss".to_owned(), &value("loss"), &[case.loss]);
        for gradient in &made.gradients {
            let shape = outputs.get(&gradient.output).unwrap().shape().to_vec();
            if shape != case.inputs[&gradient.parameter].1 {
                check(format!("shape of {}: {shape:?}", gradient.parameter), &[f64::NAN], &[1.0]);
            }
            check(gradient.parameter.clone(), &value(&gradient.output), &case.gradients[&gradient.parameter]);
        }
        if made.gradients.len() != case.gradients.len() {
            failures.push(format!("{}: unreached {:?}", case.name, made.unreached));
        }
    }
    eprintln!("{n_gradients} values compared; worst relative error {:.1e} ({})", worst.0, worst.1);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Central differences through ONNX Runtime itself, in double precision where it has kernels.
#[test]
fn every_rule_agrees_with_central_differences() {
    const STEP: f64 = 1e-5;
    const N_PLACES: usize = 4;
    let Some(library) = library() else { return };
    let (mut failures, mut n_places, mut without) = (Vec::new(), 0, Vec::new());
    let mut worst: (f64, String) = (0.0, String::new());
    for mut case in cases() {
        // Ties and kinks have no derivative to compare with.
        if case.name.contains("ties") {
            continue;
        }
        case.text = case.text.replace("float", "double").replace("Cast<to = 1>", "Cast<to = 11>");
        // The scales of the one are single precision by definition; the other computes in it.
        if case.text.contains("Resize") || case.text.contains("GroupNormalization") {
            continue;
        }
        for (element_type, _, _) in case.inputs.values_mut() {
            if *element_type == ElementType::Float {
                *element_type = ElementType::Double;
            }
        }
        let made = gradients_of(&case);
        let (mut session, _folder) = match open(library, &made.model) {
            Ok(opened) => opened,
            Err(error) if has_no_kernel(&error) => {
                without.push(case.name.clone());
                continue;
            }
            Err(error) => {
                failures.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        let outputs = match session.run(&feeds(&case.inputs)) {
            Ok(outputs) => outputs,
            Err(error) if has_no_kernel(&error) => {
                without.push(case.name.clone());
                continue;
            }
            Err(error) => {
                failures.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        for gradient in &made.gradients {
            let found = outputs.get(&gradient.output).unwrap().values().unwrap();
            let scale = found.iter().fold(1f64, |scale, value| scale.max(value.abs()));
            for place in places(found.len(), N_PLACES) {
                let mut at = |step: f64| loss_at(&mut session, &case.inputs, &gradient.parameter, place, step);
                let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                let error = (slope - found[place]).abs() / scale;
                n_places += 1;
                if error > worst.0 {
                    worst = (error, case.name.clone());
                }
                if error.is_nan() || error > 1e-6 {
                    failures
                        .push(format!("{} {}[{place}]: {slope} != {}", case.name, gradient.parameter, found[place]));
                }
            }
        }
    }
    eprintln!("{n_places} slopes compared; worst {:.1e} ({}); no double kernels: {}", worst.0, worst.1, without.len());
    eprintln!("without: {}", without.join(" "));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(n_places > 500);
}

fn has_no_kernel(error: &RunError) -> bool {
    let message = error.to_string();
    ["Could not find an implementation", "does not support double yet", "is invalid"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn places(n: usize, wanted: usize) -> Vec<usize> {
    if n <= wanted { (0..n).collect() } else { (0..wanted).map(|k| (k * 7919 + 3) % n).collect() }
}

fn loss_at(session: &mut Session, inputs: &Numbers, name: &str, place: usize, step: f64) -> f64 {
    let moved: Tensors = inputs
        .iter()
        .map(|(key, (ty, shape, values))| {
            let mut values = values.clone();
            if key == name {
                values[place] += step;
            }
            (key.clone(), tensor(*ty, shape, &values))
        })
        .collect();
    session.run(&moved).unwrap().get("loss").unwrap().values().unwrap()[0]
}
