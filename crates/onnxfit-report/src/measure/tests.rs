use expect_test::expect;

use super::*;

fn counters(in_use: u64, peak: u64, total: u64) -> Option<CountersView> {
    Some(CountersView {
        in_use_bytes: Size(Bytes(in_use)),
        peak_in_use_bytes: Size(Bytes(peak)),
        total_bytes: Size(Bytes(total)),
        ..CountersView::default()
    })
}

fn node(name: &str, predicted: u64, measured: u64) -> NodeView {
    NodeView {
        run: 1,
        node: name.to_owned(),
        op_type: "Conv".to_owned(),
        predicted_in_use_bytes: Some(Size(Bytes(predicted))),
        measured_in_use_bytes: Size(Bytes(measured)),
        predicted_held_bytes: Some(Size(Bytes(1 << 21))),
        measured_held_bytes: Size(Bytes(1 << 21)),
    }
}

fn view(run_peak: u64, conv_2: u64) -> MeasureView {
    let stage = |name: &str, predicted, measured| StageView { stage: name.to_owned(), predicted, measured };
    let stages = vec![
        stage("load", counters(4096, 4096, 4096), counters(4096, 4096, 4096)),
        stage("run 1", counters(5000, run_peak, 2_101_248), counters(5000, 1_048_576, 2_101_248)),
        stage("run 1 released", counters(4096, run_peak, 2_101_248), counters(4096, 1_048_576, 2_101_248)),
    ];
    let nodes = vec![node("conv_1", 512_000, 512_000), node("conv_2", conv_2, 1_048_576)];
    MeasureView {
        schema: "onnxfit.measure/1",
        model: "model.onnx".to_owned(),
        provider: "cpu".to_owned(),
        ort_version: "1.31.1".to_owned(),
        dims: [("batch".to_owned(), 8)].into(),
        inputs: "inputs made up from seed 0".to_owned(),
        peaks_are_isolated: true,
        accuracy: accuracy(&stages, &nodes),
        stages,
        extensions: ExtensionsView {
            predicted_bytes: vec![Size(Bytes(2 << 20))],
            measured_bytes: vec![Size(Bytes(2 << 20))],
        },
        first_difference: nodes.iter().position(|node| !node.is_equal()),
        nodes,
        process: ProcessView::default(),
        time: TimeView { load_seconds: 0.25, run_seconds: vec![0.0125] },
        failures: FailuresView::default(),
        diagnostics: Vec::new(),
        trace: Vec::new(),
    }
}

fn text(view: &MeasureView) -> String {
    let mut out = Vec::new();
    write_text(&mut out, view, false).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn says_that_all_is_equal() {
    expect![[r#"
        model.onnx batch=8
        ONNX Runtime 1.31.1, cpu provider, inputs made up from seed 0

        arena           bytes           predicted   measured
        load            in use              4 096      4 096  equal
                        held                4 096      4 096  equal
        run 1           in use at most  1 048 576  1 048 576  equal
                        held            2 101 248  2 101 248  equal
        run 1 released  in use              4 096      4 096  equal
                        held            2 101 248  2 101 248  equal

        the arena grew by 2.00 MiB, as predicted

        nodes around the most in use; all others agree too: in use when the kernel returned, and held
          run  node    operator  predicted   measured          held
            1  conv_1  Conv        512 000    512 000  equal  equal
            1  conv_2  Conv      1 048 576  1 048 576  equal  equal
        time 250 ms load, 12.5 ms runs

        accuracy: equal to the byte: 6 of 6 figures, 2 of 2 node moments
    "#]]
    .assert_eq(&text(&view(1_048_576, 1_048_576)));
}

#[test]
fn shows_where_the_two_part() {
    expect![[r#"
        model.onnx batch=8
        ONNX Runtime 1.31.1, cpu provider, inputs made up from seed 0

        arena           bytes           predicted   measured
        load            in use              4 096      4 096    equal
                        held                4 096      4 096    equal
        run 1           in use at most  1 000 000  1 048 576  -48 576
                        held            2 101 248  2 101 248    equal
        run 1 released  in use              4 096      4 096    equal
                        held            2 101 248  2 101 248    equal

        the arena grew by 2.00 MiB, as predicted

        nodes around the first place where they part: in use when the kernel returned, and held
           run  node    operator  predicted   measured            held
             1  conv_1  Conv        512 000    512 000    equal  equal
        >    1  conv_2  Conv      1 000 000  1 048 576  -48 576  equal
        time 250 ms load, 12.5 ms runs

        accuracy: 5 of 6 figures, 1 of 2 node moments equal, peak -4.63 %; first run 1 in use at most: 1 000 000 predicted, 1 048 576 measured
    "#]].assert_eq(&text(&view(1_000_000, 1_000_000)));
}

fn step(size: i64, throughput: Option<f64>, refused: Option<&str>) -> StepView {
    let bytes = Size(Bytes(size as u64 * 1_000_000));
    StepView {
        size,
        predicted_held_bytes: bytes,
        measured_held_bytes: throughput.map(|_| bytes),
        predicted_peak_bytes: bytes,
        measured_peak_bytes: throughput.map(|_| bytes),
        latency_seconds: throughput.map(|throughput| size as f64 / throughput),
        throughput,
        refused: refused.map(str::to_owned),
    }
}

#[test]
fn the_knee_is_the_smallest_size_within_five_percent_of_the_best() {
    let steps = [
        step(1, Some(50.0), None),
        step(2, Some(90.0), None),
        step(4, Some(96.0), None),
        step(8, Some(100.0), None),
        step(16, None, Some("predicted not to fit")),
    ];
    assert_eq!(knee(&steps), Some(4));
    assert_eq!(knee(&steps[4..]), None);
    let view = SweepView {
        schema: "onnxfit.sweep/1",
        model: "model.onnx".to_owned(),
        provider: "cpu".to_owned(),
        ort_version: "1.31.1".to_owned(),
        dim: "batch".to_owned(),
        budget_bytes: Some(Size(Bytes(10_000_000))),
        largest: Some(8),
        knee: knee(&steps),
        steps: steps.to_vec(),
    };
    let mut out = Vec::new();
    write_sweep(&mut out, &view).unwrap();
    expect![[r#"
        model.onnx over batch, within 9.54 MiB
        ONNX Runtime 1.31.1, cpu provider

        batch  rows/s    ms        peak    measured        held    measured
            1   50.00  20.0  976.56 KiB  976.56 KiB  976.56 KiB  976.56 KiB  equal to the byte
            2   90.00  22.2    1.91 MiB    1.91 MiB    1.91 MiB    1.91 MiB  equal to the byte
            4   96.00  41.7    3.81 MiB    3.81 MiB    3.81 MiB    3.81 MiB  equal to the byte, knee
            8  100.00  80.0    7.63 MiB    7.63 MiB    7.63 MiB    7.63 MiB  equal to the byte
           16       -     -   15.26 MiB           -   15.26 MiB           -  predicted not to fit

        largest that ran: batch=8
        knee: batch=4; more brings less than 5 % more rows a second
    "#]]
    .assert_eq(&String::from_utf8(out).unwrap());
}
