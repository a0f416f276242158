//! Every request that the kernels and the planner make, in order.

use std::collections::BTreeMap;
use std::process::Command;

use onnxfit_runtime::{AllocationEvent, Meter, SessionSpec};
use serde_json::Value;

use crate::bench::Bench;

#[test]
fn real_architectures_ask_for_the_bytes_that_another_harness_traced() {
    let Some(bench) = Bench::set_up() else { return };
    // A trace is of a graph's first variant.
    let mut first: BTreeMap<String, &Value> = BTreeMap::new();
    for row in &bench.rows {
        first.entry(format!("{} {}", row["model"], row["opt"])).or_insert(row);
    }
    let mut equal = 0;
    let mut wrong = Vec::new();
    for row in first.values().step_by(bench.stride(9)) {
        let Some(want) = bench.trace(row) else { continue };
        match trace(&bench, row) {
            Ok(have) if have == want => equal += 1,
            Ok(have) => {
                let at = have.iter().zip(&want).take_while(|(have, want)| have == want).count();
                wrong.push(format!("{}: at {at}, {:?} instead of {:?}", crate::name(row), have.get(at), want.get(at)));
            }
            Err(reason) => wrong.push(format!("{}: {reason}", crate::name(row))),
        }
    }
    eprintln!("{equal} traces equal, {} not", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(equal > 0);
}

/// Two runs: `a BYTES`, and `f N` for the release of a run's N'th request.
fn trace(bench: &Bench, row: &Value) -> Result<Vec<String>, String> {
    let spec = SessionSpec { meter: Meter::Requests, ..SessionSpec::default() };
    let mut model = bench.open(row, &spec).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for _ in 0..2 {
        let measured = model.client.measure(&model.inputs).map_err(|error| error.to_string())?.measured;
        let events = measured.trace.ok_or("no trace")?.events;
        lines.extend(numbered(events.into_iter().map(|event| match event {
            AllocationEvent::Alloc { id, bytes } | AllocationEvent::Reserve { id, bytes } => (id, Some(bytes.get())),
            AllocationEvent::Free { id } => (id, None),
        })));
    }
    Ok(lines)
}

/// The same for ids of any numbering; ids of an earlier run are `old`.
fn numbered(events: impl Iterator<Item = (u64, Option<u64>)>) -> Vec<String> {
    let mut known = BTreeMap::new();
    let line = |(id, bytes): (u64, Option<u64>)| match bytes {
        Some(bytes) => {
            let next = known.len();
            known.insert(id, next);
            format!("a {bytes}")
        }
        None => known.get(&id).map_or_else(|| "f old".to_owned(), |number| format!("f {number}")),
    };
    events.map(line).collect()
}

impl Bench {
    /// The other harness's trace of a row, if it is of the same variant.
    fn trace(&self, row: &Value) -> Option<Vec<String>> {
        let name = format!("zoo/traces/{}.{}.txt.gz", row["model"].as_str()?, row["opt"].as_str()?);
        let unpacked = Command::new("gzip").arg("-dc").arg(self.path(&name)).output().ok()?;
        let text = String::from_utf8(unpacked.stdout).ok()?;
        let (head, rest) = text.split_once('\n')?;
        let variant = &head[head.find('{')?..=head.rfind('}')?];
        if serde_json::from_str::<Value>(variant).ok()? != row["variant"] {
            return None;
        }
        let runs = rest.split("run ").skip(1);
        Some(runs.flat_map(|run| numbered(run.lines().skip(1).filter_map(event))).collect())
    }
}

fn event(line: &str) -> Option<(u64, Option<u64>)> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let id = words.next()?.parse().ok()?;
    Some((id, if kind == "f" { None } else { words.next()?.parse().ok() }))
}
