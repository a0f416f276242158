use onnxfit_base::Bytes;

use super::*;
use crate::spec::{ArenaConfig, ArenaExtend};
use crate::test_library::{ModelFile, library, open, write_model};
use crate::tiny_model::{Message, identity, model, node, value_info};
use crate::{OutOfMemory, OutOfMemoryForm, Tensor};

/// `y = Relu(x W) * Relu(x W)` with a 64 by 64 weight, rows left open.
fn matmul_model() -> Vec<u8> {
    let raw: Vec<u8> = (0..64 * 64).flat_map(|at| (((at * 7 % 13) as f32 - 6.0) / 64.0).to_le_bytes()).collect();
    let weight = Message::default().number(1, 64).number(1, 64).number(2, 1).text(8, "w").bytes(9, &raw);
    model(
        &[
            node("MatMul", "project", &["x", "w"], &["h"]),
            node("Relu", "relu", &["h"], &["r"]),
            node("Mul", "square", &["r", "r"], &["y"]),
        ],
        &[weight],
        &[value_info("x", 1, &[-1, 64])],
        &[value_info("y", 1, &[-1, 64])],
    )
}

/// `y = Neg(Concat(x, x))`: twice the input, then twice again.
fn concat_model() -> Vec<u8> {
    let axis = Message::default().text(1, "axis").number(3, 0).number(20, 2);
    model(
        &[node("Concat", "double", &["x", "x"], &["d"]).message(5, &axis), node("Exp", "exp", &["d"], &["y"])],
        &[],
        &[value_info("x", 1, &[-1])],
        &[value_info("y", 1, &[-1])],
    )
}

fn rows(count: u64) -> Tensors {
    let values: Vec<f32> = (0..count * 64).map(|at| (at % 17) as f32 - 8.0).collect();
    [("x".to_owned(), Tensor::from_f32(vec![count, 64], &values).expect("rows of 64"))].into_iter().collect()
}

fn floats(count: u64) -> Tensors {
    let tensor = Tensor::from_f32(vec![count], &vec![0.5; count as usize]).expect("a row");
    [("x".to_owned(), tensor)].into_iter().collect()
}

fn spec(file: &ModelFile) -> SessionSpec {
    SessionSpec { intra_op_threads: Some(1), ..SessionSpec::new(&file.path) }
}

fn capped(file: &ModelFile, limit: u64) -> SessionSpec {
    let cpu_arena =
        Some(ArenaConfig { limit: Some(Bytes(limit)), extend: Some(ArenaExtend::Same), ..ArenaConfig::default() });
    SessionSpec { cpu_arena, ..spec(file) }
}

#[test]
fn computes_what_the_model_says() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    let mut session = open(library, &spec(&file));
    let outputs = session.run(&floats(3)).expect("three floats run");
    let y = outputs.get("y").and_then(Tensor::values).expect("floats come out");
    assert_eq!(y.len(), 6);
    assert!(y.iter().all(|value| (value - 0.5f64.exp()).abs() < 1e-6), "{y:?}");
}

#[test]
fn a_capped_arena_really_runs_out_and_the_session_still_runs_a_smaller_input() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    // Concat takes 800,000 bytes, rounded to 800,000 (a multiple of 256); Exp the same again.
    let mut session = open(library, &capped(&file, 1_000_000));
    let error = session.run(&floats(100_000)).expect_err("1.6 MB do not fit 1 MB");
    let RunError::OutOfMemory(found) = &error else { panic!("{error:?}") };
    let OutOfMemory { node, op_type, form, requested, available, .. } = found.clone();
    assert_eq!((node.as_deref(), op_type.as_deref()), (Some("exp"), Some("Exp")));
    assert_eq!(form, OutOfMemoryForm::ArenaLimit);
    assert_eq!(requested, Some(Bytes(800_000)));
    assert_eq!(available, Some(Bytes((1_000_000 - 800_000) / 256 * 256)));

    assert!(session.run(&floats(1_000)).is_ok());
    let stats = session.arena_stats().expect("counters");
    assert_eq!(stats.limit, Some(Bytes(1_000_000)));
    assert!(stats.limit_is_enforced());
    assert_eq!(stats.in_use, Bytes::ZERO);
}

