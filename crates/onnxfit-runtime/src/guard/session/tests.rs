use onnxfit_base::Bytes;

use super::*;
use crate::spec::{ArenaConfig, ArenaExtend};
use crate::test_library::{ModelFile, library, write_model};
use crate::tiny_model::{Message, model, node, value_info};
use crate::{Library, Outputs};

/// `y = Exp(x) * Relu(x W)` with a 64 by 64 weight, `z` the sum of each row, `w` the weight.
fn row_model() -> Vec<u8> {
    let raw: Vec<u8> = (0..64 * 64).flat_map(|at| (((at * 7 % 13) as f32 - 6.0) / 64.0).to_le_bytes()).collect();
    let weight = Message::default().number(1, 64).number(1, 64).number(2, 1).text(8, "weight").bytes(9, &raw);
    let axes = Message::default().text(1, "axes").number(8, 1).number(20, 7);
    model(
        &[
            node("MatMul", "project", &["x", "weight"], &["h"]),
            node("Relu", "relu", &["h"], &["r"]),
            node("Exp", "exp", &["x"], &["e"]),
            node("Mul", "product", &["e", "r"], &["y"]),
            node("ReduceMax", "widest", &["y"], &["z"]).message(5, &axes),
            node("Identity", "same", &["weight"], &["w"]),
        ],
        &[weight],
        &[value_info("x", 1, &[-1, 64])],
        &[value_info("y", 1, &[-1, 64]), value_info("z", 1, &[-1, 1]), value_info("w", 1, &[64, 64])],
    )
}

fn rows(count: u64) -> Tensors {
    let values: Vec<f32> = (0..count * 64).map(|at| ((at * 31 % 101) as f32 - 50.0) / 25.0).collect();
    [("x".to_owned(), Tensor::from_f32(vec![count, 64], &values).expect("rows of 64"))].into_iter().collect()
}

fn cut() -> Cut {
    let axes = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0)).collect();
    Cut { dim: "n".to_owned(), inputs: axes(&["x"]), outputs: axes(&["y", "z"]), shapes_follow: true }
}

/// Four values of a row at once, beside 16 KiB that loading takes.
struct Rough;

impl BytesNeeded for Rough {
    fn bytes_needed(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        let row: u64 = sizes.iter().product();
        Some(Bytes(40_000 + rows * row * 4 * 3))
    }
}

fn spec(file: &ModelFile, limit: Option<u64>) -> SessionSpec {
    let cpu_arena = limit.map(|limit| ArenaConfig {
        limit: Some(Bytes(limit)),
        extend: Some(ArenaExtend::Same),
        ..ArenaConfig::default()
    });
    SessionSpec { intra_op_threads: Some(1), cpu_arena, ..SessionSpec::new(&file.path) }
}

fn guard(library: &'static Library, file: &ModelFile, limit: Option<u64>, needs: Box<dyn BytesNeeded>) -> Guard {
    let options = GuardOptions { cut: Some(cut()), needs, ..GuardOptions::default() };
    Guard::open(library, &spec(file, limit), options).expect("a small model loads")
}

#[test]
fn answers_of_pieces_are_the_answer_of_the_whole() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let mut plain = Session::open(library, &spec(&file, None)).expect("a small model loads");
    let mut guard = guard(library, &file, Some(200_000), Box::new(Rough));
    for count in [1, 7, 100, 500, 501, 3, 2000, 1] {
        let inputs = rows(count);
        let want = plain.run(&inputs).expect("without a limit all run");
        assert_eq!(guard.run(&inputs).expect("in pieces all run"), want, "{count} rows");
    }
    let counts = guard.counts();
    assert_eq!((counts.requests, counts.cut_requests), (8, 3));
    assert!(counts.runs > 20, "{counts:?}");
}

