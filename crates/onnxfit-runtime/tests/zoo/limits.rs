//! The smallest arena limit that runs, and the node that fails just below it.

use onnxfit_base::Bytes;
use onnxfit_runtime::{ArenaConfig, ArenaExtend, RunError, SessionSpec};
use serde_json::Value;

use crate::bench::Bench;

#[test]
fn real_architectures_run_out_where_another_harness_saw_it() {
    let Some(bench) = Bench::set_up() else { return };
    let Some(searches) = bench.lines("zoo/limits.jsonl") else { return };
    let mut equal = 0;
    let mut wrong = Vec::new();
    // Of one model there are up to four searches, so the stride is no multiple of two.
    for search in searches.iter().filter(|search| bench.row_of(search).is_some()).step_by(bench.stride(7)) {
        match check(&bench, search) {
            Ok(()) => equal += 1,
            Err(reason) => {
                wrong.push(format!("{} {} x{}: {reason}", crate::name(search), search["strategy"], search["runs"]));
            }
        }
    }
    eprintln!("{equal} limits found again, {} not", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal > 0);
}

fn check(bench: &Bench, search: &Value) -> Result<(), String> {
    run_under(bench, search, &search["min_limit"]).map_err(|error| format!("at the limit: {error}"))?;
    let error = match run_under(bench, search, &search["fails_at"]) {
        Ok(()) => return Err("runs below the limit".to_owned()),
        Err(error) => error,
    };
    let RunError::OutOfMemory(found) = &error else { return Err(error.to_string()) };
    let message = search["fail_message"].as_str().unwrap_or_default();
    let (op_type, node) = (found.op_type.as_deref().unwrap_or(""), found.node.as_deref().unwrap_or(""));
    // The message was cut when it was written down, some right after the name.
    if message.contains(&format!("{op_type} node. Name:'{node}")) {
        Ok(())
    } else {
        Err(format!("fails at {op_type} `{node}` instead of: {message}"))
    }
}

fn run_under(bench: &Bench, search: &Value, limit: &Value) -> Result<(), RunError> {
    let extend = match search["strategy"].as_str() {
        Some("kSameAsRequested") => ArenaExtend::Same,
        _ => ArenaExtend::Power,
    };
    let limit = limit.as_u64().map(Bytes);
    let cpu_arena = Some(ArenaConfig { limit, extend: Some(extend), ..ArenaConfig::default() });
    let row = bench.row_of(search).expect("only searches with a row are checked");
    let mut model = bench.open(row, &SessionSpec { cpu_arena, ..SessionSpec::default() })?;
    for _ in 0..search["runs"].as_u64().unwrap_or(1) {
        model.client.measure(&model.inputs)?;
    }
    Ok(())
}
