use onnxfit_onnx::text;

use super::*;

/// What is halved and doubled meets itself again only where it was even.
const MEETING: &str = r#"<ir_version: 8, opset_import: ["" : 13]>
    g (float[batch, 3, height, 8] x) => (float[batch, 6, h, 8] y) <float[4] scales = {1,1,2,1}>
    { small = MaxPool <kernel_shape = [2, 1], strides = [2, 1], ceil_mode = 1> (x)
      large = Resize <mode = "nearest"> (small, , scales)
      y = Concat <axis = 1> (x, large) }"#;

fn verdict_at(dims: &[(&str, i64)]) -> Verdict {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let path = folder.path().join("meeting.onnx");
    let proto = text::parse(MEETING).expect("the text is a model");
    std::fs::write(&path, prost::Message::encode_to_vec(&proto)).expect("the model is written");
    let model = Model::open(&path).expect("the model is sound");
    let request = Request::default().on("T4").expect("a known GPU");
    let request = dims.iter().fold(request, |request, (name, size)| request.dim(name, *size));
    check(&model, &request).expect("a question that can be asked").verdict
}

#[test]
fn sizes_that_contradict_the_graph_are_not_said_to_fit() {
    assert_eq!(verdict_at(&[("batch", 1), ("height", 8)]), Verdict::Fits);
    // Assumed to be 1, which halves to 1 and doubles to 2.
    assert_eq!(verdict_at(&[("batch", 1)]), Verdict::Unknown);
}
