use onnxfit_base::Bytes;

use super::*;
use crate::DiagnosticView;
use crate::blame::LayerView;
use crate::check::{ArenaView, BandView, BreakdownView, FailureView, LiveView, PeakView, TargetView};
use crate::timeline::{NodeView, PhaseView, StepView, TensorView, TimelineView};

const EVIL: &str = "</script><img src=x onerror=alert(1)>\"'&\u{2028}";

fn timeline(n_nodes: usize, name: &str) -> TimelineView {
    let mut view = TimelineView { place: "device memory", ..TimelineView::default() };
    view.nodes = (0..n_nodes)
        .map(|node| NodeView {
            name: format!("{name}/layer{}/block/Conv_{node}", node / 7),
            op_type: "Conv".to_owned(),
        })
        .collect();
    for run in 0..2 {
        view.phases.push(PhaseView { name: format!("run {}", run + 1), first_step: view.steps.len() });
        for node in 0..n_nodes {
            let step = view.steps.len();
            let bytes = Bytes(1 << (20 + node % 5)).into();
            view.steps.push(StepView {
                node: Some(node),
                in_use_bytes: bytes,
                held_bytes: Bytes(1 << 25).into(),
                ..StepView::default()
            });
            view.tensors.push(TensorView {
                name: format!("{name}/layer{}/block/Conv_{node}_output_0", node / 7),
                kind: "activation",
                node: Some(node),
                bytes,
                first_step: step,
                last_step: step,
            });
        }
    }
    view
}

fn check(n_nodes: usize, name: &str) -> CheckView {
    let text = name.to_owned();
    CheckView {
        schema: "onnxfit.check/1",
        verdict: Verdict::DoesNotFit,
        model: format!("models/{text}.onnx"),
        n_nodes,
        target: TargetView { name: text.clone(), gpu: Some(text.clone()), provider: "cuda".into(), budget_bytes: None },
        dims: [(text.clone(), 4)].into(),
        arena: ArenaView::default(),
        device_peak_bytes: BandView::default(),
        breakdown: BreakdownView::default(),
        peak: PeakView {
            node: text.clone(),
            op_type: text.clone(),
            live: vec![LiveView { tensor: text.clone(), bytes: Bytes(1).into(), producer: text.clone() }],
            block_node: text.clone(),
            dominant: format!("nothing of `{text}`"),
            layers: vec![LayerView { name: text.clone(), bytes: Bytes(1).into(), ..LayerView::default() }],
        },
        failure: Some(FailureView {
            node: text.clone(),
            op_type: text.clone(),
            requested_bytes: Bytes(1).into(),
            available_bytes: Bytes(0).into(),
            message: text.clone(),
        }),
        growth: Vec::new(),
        diagnostics: vec![DiagnosticView {
            id: "evil".to_owned(),
            severity: "warning",
            message: format!("`{text}`"),
            hint: Some(text.clone()),
        }],
        settings: vec![(text.clone(), text.clone())],
        timeline: timeline(n_nodes, name),
    }
}

fn page(view: &CheckView) -> String {
    let mut out = Vec::new();
    let environment = [(EVIL.to_owned(), EVIL.to_owned())];
    write_html(&mut out, &ReportView::of_check(view, &environment)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn names_from_a_model_never_become_markup() {
    let page = page(&check(3, EVIL));
    assert!(!page.contains("<img"), "an element was injected");
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"));
    assert!(page.contains("\\u003c/script\\u003e\\u003cimg"));
}

#[test]
fn the_names_arrive_in_the_timeline_as_they_are() {
    let page = page(&check(3, EVIL));
    let start = page.find("id=\"timelines\">").unwrap() + "id=\"timelines\">".len();
    let end = start + page[start..].find("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(&page[start..end]).unwrap();
    assert_eq!(data[0]["nodes"][0][0], format!("{EVIL}/layer0/block/Conv_0"));
    assert_eq!(data[0]["steps"].as_array().unwrap().len(), 6 * 4);
    assert_eq!(data[0]["tensors"].as_array().unwrap().len(), 6 * 6);
}

#[test]
fn a_page_loads_nothing_and_a_report_of_two_thousand_nodes_stays_small() {
    let page = page(&check(2000, "encoder/some/rather/long/prefix/as/exporters/write"));
    for forbidden in ["http://", "https://", "src=\"", "@import", "url(http", "fetch(", "XMLHttpRequest"] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(forbidden);
        assert!(!found, "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.len() < 3_000_000, "{}", page.len());
}

#[test]
fn the_script_is_small_and_free_of_markup_writing() {
    let scripts = [include_str!("chart.js"), include_str!("page.js")];
    let n_lines: usize = scripts.iter().map(|script| script.lines().count()).sum();
    assert!(n_lines < 600, "{n_lines}");
    for script in scripts {
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }
}

#[test]
fn a_measurement_comes_first_and_says_how_far_it_agrees() {
    let mut view = check(3, "net");
    (view.verdict, view.failure) = (Verdict::Unknown, None);
    let figure = |name: &str, predicted, measured| MeasuredRowView {
        name: name.to_owned(),
        predicted_bytes: Bytes(predicted).into(),
        measured_bytes: Bytes(measured).into(),
    };
    let rows = vec![figure("run 1, in use at most", 100, 100), figure("run 1, held", 256, 512)];
    let measured = MeasuredView { source: String::new(), rows };
    let mut out = Vec::new();
    write_html(&mut out, &ReportView::of_measure(&view, &measured, &[])).unwrap();
    let page = String::from_utf8(out).unwrap();
    assert!(page.contains("measured: 1 of 2 figures as predicted"));
    assert!(page.contains("measured peak") && page.contains("−256 B (−50.00 %)"));
    assert!(page.find("id=\"h-measured\"").unwrap() < page.find("id=\"h-peak\"").unwrap());
    assert!(!page.contains("could not tell"));
}
