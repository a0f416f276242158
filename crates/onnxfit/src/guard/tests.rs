use onnxfit_runtime::{Library, Session, Tensor, Tensors, locate};

use super::needs::tests::{TAGGER, runnable};
use super::*;

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

fn rows(count: u64, seq: u64) -> Tensors {
    let values: Vec<f32> = (0..count * seq * 32).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
    [("x".to_owned(), Tensor::from_f32(vec![count, seq, 32], &values).expect("the values fill it"))]
        .into_iter()
        .collect()
}

#[test]
fn a_request_runs_whole_under_the_limit_that_the_twin_names_and_in_the_fewest_pieces_above() {
    let Some(library) = library() else { return };
    let (_folder, model) = runnable(TAGGER);
    let mut request = Request::new(Provider::Cpu);
    request.n_threads = 1;
    let free = guard_plan(&model, &request, &GuardSetup::default()).expect("a plan");
    let limit = free.options.needs.bytes_needed(&[1, 64, 32], 10).expect("sizes are known");
    let mut plain = Session::open(library, &free.spec).expect("it loads");

    request.arena_limit = Some(limit);
    let plan = guard_plan(&model, &request, &GuardSetup::default()).expect("a plan");
    assert!(plan.diagnostics.is_empty());
    let mut guard = Guard::open(library, &plan.spec, plan.options).expect("it loads");
    let mut n_runs = 0;
    for (count, pieces) in [(10, 1), (9, 1), (11, 2), (20, 2), (21, 3), (1, 1), (95, 10), (10, 1)] {
        let inputs = rows(count, 64);
        let want = plain.run(&inputs).expect("without a limit all run");
        assert_eq!(guard.run(&inputs).expect("in pieces all run"), want, "{count} rows");
        n_runs += pieces;
        assert_eq!(guard.counts().runs, n_runs, "{count} rows");
    }
    assert_eq!(guard.counts().out_of_memory, 0);
}

#[test]
fn a_model_that_mixes_rows_is_not_cut_and_says_why() {
    let (_folder, model) = runnable(
        "g (float[batch, 4] x) => (float[batch, 4] y) {
            m = ReduceMean<axes = [0], keepdims = 1>(x)
            y = Sub(x, m)
        }",
    );
    let plan = guard_plan(&model, &Request::new(Provider::Cpu), &GuardSetup::default()).expect("a plan");
    assert_eq!(plan.options.cut, None);
    assert_eq!(plan.diagnostics[0].message, "the batch is not cut: `m` (ReduceMean) reduces over the rows");
}
