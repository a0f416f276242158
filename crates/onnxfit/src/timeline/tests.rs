use onnxfit_base::Bytes;
use onnxfit_report::check::CheckView;

use crate::{Model, Provider, Request};

fn check(example: &str, provider: Provider, dims: &[(&str, i64)]) -> CheckView {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let model = Model::open(root.join(format!("{example}/model.onnx"))).unwrap();
    let request = dims.iter().fold(Request::new(provider), |request, (name, size)| request.dim(name, *size));
    crate::check(&model, &request).unwrap()
}

#[test]
fn at_every_step_tensors_and_the_unoccupied_bytes_sum_to_what_is_in_use() {
    for provider in [Provider::Cpu, Provider::Cuda] {
        let view = check("distilbert_base_cls", provider, &[("batch_size", 4), ("sequence_length", 64)]);
        let timeline = &view.timeline;
        assert!(timeline.steps.len() > 100, "{}", timeline.steps.len());
        for (index, step) in timeline.steps.iter().enumerate() {
            let alive: Bytes = timeline.alive(index).map(|tensor| tensor.bytes.0).sum();
            assert_eq!(alive + step.gap_bytes.0, step.in_use_bytes.0, "{provider:?} step {index}");
            assert!(step.in_use_bytes <= step.held_bytes, "{provider:?} step {index}");
        }
    }
}

#[test]
fn the_timeline_and_the_answer_agree() {
    let view = check("resnet50", Provider::Cuda, &[("batch", 8), ("height", 224), ("width", 224)]);
    let timeline = &view.timeline;
    let most = view.arena.runs.iter().map(|run| run.peak_in_use_bytes).max().unwrap();
    assert_eq!(timeline.steps[timeline.peak_step].in_use_bytes, most);
    assert_eq!(timeline.steps[0].in_use_bytes, view.arena.load.in_use_bytes);
    let runs = view.arena.runs;
    assert_eq!(timeline.steps.last().unwrap().held_bytes, runs.last().unwrap().total_bytes);
    for (index, run) in runs.iter().enumerate() {
        let name = format!("run {}", index + 1);
        let is_drawn = timeline.phases.iter().any(|phase| phase.name == name);
        assert!(is_drawn || run.total_bytes == runs[index - 1].total_bytes, "{name} is left out and was not the same");
    }
}

#[test]
fn a_run_like_the_one_before_is_drawn_once() {
    let view = check("resnet50", Provider::Cpu, &[("batch", 2), ("height", 224), ("width", 224)]);
    let phases: Vec<&str> = view.timeline.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(view.arena.runs[1].total_bytes, view.arena.runs[2].total_bytes);
    assert_eq!(phases, ["load", "run 1", "run 2"]);
}

#[test]
fn the_parts_at_the_peak_sum_to_it_by_tensor_and_by_layer() {
    for (example, dims) in [
        ("resnet50", &[("batch", 8), ("height", 224), ("width", 224)][..]),
        ("distilbert_base_cls", &[("batch_size", 4), ("sequence_length", 64)][..]),
    ] {
        let view = check(example, Provider::Cuda, dims);
        let most = view.arena.runs.iter().map(|run| run.peak_in_use_bytes.0).max().unwrap();
        assert_eq!(view.peak.live.iter().map(|live| live.bytes.0).sum::<Bytes>(), most, "{example}");
        assert_eq!(view.peak.layers.iter().map(|layer| layer.bytes.0).sum::<Bytes>(), most, "{example}");
        // A memory pattern's block is told apart into what lies in it.
        let block = view.peak.live.iter().filter(|live| live.tensor == "memory pattern gap").map(|live| live.bytes.0);
        assert!(block.sum::<Bytes>().get() * 2 < most.get(), "{example}");
    }
}
