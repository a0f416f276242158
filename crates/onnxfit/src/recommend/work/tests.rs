use onnxfit_hardware::gpus;

use super::*;
use crate::{Model, Provider, Request};

/// The work of a model that is written as text.
fn work_of(text: &str) -> Work {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    let proto = onnxfit_onnx::text::parse(text).expect("it is well written");
    std::fs::write(&path, prost::Message::encode_to_vec(&proto)).expect("it can be written");
    let model = Model::open(&path).expect("it is a model");
    let request = Request::new(Provider::Cuda);
    let twin = crate::twin::Twin::new(model.graph(), &request);
    Work::of(twin.graph(), &twin.sizes(&BTreeMap::new()))
}

#[test]
fn a_matrix_product_counts_two_operations_for_each_multiplication() {
    let work = work_of(
        r#"<ir_version: 8, opset_import: ["": 17]>
        m (float[64, 128] x, float[128, 256] w) => (float[64, 256] y) { y = MatMul(x, w) }"#,
    );
    assert_eq!(work.operations(), 2.0 * 64.0 * 128.0 * 256.0);
    assert_eq!(work.bytes(), 4.0 * (64.0 * 128.0 + 128.0 * 256.0 + 64.0 * 256.0));
}

#[test]
fn a_grouped_convolution_counts_the_channels_of_its_group() {
    let work = work_of(
        r#"<ir_version: 8, opset_import: ["": 17]>
        m (float[1, 32, 56, 56] x, float[64, 8, 3, 3] w) => (float[1, 64, 54, 54] y)
        { y = Conv <group = 4> (x, w) }"#,
    );
    assert_eq!(work.operations(), 2.0 * 64.0 * 54.0 * 54.0 * 8.0 * 9.0);
}

#[test]
fn a_view_costs_nothing_and_a_lookup_reads_what_it_writes() {
    let work = work_of(
        r#"<ir_version: 8, opset_import: ["": 17]>
        m (float[50000, 768] table, int64[128] ids) => (float[128, 768] y) {
            g = Gather (table, ids)
            y = Identity (g)
        }"#,
    );
    assert_eq!(work.bytes(), 2.0 * 4.0 * 128.0 * 768.0);
}

#[test]
fn a_faster_gpu_takes_less_time_and_a_share_of_one_takes_longer() {
    let work = work_of(
        r#"<ir_version: 8, opset_import: ["": 17]>
        m (float[4096, 4096] x, float[4096, 4096] w) => (float[4096, 4096] y) { y = MatMul(x, w) }"#,
    );
    let seconds = |key: &str, share: f64| {
        let gpu = gpus().iter().find(|gpu| gpu.key == key).expect("it is known");
        work.seconds_on(gpu, share).expect("it has a data sheet")
    };
    assert!(seconds("H100-80", 1.0) < seconds("A10G", 1.0));
    assert!(seconds("A10G", 1.0) < seconds("T4", 1.0));
    assert!(seconds("L4", 0.125) > 7.0 * seconds("L4", 1.0));
    // 137 billion operations at half of 8.1 tera.
    assert!((seconds("T4", 1.0) - 0.03394).abs() < 1e-4, "{}", seconds("T4", 1.0));
}
