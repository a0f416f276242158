use onnxfit_runtime::{ElementType, Library, Session, Tensor, Tensors, locate};

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

/// Models whose rows are called by number, repeated for, or met where no output looks.
const CUTTABLE: &[&str] = &[
    "g (float[batch, 6] x, int64[batch, 3] i) => (float[batch, 3] y)
       <int64 first = {0}, int64 one = {1}, int64 zeroth = {0}, int64[2] column = {-1, 1}, int64[1] last = {-1}> {
        s = Shape(x)
        n = Gather(s, zeroth)
        r = Range(first, n, one)
        c = Reshape(r, column)
        t = Shape(i)
        e = Expand(c, t)
        u = Unsqueeze(e, last)
        v = Unsqueeze(i, last)
        p = Concat<axis = -1>(u, v)
        y = GatherND(x, p)
    }",
    "g (float[batch, 6] x, int64[batch, 3] i) => (float[batch, 6] y)
       <int64 first = {0}, int64 one = {1}, int64 zeroth = {0}, int64[2] column = {-1, 1}, int64[1] last = {-1}> {
        s = Shape(x)
        n = Gather(s, zeroth)
        r = Range(first, n, one)
        c = Reshape(r, column)
        t = Shape(i)
        e = Expand(c, t)
        u = Unsqueeze(e, last)
        v = Unsqueeze(i, last)
        p = Concat<axis = -1>(u, v)
        g = GatherND(x, p)
        h = Neg(g)
        y = ScatterND(x, p, h)
    }",
    "g (float[batch, 6] x, int64[batch, 3] i) => (float[batch, 6] y, float[m, 6] w)
       <float[2, 6] q, int64 zeroth = {0}, int64[1] zero = {0}, int64[1] one = {1}> {
        s = Shape(x)
        n = Gather(s, zero)
        r = Concat<axis = 0>(n, one)
        w = Tile(q, r)
        a = ReduceMean(x, zero)
        d = Sub(x, a)
        t = Shape(d)
        y = Reshape(x, t)
    }",
    // The greatest of each row, by its number among the elements of all rows.
    "g (int64[batch, 3] i) => (int64[batch] y)
       <int64 first = {0}, int64 one = {1}, int64 zeroth = {0}, int64 oneth = {1}, int64[1] flat = {-1}> {
        s = Shape(i)
        n = Gather(s, zeroth)
        w = Gather(s, oneth)
        r = Range(first, n, one)
        m = Mul(r, w)
        a = ArgMax<axis = 1, keepdims = 0>(i)
        k = Add(a, m)
        f = Reshape(i, flat)
        y = Gather(f, k)
    }",
    // What is kept from an earlier call is empty in one of the branches.
    "g (bool c, float[batch, 6] x) => (float[batch, 6] y, float[k, 6] z) <int64[2] none = {0, 6}> {
        y, z = If (c) <
            then_branch = t () => (float[batch, 6] p, float[batch, 6] q) { p = Relu(x) q = Neg(x) },
            else_branch = e () => (float[batch, 6] u, float[0, 6] v) { u = Neg(x) v = ConstantOfShape(none) }
        >
    }",
];

#[test]
fn what_may_be_cut_answers_the_same_when_it_is_cut() {
    let Some(library) = library() else { return };
    for source in CUTTABLE {
        let (_folder, model) = runnable(source);
        let request = Request { n_threads: 1, ..Request::new(Provider::Cpu) };
        let plan = guard_plan(&model, &request, &GuardSetup::default()).expect("a plan");
        let cut = plan.options.cut.unwrap_or_else(|| panic!("{:?}\n{source}", plan.diagnostics));
        let mut session = Session::open(library, &plan.spec).expect("it loads");
        let x: Vec<f32> = (0..7 * 6).map(|at| at as f32).collect();
        // Each row looks elsewhere, and none twice.
        let i: Vec<i64> = (0..7).flat_map(|row| (0..3).map(move |at| (row + 2 * at) % 6)).collect();
        for c in [0, 1] {
            let all: Vec<(String, Tensor)> = vec![
                (
                    "c".to_owned(),
                    Tensor::from_bytes(ElementType::Bool, Vec::new(), vec![c]).expect("one value fills it"),
                ),
                ("x".to_owned(), Tensor::from_f32(vec![7, 6], &x).expect("the values fill it")),
                ("i".to_owned(), Tensor::from_i64(vec![7, 3], &i).expect("the values fill it")),
            ];
            let known: Vec<&str> = session.inputs().iter().map(|info| info.name.as_str()).collect();
            let all: Tensors = all.into_iter().filter(|(name, _)| known.contains(&name.as_str())).collect();
            let whole = session.run(&all).expect("it runs");
            let mut pieces = Vec::new();
            for rows in [0..1, 1..4, 4..7] {
                let part = all.iter().map(|(name, tensor)| {
                    let axis = cut.inputs.get(name);
                    let part = axis.map(|axis| tensor.slice(*axis, rows.clone()).expect("rows are there"));
                    (name.to_owned(), part.unwrap_or_else(|| tensor.clone()))
                });
                pieces.push(session.run(&part.collect()).expect("it runs"));
            }
            for (name, want) in whole.iter() {
                let parts: Vec<&Tensor> = pieces.iter().filter_map(|piece| piece.get(name)).collect();
                let got = Tensor::concatenate(&parts, cut.outputs[name]).expect("pieces join");
                assert_eq!(got, *want, "{name} of\n{source}");
            }
        }
    }
}
