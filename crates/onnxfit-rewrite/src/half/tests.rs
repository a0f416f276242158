//! Every known way to break a model by making its floats half as wide.

mod numbers;
mod types;

use expect_test::Expect;
use onnxfit_graph::Model;
use onnxfit_onnx::{WeightStore, text};

use super::{HalfOptions, HalfOutcome, HalfType, to_half};

fn options() -> HalfOptions {
    HalfOptions::new(HalfType::Float16)
}

fn outcome(model: &str, options: &HalfOptions) -> HalfOutcome {
    let proto = text::parse(model).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::from_proto(&proto).unwrap();
    to_half(&model, &WeightStore::new(""), options).unwrap()
}

fn shown(outcome: &HalfOutcome) -> String {
    let islands = outcome.report.islands.iter();
    let islands: String = islands.map(|island| format!("# {}: {}\n", island.node, island.reason)).collect();
    let printed = text::print(&outcome.model.to_proto());
    let graph = printed.split_once("\n>\n").map_or(printed.as_str(), |(_, graph)| graph);
    format!("{graph}{islands}")
}

fn check(model: &str, expected: Expect) {
    expected.assert_eq(&shown(&outcome(model, &options())));
}
