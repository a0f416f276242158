//! A made-up report of any size, with a name in it that tries to break out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use onnxfit_base::Bytes;
use onnxfit_report::blame::LayerView;
use onnxfit_report::check::{
    ArenaView, BandView, BreakdownView, CheckView, FailureView, LiveView, PeakView, TargetView, Verdict,
};
use onnxfit_report::html::{MeasuredRowView, MeasuredView, ReportView, write_html};
use onnxfit_report::timeline::{NodeView, PhaseView, StepView, TensorView, TimelineView};
use onnxfit_report::{DiagnosticView, Size};

/// The step at which most is in use.
pub(crate) const PEAK_STEP: i64 = 5;
const EVIL: &str = "</script><img src=x onerror=\"window.hacked=1\">";

fn mib(n: u64) -> Size {
    Bytes::mib(n).into()
}

/// Writes the page.
pub(crate) fn write(file: &Path, n_nodes: usize) {
    let view = check(n_nodes);
    let measured = MeasuredView {
        source: "three runs on a machine that is not there".to_owned(),
        rows: vec![MeasuredRowView { name: "run 1".to_owned(), predicted_bytes: mib(100), measured_bytes: mib(101) }],
    };
    let environment = [("onnxfit".to_owned(), "0.0.0".to_owned())];
    let report = ReportView { measured: Some(&measured), ..ReportView::of_check(&view, &environment) };
    write_html(&mut BufWriter::new(File::create(file).unwrap()), &report).unwrap();
}

fn timeline(n_nodes: usize) -> TimelineView {
    let name = |node: usize| match node {
        4 => EVIL.to_owned(),
        node => format!("/encoder/layers.{}/block/attention/Conv_{node}", node / 9),
    };
    let peak_step = usize::try_from(PEAK_STEP).unwrap();
    let mut view = TimelineView {
        place: "device memory",
        besides_bytes: mib(432),
        budget_bytes: Some(mib(900)),
        phases: vec![PhaseView { name: "load".to_owned(), first_step: 0 }],
        nodes: (0..n_nodes).map(|node| NodeView { name: name(node), op_type: "Conv".to_owned() }).collect(),
        steps: vec![StepView { in_use_bytes: mib(100), held_bytes: mib(128), ..StepView::default() }],
        peak_step,
        failed_step: Some(peak_step),
        nodes_per_step: 1,
        ..TimelineView::default()
    };
    for run in 0..2 {
        view.phases.push(PhaseView { name: format!("run {}", run + 1), first_step: view.steps.len() });
        for node in 0..n_nodes {
            let step = view.steps.len();
            let bytes = if step == peak_step { 400 } else { 20 + 40 * (node as u64 % 5) };
            view.tensors.push(TensorView {
                name: format!("{}_output_0", name(node)),
                kind: "activation",
                node: Some(node),
                bytes: mib(bytes),
                first_step: step,
                last_step: step,
            });
            view.steps.push(StepView {
                node: Some(node),
                in_use_bytes: mib(100 + bytes + 7),
                held_bytes: mib(512 * (run + 1)),
                gap_bytes: mib(7),
            });
        }
    }
    let last_step = view.steps.len() - 1;
    view.tensors.push(TensorView {
        name: "weights.all".to_owned(),
        kind: "weight",
        node: None,
        bytes: mib(100),
        first_step: 0,
        last_step,
    });
    view
}

fn check(n_nodes: usize) -> CheckView {
    let timeline = timeline(n_nodes);
    let peak = &timeline.steps[timeline.peak_step];
    let live = |tensor: &str, bytes| LiveView { tensor: tensor.to_owned(), bytes, producer: EVIL.to_owned() };
    CheckView {
        schema: "onnxfit.check/1",
        verdict: Verdict::DoesNotFit,
        model: "models/made-up.onnx".to_owned(),
        n_nodes,
        target: TargetView {
            name: "g4dn.xlarge".to_owned(),
            gpu: Some("T4".to_owned()),
            provider: "cuda".to_owned(),
            budget_bytes: Some(mib(900)),
        },
        dims: BTreeMap::from([("batch".to_owned(), 8)]),
        arena: ArenaView::default(),
        device_peak_bytes: BandView { low: mib(800), expected: mib(939), high: mib(1000) },
        breakdown: BreakdownView {
            weights_bytes: mib(100),
            activations_bytes: mib(407),
            context_bytes: mib(432),
            ..BreakdownView::default()
        },
        peak: PeakView {
            node: EVIL.to_owned(),
            op_type: "Conv".to_owned(),
            live: vec![live(EVIL, mib(400)), live("weights.all", mib(100)), live("memory pattern", mib(7))],
            block_node: String::new(),
            dominant: format!("tensors between nodes dominate: {} of it", peak.in_use_bytes),
            layers: vec![LayerView {
                name: "encoder".to_owned(),
                bytes: peak.in_use_bytes,
                weights_bytes: mib(100),
                layers: vec![LayerView { name: EVIL.to_owned(), bytes: peak.in_use_bytes, ..LayerView::default() }],
            }],
        },
        failure: Some(FailureView {
            node: EVIL.to_owned(),
            op_type: "Conv".to_owned(),
            requested_bytes: mib(400),
            available_bytes: mib(12),
            message: format!("Non-zero status code returned while running Conv node. Name:'{EVIL}'"),
        }),
        growth: Vec::new(),
        diagnostics: vec![DiagnosticView {
            id: "made-up".to_owned(),
            severity: "warning",
            message: EVIL.to_owned(),
            hint: None,
        }],
        settings: vec![("enable_mem_pattern".to_owned(), "1".to_owned())],
        timeline,
    }
}