#[test]
fn survives_running_out_of_memory_that_nobody_predicted() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let mut plain = Session::open(library, &spec(&file, None)).expect("a small model loads");
    let mut guard = guard(library, &file, Some(200_000), Box::new(NothingKnown));
    for count in [2000, 100, 900] {
        let inputs = rows(count);
        let want = plain.run(&inputs).expect("without a limit all run");
        assert_eq!(guard.run(&inputs).expect("in pieces all run"), want, "{count} rows");
    }
    let counts = guard.counts();
    assert!(counts.out_of_memory >= 2 && counts.out_of_memory <= 5, "{counts:?}");
    let stats = guard.session().arena_stats().expect("counters");
    assert!(stats.num_arena_shrinkages > 0, "{stats:?}");
}

#[test]
fn gives_way_to_others_in_its_arena_and_comes_back() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let mut sessions = Session::open_together(library, &[spec(&file, Some(400_000)), spec(&file, None)])
        .expect("two sessions in one arena load");
    let mut other = sessions.pop().expect("the second");
    let one = sessions.pop().expect("the first");
    let held = Bytes(one.arena_stats().expect("counters").in_use.get() / 2);
    let options = GuardOptions { cut: Some(cut()), needs: Box::new(Rough), held_by_others: held, ..Default::default() };
    let mut guard = Guard::over(one, options).expect("the limit is enforced");
    let inputs = rows(400);
    let want = guard.run(&inputs).expect("it fits alone");
    assert_eq!(guard.counts().runs, 1);

    let holding: Outputs = other.run_holding(&rows(250)).expect("the other takes 80 kB");
    assert_eq!(guard.run(&inputs).expect("in pieces"), want);
    let pressed = guard.counts();
    assert!(pressed.runs > 2 && pressed.out_of_memory >= 1, "{pressed:?}");

    drop(holding);
    assert_eq!(guard.run(&inputs).expect("it fits again"), want);
    assert_eq!(guard.counts().runs, pressed.runs + 1);
}

#[test]
fn a_single_row_that_does_not_fit_is_an_error_with_node_and_bytes() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let options = GuardOptions { needs: Box::new(Rough), ..GuardOptions::default() };
    let mut guard = Guard::open(library, &spec(&file, Some(100_000)), options).expect("a small model loads");
    let error = guard.run(&rows(1000)).expect_err("it may not be cut");
    let GuardError::DoesNotFit(reason) = &error else { panic!("{error}") };
    assert!(reason.failure.node.is_some() && reason.failure.requested.is_some(), "{reason:?}");
    assert!(error.is_out_of_memory());
    assert!(guard.run(&rows(10)).is_ok(), "the session is still good");
}

#[test]
fn a_limit_that_would_not_be_enforced_is_refused() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let error = Guard::open(library, &spec(&file, Some(4_096)), GuardOptions::default()).err();
    assert!(matches!(error, Some(GuardError::LimitBelowWeights { .. } | GuardError::Run(_))), "{error:?}");
}

#[test]
fn what_was_learned_survives_the_process() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let path = file.folder.path().join("limits.json");
    let open = || {
        let learned = Some(LearnedLimits { path: path.clone(), key: "rows".to_owned() });
        let options = GuardOptions { cut: Some(cut()), learned, ..GuardOptions::default() };
        Guard::open(library, &spec(&file, Some(200_000)), options).expect("a small model loads")
    };
    let inputs = rows(2000);
    let mut first = open();
    let want = first.run(&inputs).expect("in pieces");
    assert!(first.counts().out_of_memory > 0);
    drop(first);
    let mut second = open();
    assert_eq!(second.run(&inputs).expect("in pieces"), want);
    assert_eq!(second.counts().out_of_memory, 0);
    std::fs::write(&path, "no json").expect("a file");
    assert!(open().run(&inputs).is_ok(), "a damaged file is forgotten knowledge");
}

#[test]
fn memory_is_flat_over_requests_of_random_sizes() {
    let Some(library) = library() else { return };
    let file = write_model(&row_model());
    let mut guard = guard(library, &file, Some(300_000), Box::new(Rough));
    let mut state = 1u64;
    for _ in 0..300 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        guard.run(&rows(1 + (state >> 33) % 900)).expect("all run");
    }
    let stats = guard.session().arena_stats().expect("counters");
    assert_eq!(stats.in_use, guard.own_bytes);
    assert!(stats.total_allocated <= Bytes(300_000));
}
