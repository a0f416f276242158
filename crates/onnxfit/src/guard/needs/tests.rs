use onnxfit_onnx::text;

use super::*;
use crate::twin::Twin;

pub(crate) const TAGGER: &str = "g (float[batch, seq, 32] x) => (float[batch, seq, 8] y)
    <float[32, 64] w, float[64, 64] u, float[64, 8] v> {
        a = MatMul(x, w)
        b = Relu(a)
        c = MatMul(b, u)
        d = Softmax(c)
        e = Add(d, b)
        f = MatMul(e, v)
        y = Softmax(f)
    }";

/// A model of the text syntax with made-up weights, in a folder of its own.
pub(crate) fn runnable(source: &str) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bare = folder.path().join("bare.onnx");
    let proto = text::parse(source).expect("the fixture parses");
    std::fs::write(&bare, prost::Message::encode_to_vec(&proto)).expect("a file");
    let bare = Model::open(&bare).expect("the fixture is a model");
    let path = folder.path().join("model.onnx");
    let model = crate::write_runnable(&bare, 7, &path, &crate::Quiet).expect("weights are made up");
    (folder, model)
}

pub(crate) fn cut_of_tagger() -> Cut {
    let axes = |name: &str| [(name.to_owned(), 0)].into_iter().collect();
    Cut { dim: "batch".to_owned(), inputs: axes("x"), outputs: axes("y"), shapes_follow: true }
}

#[test]
fn the_smallest_limit_is_found_to_a_fraction() {
    let (_folder, model) = runnable(TAGGER);
    let request = Request::new(Provider::Cpu);
    let needs = TwinNeeds::new(&model, &request, Some(&cut_of_tagger()));
    let graph = session_graph(model.graph(), model.file().weights(), &request).model;
    for (rows, seq) in [(1, 16), (7, 16), (200, 5), (64, 128)] {
        let need = needs.bytes_needed(&[1, seq, 32], rows).expect("all sizes are known");
        let bound = needs.bytes_bound(&[1, seq, 32], rows).expect("all sizes are known");
        assert!(need <= bound && bound.get() <= need.get() * 13 / 10 + 4096, "{need} {bound}");
        let request = request.clone().dim("batch", rows as i64).dim("seq", seq as i64);
        let twin = Twin::new(&graph, &request);
        assert!(twin.held_under(&request.dims, Some(need)).is_some());
        let less = Bytes(need.get() - need.get() / 50);
        assert!(twin.held_under(&request.dims, Some(less)).is_none(), "{rows} rows run in {less} of {need}");
    }
}

#[test]
fn what_was_asked_once_is_not_replayed_again() {
    let (_folder, model) = runnable(TAGGER);
    let needs = TwinNeeds::new(&model, &Request::new(Provider::Cpu), Some(&cut_of_tagger()));
    for rows in 1..=64 {
        for seq in 1..=6 {
            needs.bytes_bound(&[1, seq, 32], rows).expect("all sizes are known");
        }
    }
    // Eight steps for every doubling of each: 384 sizes are bounded by half as many.
    let n_replayed = needs.n_replayed();
    assert!(n_replayed < 200, "{n_replayed}");
}

#[test]
fn rounds_up_by_an_eighth_at_most() {
    for size in 1..10_000u64 {
        let up = step_up(size);
        assert!(up >= size && up - size <= size / 8, "{size} {up}");
        assert_eq!(step_up(up), up);
    }
    assert_eq!(step_up(0), 0);
}

#[test]
fn sizes_of_another_model_are_not_known() {
    let (_folder, model) = runnable(TAGGER);
    let needs = TwinNeeds::new(&model, &Request::new(Provider::Cpu), None);
    assert_eq!(needs.bytes_needed(&[1, 2], 3), None);
    assert_eq!(needs.bytes_bound(&[1, 2], 3), None);
    assert!(needs.bytes_needed(&[5, 16, 32], 1).is_some());
}
