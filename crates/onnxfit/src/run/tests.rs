use onnxfit_runtime::{ElementType, Library, Session, Tensor, locate};

use super::*;
use crate::Quiet;
use crate::guard::needs::tests::{TAGGER, cut_of_tagger, runnable};
use crate::request::Provider;

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

fn rows(count: u64) -> Tensors {
    let values: Vec<f32> = (0..count * 16 * 32).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
    [("x".to_owned(), Tensor::from_f32(vec![count, 16, 32], &values).expect("the values fill it"))]
        .into_iter()
        .collect()
}

fn request(limit: Option<u64>) -> Request {
    Request { arena_limit: limit.map(Bytes), n_threads: 1, ..Request::new(Provider::Cpu) }
}

fn options(folder: &Path, inputs: &Tensors) -> RunOptions {
    let path = folder.join("x.npz");
    npz::write(&path, inputs).expect("the inputs are written");
    RunOptions {
        inputs: path,
        output: folder.join("y.npz"),
        guard: GuardSetup { offline: true, ..GuardSetup::default() },
        random_weights: None,
        restart: false,
    }
}

#[test]
fn a_file_of_more_rows_than_fit_is_answered_in_order() {
    let Some(library) = library() else { return };
    let (folder, model) = runnable(TAGGER);
    let inputs = rows(3000);
    let mut plain =
        Session::open(library, &crate::session_spec(model.file().path(), &request(None))).expect("it loads");
    let want = plain.run(&inputs).expect("without a limit all run");
    let options = options(folder.path(), &inputs);
    let view = run(&model, &request(Some(2_000_000)), &options, &Quiet).expect("it runs in pieces");
    assert_eq!(npz::read(&options.output).expect("an answer"), want);
    assert_eq!((view.n_rows, view.n_rows_resumed), (Some(3000), 0));
    assert!(view.guard.n_runs > 4 && view.guard.peak_bytes.is_some_and(|peak| peak.0 <= Bytes(2_000_000)), "{view:?}");
    assert!(!folder.path().join(".y.npz.part").exists());
    let mut text = Vec::new();
    onnxfit_report::run::write_text(&mut text, &view).expect("a vector takes all");
    assert!(String::from_utf8_lossy(&text).starts_with("3000 rows in "));
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let Some(_) = library() else { return };
    let (folder, model) = runnable(TAGGER);
    let inputs = rows(300);
    let options = options(folder.path(), &inputs);
    let request = request(None);
    run(&model, &request, &options, &Quiet).expect("it runs");
    let want = npz::read(&options.output).expect("an answer");

    // What an earlier run has left: a hundred rows that are no real answers, to see them kept.
    let fake = Tensor::from_f32(vec![100, 16, 8], &[7.0; 100 * 16 * 8]).expect("the values fill it");
    let fake: Tensors = [("y".to_owned(), fake)].into_iter().collect();
    let key = key(&model, &request, &options, 300).expect("the files are there");
    let leave = || {
        let mut part = Part::open(&options.output, &key, true).expect("a folder");
        part.append(100, Some(&cut_of_tagger()), &fake).expect("a hundred rows");
        drop(part);
    };
    leave();
    let view = run(&model, &request, &options, &Quiet).expect("it goes on");
    assert_eq!(view.n_rows_resumed, 100);
    let got = npz::read(&options.output).expect("an answer");
    let (got, want) = (got.get("y").expect("y").clone(), want.get("y").expect("y").clone());
    assert_eq!(got.rows(100..300), want.rows(100..300));
    assert_eq!(got.rows(0..100).as_ref(), fake.get("y"));

    leave();
    let view = run(&model, &request, &RunOptions { restart: true, ..options.clone() }, &Quiet).expect("it runs");
    assert_eq!(view.n_rows_resumed, 0);
    assert_eq!(npz::read(&options.output).expect("an answer").get("y"), Some(&want));

    leave();
    npz::write(&options.inputs, &rows(299)).expect("other inputs");
    let view = run(&model, &request, &options, &Quiet).expect("it runs");
    assert_eq!(view.n_rows_resumed, 0, "answers to other inputs are not taken");
}

#[test]
fn a_model_that_may_not_be_cut_runs_as_one_request() {
    let Some(_) = library() else { return };
    let (folder, model) = runnable(
        "g (float[batch, 4] x) => (float[batch, 4] y) <int64[1] first = {0}> {
            m = ReduceMean(x, first)
            y = Sub(x, m)
        }",
    );
    let inputs = Tensor::from_f32(vec![2, 4], &[1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0]).expect("eight values");
    let options = options(folder.path(), &[("x".to_owned(), inputs)].into_iter().collect());
    let view = run(&model, &request(None), &options, &Quiet).expect("it runs");
    assert_eq!(view.diagnostics[0].id, "no-split");
    let got = npz::read(&options.output).expect("an answer");
    let got = got.get("y").expect("y");
    assert_eq!(got.values(), Some(vec![-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]));
    assert_eq!(got.element_type(), ElementType::Float);
}
