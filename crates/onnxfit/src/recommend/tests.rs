use super::*;

/// Elementwise operators on 256 MiB a row.
fn answer(rows: u64, options: &RecommendOptions) -> RecommendView {
    let text = r#"<ir_version: 8, opset_import: ["": 17]>
        m (float[batch, 64, 1024, 1024] x) => (float[batch, 64, 1024, 1024] y) {
            a = Relu (x)
            b = Exp (a)
            c = Tanh (b)
            y = Neg (c)
        }"#;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    let proto = onnxfit_onnx::text::parse(text).expect("it is well written");
    std::fs::write(&path, prost::Message::encode_to_vec(&proto)).expect("it can be written");
    let model = Model::open(&path).expect("it is a model");
    let request = Request::new(Provider::Cuda).dim("batch", i64::try_from(rows).expect("it is small"));
    recommend(&model, &request, options).expect("it can be asked")
}

fn why(rows: u64, name: &str) -> (Option<bool>, String) {
    let options = RecommendOptions { with_fix: false, why: vec![name.to_owned()], ..RecommendOptions::default() };
    let why = answer(rows, &options).why.remove(0);
    (why.fits, format!("{} {}", why.reason, why.hint.unwrap_or_default()))
}

#[test]
fn types_that_are_too_small_as_it_is_come_with_what_fix_changes() {
    let view = answer(32, &RecommendOptions::default());
    let [fitted, whole]: [Vec<&CandidateView>; 2] =
        [false, true].map(|whole| view.instances.iter().filter(|view| view.fits_as_it_is == whole).collect());
    assert!(!fitted.is_empty() && !whole.is_empty());
    assert!(
        fitted.iter().all(|view| !view.changes.is_empty() && Some(view.budget_bytes.0) < view_least(&answer_least(32)))
    );
    assert!(whole.iter().all(|view| view.changes.is_empty()));
    assert!(view.instances.iter().filter_map(|view| view.usd_per_hour).is_sorted());
    assert_eq!(view.work.rows, 32);
}

fn answer_least(rows: u64) -> RecommendView {
    answer(rows, &RecommendOptions { with_fix: false, ..RecommendOptions::default() })
}

fn view_least(view: &RecommendView) -> Option<Bytes> {
    view.least_device_bytes.map(|least| least.0)
}

#[test]
fn without_fix_only_what_holds_it_as_it_is_is_named() {
    let view = answer_least(32);
    assert!(!view.instances.is_empty());
    assert!(view.instances.iter().all(|view| view.fits_as_it_is));
}

#[test]
fn memory_of_several_gpus_is_never_summed() {
    // Four T4 would hold it together.
    let view = answer_least(32);
    assert!(view.instances.iter().all(|view| view.gpu != "T4"));
}

#[test]
fn types_that_cannot_be_used_are_told_why() {
    for (name, words) in [
        ("inf1.xlarge", "AWS Neuron SDK"),
        ("g4ad.xlarge", "AMD GPU"),
        ("g5g.xlarge", "no onnxruntime-gpu wheel"),
        ("g6f.large", "one session gets"),
    ] {
        let (fits, reason) = why(128, name);
        assert_eq!(fits, Some(false), "{name}: {reason}");
        assert!(reason.contains(words), "{name}: {reason}");
    }
    // An older wheel runs there.
    let options =
        RecommendOptions { why: vec!["p3.2xlarge".to_owned(), "p6-b200.48xlarge".to_owned()], ..Default::default() };
    let view = answer(1, &options);
    let notes =
        |index: usize| -> Vec<&str> { view.why[index].notes.iter().map(|note| note.message.as_str()).collect() };
    assert!(notes(0).iter().any(|note| note.contains("1.26.0")), "{:?}", notes(0));
    assert!(notes(1).iter().any(|note| note.contains("does not run on `p6-b200.48xlarge`")), "{:?}", notes(1));
}

#[test]
fn a_small_request_fits_a_share_of_a_gpu_and_its_driver_is_named() {
    let view = answer(1, &RecommendOptions::default());
    let first = &view.instances[0];
    assert_eq!((first.name.as_str(), first.fits_as_it_is), ("g6f.large", true));
    assert!(first.ami.contains("GRID"));
    let whole = view.instances.iter().find(|view| view.gpu == "L4").expect("a whole L4 holds it, too");
    let speed = |view: &CandidateView| view.speed.expect("an L4 has a data sheet").inferences_per_second;
    assert!(speed(whole) > 4.0 * speed(first));
}

#[test]
fn fresh_prices_change_the_order() {
    let mut options = RecommendOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spot.json");
    let text = r#"{"SpotPriceHistory":[{"AvailabilityZone":"us-east-1c","InstanceType":"g6e.xlarge","ProductDescription":"Linux/UNIX","SpotPrice":"0.011","Timestamp":"2026-11-22T01:00:00+00:00"}]}"#;
    std::fs::write(&path, text).expect("it can be written");
    options.read_prices(&path).expect("it is read");
    options.by_spot = true;
    let view = answer(1, &options);
    assert_eq!(view.instances[0].name, "g6e.xlarge");
    assert_eq!(view.instances[0].spot_basis.as_deref(), Some("spot price history, us-east-1c, 2026-11-22"));
    assert!(options.read_prices(&folder.path().join("none.json")).is_err());
}