#[test]
fn every_session_of_a_process_has_a_limit_of_its_own() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    let mut small = open(library, &capped(&file, 100_000));
    let mut large = open(library, &capped(&file, 4_000_000));
    let mut unlimited = open(library, &spec(&file));
    assert!(small.run(&floats(100_000)).is_err_and(|error| error.is_out_of_memory()));
    assert!(large.run(&floats(100_000)).is_ok());
    assert!(unlimited.run(&floats(100_000)).is_ok());
    assert_eq!(unlimited.arena_stats().expect("counters").limit, None);
    assert_eq!(small.arena_stats().expect("counters").limit, Some(Bytes(100_000)));
}

#[test]
fn outputs_hold_their_bytes_until_they_are_dropped() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    let mut session = open(library, &spec(&file));
    let outputs = session.run_holding(&floats(1_000)).expect("a thousand floats run");
    assert_eq!(session.arena_stats().expect("counters").in_use, Bytes(8_192));
    drop(outputs);
    assert_eq!(session.arena_stats().expect("counters").in_use, Bytes::ZERO);
}

#[test]
fn each_runs_own_peak_is_seen_through_an_arena_that_counts_the_same() {
    let Some(library) = library() else { return };
    let file = write_model(&matmul_model());
    let mut plain = open(library, &spec(&file));
    let metered_spec = SessionSpec { meter: Meter::ArenaEachRun, ..spec(&file) };
    let mut metered = open(library, &metered_spec);
    let loaded = metered.take_trace().expect("a metered session traces");
    assert_eq!(metered.arena_stats(), plain.arena_stats());
    let load_peak = plain.arena_stats().expect("counters").max_in_use;
    assert_eq!(loaded.peak_in_use, load_peak);

    let mut peaks = Vec::new();
    for count in [512, 512, 8, 4096, 8] {
        assert_eq!(metered.run(&rows(count)), plain.run(&rows(count)));
        assert_eq!(metered.arena_stats(), plain.arena_stats(), "after {count} rows");
        peaks.push(metered.take_trace().expect("a metered session traces").peak_in_use);
    }
    assert!(plain.arena_stats().expect("counters").num_reserves > 0);
    let highest = plain.arena_stats().expect("counters").max_in_use;
    assert_eq!(peaks.iter().max(), Some(&highest));
    assert!(peaks[2] < peaks[1] && peaks[4] < peaks[3], "{peaks:?}");
}

#[test]
fn traces_every_request_in_order() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    let mut session = open(library, &SessionSpec { meter: Meter::Requests, mem_pattern: false, ..spec(&file) });
    session.take_trace();
    for _ in 0..2 {
        let outputs = session.run_holding(&floats(1_000)).expect("a thousand floats run");
        drop(outputs);
    }
    let trace = session.take_trace().expect("a traced session traces");
    let first = trace.events.iter().find_map(|event| match event {
        crate::AllocationEvent::Alloc { id, .. } => Some(*id),
        _ => None,
    });
    let first = first.expect("something was allocated");
    let text: Vec<String> = trace.events.iter().map(ToString::to_string).collect();
    let id = |offset: u64| first + offset;
    assert_eq!(
        text,
        [
            format!("a {} 8000", id(0)),
            format!("a {} 8000", id(1)),
            format!("f {}", id(0)),
            format!("f {}", id(1)),
            format!("a {} 8000", id(2)),
            format!("a {} 8000", id(3)),
            format!("f {}", id(2)),
            format!("f {}", id(3)),
        ]
    );
    assert_eq!((trace.in_use, trace.peak_in_use), (Bytes::ZERO, Bytes(16_000)));
}

#[test]
fn the_arenas_log_lines_are_kept_when_asked_for() {
    let Some(library) = library() else { return };
    let file = write_model(&concat_model());
    let mut session = open(library, &SessionSpec { capture_arena_log: true, ..spec(&file) });
    session.run(&floats(1_000)).expect("a thousand floats run");
    let log = session.take_arena_log();
    assert!(log.iter().any(|line| line.starts_with("Extended allocation by ")), "{log:?}");
}

