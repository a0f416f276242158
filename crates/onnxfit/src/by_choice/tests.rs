use onnxfit_runtime::locate::{Places, find};
use onnxfit_runtime::{Library, Session, SessionSpec, Tensor};

use prost::Message as _;

use super::*;
use crate::gate::{Gate, Kind};

/// Scores that are hardly apart: the least change of a weight chooses others.
const DETECTOR: &str = "<ir_version: 8, opset_import: [\"\": 17]>
    g (float[1,8] x) => (float[1,4] best, int64[1,4] places) <float[8] w = {1, 1, 1, 1, 1, 1, 1, 1}, int64[1] k = {4}> {
        near = Constant<value = float {0.0001}>()
        far = Constant<value = float {-1.0}>()
        small = Mul(x, near)
        s = Add(small, w)
        sum = ReduceSum<keepdims = 0>(s)
        is_far = Less(sum, far)
        best, places = If(is_far) <
            then_branch = none () => (float[1,4] n, int64[1,4] z) {
                n = Constant<value = float[1,4] {0, 0, 0, 0}>()
                z = Constant<value = int64[1,4] {0, 0, 0, 0}>()
            },
            else_branch = some () => (float[1,4] b, int64[1,4] p) {
                o = Mul(s, s)
                v, p = TopK(o, k)
                b = Sqrt(v)
            }
        >
    }";

/// Whether a changed detector agrees plainly, and with the original's choices; `None` without ONNX Runtime.
fn agrees(changed: &str) -> Option<(bool, bool)> {
    let Some(library) = find(&Places::of_this_process()).library().and_then(|path| Library::load(path).ok()) else {
        eprintln!("skipped: no ONNX Runtime was found");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = [("before.onnx", DETECTOR), ("after.onnx", changed)].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, onnxfit_onnx::text::parse(text).unwrap().encode_to_vec()).unwrap();
        path
    });
    let numbers = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5];
    let inputs: Tensors = [("x".to_owned(), Tensor::from_f32(vec![1, 8], &numbers).unwrap())].into_iter().collect();
    let inputs = [inputs];
    let mut run = |path: &Path, inputs: &[Tensors]| -> Result<Vec<Tensors>, RunError> {
        let mut session = Session::open(library, &SessionSpec::new(path))?;
        inputs.iter().map(|inputs| session.run(inputs)).collect()
    };
    let gate = Gate::of(Kind::Float16);
    let plain = gate.judge(&run(&before, &inputs).unwrap()[0], &run(&after, &inputs).unwrap()[0]).agrees;
    let mut runner = Runner(&mut run);
    let by_choice = ByChoice::begin(&before, folder.path(), &inputs, &mut runner).unwrap().expect("a detector chooses");
    assert_eq!(by_choice.len(), 2);
    let judged = by_choice.judge(&after, &inputs, &mut runner, &|before, after| gate.judge(before, after)).unwrap();
    // Only the models are left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    Some((plain, judged.is_some_and(|judged| judged.iter().all(|comparison| comparison.agrees))))
}

#[test]
fn rounding_that_chooses_otherwise_between_equals_is_no_fault() {
    let Some(same) = agrees(DETECTOR) else { return };
    assert_eq!(same, (true, true));
    let rounded = DETECTOR.replace("{1, 1, 1, 1, 1, 1, 1, 1}", "{1, 1.002, 1, 1, 0.999, 1, 1, 1.001}");
    assert_eq!(agrees(&rounded), Some((false, true)));
}

#[test]
fn a_fault_before_between_or_behind_choices_is_seen_all_the_same() {
    for (what, by) in [
        // Before: one weight is wrong, or the sign of all.
        ("{1, 1, 1, 1, 1, 1, 1, 1}", "{1, 1.5, 1, 1, 1, 1, 1, 1}"),
        ("Add(small, w)", "Sub(small, w)"),
        // Between: in the branch that is taken.
        ("o = Mul(s, s)", "o = Add(s, s)"),
        // Behind.
        ("b = Sqrt(v)", "b = Exp(v)"),
        ("b = Sqrt(v)", "b = Log(v)"),
        // The choice itself.
        ("TopK(o, k)", "TopK<largest = 0>(o, k)"),
        ("is_far = Less(sum, far)", "is_far = Greater(sum, far)"),
        ("{-1.0}", "{1000.0}"),
    ] {
        let changed = DETECTOR.replace(what, by);
        assert_ne!(changed, DETECTOR, "{what}");
        let Some((_, by_choice)) = agrees(&changed) else { return };
        assert!(!by_choice, "{by}");
    }
}
