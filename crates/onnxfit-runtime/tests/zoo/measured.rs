//! The arena's counters after loading and after each of three runs.

use onnxfit_runtime::{ArenaStats, Meter, SessionSpec};
use serde_json::Value;

use crate::bench::Bench;

#[test]
fn real_architectures_take_the_bytes_that_another_harness_measured() {
    let Some(bench) = Bench::set_up() else { return };
    let mut equal = 0;
    let mut wrong = Vec::new();
    for row in bench.rows.iter().step_by(bench.stride(20)) {
        match measure(&bench, row) {
            Ok(differences) if differences.is_empty() => equal += 1,
            Ok(differences) => wrong.push(format!("{}: {}", crate::name(row), differences.join(", "))),
            Err(reason) => wrong.push(format!("{}: {reason}", crate::name(row))),
        }
    }
    eprintln!("{equal} rows equal to the byte, {} not", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal > 0);
}

fn measure(bench: &Bench, row: &Value) -> Result<Vec<String>, String> {
    let mem_pattern = row["mem_pattern"].as_bool().unwrap_or(true);
    let spec = SessionSpec { meter: Meter::ArenaEachRun, mem_pattern, ..SessionSpec::default() };
    let mut model = bench.open(row, &spec).map_err(|error| error.to_string())?;
    let mut differences = Vec::new();
    let loaded = model.opened.arena.ok_or("no arena")?;
    differ("load", &loaded, loaded.max_in_use.get(), &row["arena_load"], &mut differences);
    for run in 1..=3 {
        let measured = model.client.measure(&model.inputs).map_err(|error| error.to_string())?.measured;
        let arena = measured.arena_with_outputs.ok_or("no arena")?;
        let peak = measured.trace.ok_or("no trace")?.peak_in_use;
        differ(&format!("run {run}"), &arena, peak.get(), &row[format!("arena_run{run}")], &mut differences);
    }
    Ok(differences)
}

fn differ(when: &str, have: &ArenaStats, peak: u64, want: &Value, differences: &mut Vec<String>) {
    for (key, have) in [
        ("in_use", have.in_use.get()),
        ("total", have.total_allocated.get()),
        ("max_in_use", peak),
        ("n_allocs", have.num_allocs),
        ("n_reserves", have.num_reserves),
        ("n_ext", have.num_arena_extensions),
    ] {
        if want[key].as_u64() != Some(have) {
            differences.push(format!("{when} {key} is {have} instead of {}", want[key]));
        }
    }
}