#[test]
fn writes_the_optimized_model_and_a_profile() {
    let Some(library) = library() else { return };
    let file = write_model(&matmul_model());
    let optimized = file.folder.path().join("optimized.onnx");
    let mut session = open(
        library,
        &SessionSpec {
            optimized_model: Some(optimized.clone()),
            profile_prefix: Some(file.folder.path().join("profile")),
            ..spec(&file)
        },
    );
    session.run(&rows(2)).expect("two rows run");
    let profile = session.end_profiling().expect("a profile");
    let text = std::fs::read_to_string(profile).expect("a readable profile");
    assert!(text.contains("project") && text.contains("_kernel_time"));
    assert!(optimized.is_file());
}

#[test]
fn wrong_inputs_are_named() {
    let Some(library) = library() else { return };
    let file = write_model(&matmul_model());
    let mut session = open(library, &spec(&file));
    let mut say = |name: &str, tensor: Tensor| {
        let inputs: Tensors = [(name.to_owned(), tensor)].into_iter().collect();
        session.run(&inputs).map(|_| ()).expect_err("a wrong input is refused").to_string()
    };
    let integers = Tensor::from_i64(vec![1, 64], &[0; 64]).expect("a row");
    assert_eq!(say("x", integers), "input `x` is int64, but the model wants float");
    let narrow = Tensor::from_f32(vec![1, 3], &[0.0; 3]).expect("a row");
    assert_eq!(say("x", narrow.clone()), "input `x` is [1, 3], but the model wants [?, 64]");
    assert_eq!(say("z", narrow), "input `z` is none of the model's: x");
    assert_eq!(session.run(&Tensors::new()).expect_err("nothing to run on").to_string(), "input `x` is missing");
}

#[test]
fn a_file_that_is_no_model_is_an_error() {
    let Some(library) = library() else { return };
    let file = write_model(b"not a model");
    let error = Session::open(library, &spec(&file)).err().expect("text is no model");
    assert!(matches!(error, RunError::Failed { stage: Stage::Load, .. }), "{error:?}");
    let absent = SessionSpec::new(file.folder.path().join("absent.onnx"));
    assert!(Session::open(library, &absent).is_err());
}

#[test]
fn a_provider_that_is_not_there_is_an_error_and_never_the_cpu() {
    let Some(library) = library() else { return };
    let file = write_model(&identity());
    let cuda = Provider::Cuda { options: std::collections::BTreeMap::from([("device_id".into(), "63".into())]) };
    let error = Session::open(library, &SessionSpec { provider: cuda, ..spec(&file) }).err();
    assert!(matches!(error, Some(RunError::ProviderUnavailable { .. } | RunError::Failed { .. })), "{error:?}");
}

#[test]
fn every_element_type_passes_through_unchanged() {
    let Some(library) = library() else { return };
    let strings = Tensor::from_strings(vec![2], vec!["héllo".to_owned(), String::new()]).expect("two strings");
    let numbers = ElementType::ALL
        .iter()
        .filter_map(|element_type| Tensor::from_f64(*element_type, vec![2, 3], &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]));
    let mut passed = Vec::new();
    for tensor in numbers.map(|tensor| tensor.expect("six values")).chain([strings]) {
        let element_type = tensor.element_type();
        let shape: Vec<i64> = tensor.shape().iter().map(|dim| *dim as i64).collect();
        let file = write_model(&model(
            &[node("Identity", "identity", &["x"], &["y"])],
            &[],
            &[value_info("x", element_type as i32, &shape)],
            &[value_info("y", element_type as i32, &shape)],
        ));
        let mut session = open(library, &spec(&file));
        let inputs: Tensors = [("x".to_owned(), tensor.clone())].into_iter().collect();
        assert_eq!(session.run(&inputs).expect("identity runs").get("y"), Some(&tensor), "{element_type}");
        passed.push(element_type);
    }
    assert_eq!(passed.len(), 14, "{passed:?}");
}
