use onnxfit_base::Bytes;

use super::*;
use crate::progress::Quiet;

/// Four products of 256 KiB of weights each, and a place in the middle where little goes across.
fn chain() -> (tempfile::TempDir, Model) {
    crate::guard::needs::tests::runnable(
        "g (float[batch, 256] x) => (float[batch, 256] y) {
            s = Constant<value_ints = [256, 256]>()
            w = ConstantOfShape(s)
            a = MatMul(x, w)
            b = Relu(a)
            c = MatMul(b, w)
            d = Relu(c)
            e = Add(d, a)
            y = Relu(e)
        }",
    )
}

fn options(n_stages: usize) -> SplitOptions {
    SplitOptions {
        n_stages,
        output: None,
        name: Some("chain".to_owned()),
        verify: None,
        random_weights: None,
        offline: true,
        worker: PathBuf::new(),
    }
}

#[test]
fn stages_and_traffic_are_told_without_running_anything() {
    let (_folder, model) = chain();
    let request = Request::new(Provider::Cpu).dim("batch", 4);
    let view = split(&model, &request, &options(2), &Quiet).expect("there are places for a cut");
    assert_eq!(view.stages.len(), 2);
    let n_nodes: usize = view.stages.iter().map(|stage| stage.n_nodes).sum();
    assert_eq!(n_nodes, 6, "what constants alone make is copied, not counted");
    assert!(view.traffic_bytes.0 > Bytes::ZERO);
    assert!(view.stages[1].outputs.iter().any(|output| output.is_answer));
}

#[test]
fn more_stages_than_places_are_refused() {
    let (_folder, model) = chain();
    let request = Request::new(Provider::Cpu).dim("batch", 4);
    let refused = split(&model, &request, &options(9), &Quiet).expect_err("there are six nodes");
    assert_eq!(refused.to_string(), "a graph of 6 nodes has no places for 9 stages");
}

#[test]
fn stages_want_a_gpu_each() {
    let (_folder, model) = chain();
    let request = Request::new(Provider::Cuda).on("g4dn.xlarge").expect("it is in the catalogue").dim("batch", 4);
    let view = split(&model, &request, &options(2), &Quiet).expect("there are places for a cut");
    assert!(!view.fits && view.diagnostics.iter().any(|finding| finding.id == "too-few-devices"));
    let request = Request::new(Provider::Cuda).on("g4dn.12xlarge").expect("it is in the catalogue").dim("batch", 4);
    assert!(split(&model, &request, &options(2), &Quiet).expect("four GPUs are enough").fits);
}
