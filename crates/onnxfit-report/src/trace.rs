//! A timeline as a trace file for Perfetto (`ui.perfetto.dev`) and `chrome://tracing`.
//!
//! A step takes one millisecond, because the twin knows the order of things, not their time.
//! There is a slice for each phase and node, a counter of what is in use and held, and an
//! asynchronous slice for the life of each tensor.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::timeline::TimelineView;

const STEP_MICROSECONDS: usize = 1000;
const PROCESS: u32 = 1;
const NODES: u32 = 1;

/// Writes a timeline in the trace event format.
pub fn write_trace(out: &mut impl Write, view: &TimelineView, model: &str) -> io::Result<()> {
    let mut events = Events { out, is_first: true };
    writeln!(events.out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    events.add(&json!({"ph": "M", "pid": PROCESS, "name": "process_name", "args": {"name": model}}))?;
    events.add(
        &json!({"ph": "M", "pid": PROCESS, "tid": NODES, "name": "thread_name", "args": {"name": "nodes (one step each)"}}),
    )?;
    for (index, phase) in view.phases.iter().enumerate() {
        let end = view.phases.get(index + 1).map_or(view.steps.len(), |next| next.first_step);
        let steps = end.saturating_sub(phase.first_step);
        events.add(&slice(&phase.name, "phase", phase.first_step, steps, json!({})))?;
    }
    for (index, step) in view.steps.iter().enumerate() {
        if let Some(node) = step.node.and_then(|node| view.nodes.get(node)) {
            let args = json!({
                "op_type": node.op_type,
                "in_use_bytes": step.in_use_bytes,
                "held_bytes": step.held_bytes,
            });
            let name = if node.name.is_empty() { &node.op_type } else { &node.name };
            events.add(&slice(name, &node.op_type, index, 1, args))?;
        }
        for (name, bytes) in [("in use", step.in_use_bytes), ("held", step.held_bytes)] {
            events.add(&json!({
                "ph": "C", "pid": PROCESS, "ts": index * STEP_MICROSECONDS, "name": format!("{} {name}", view.place),
                "args": {"bytes": bytes},
            }))?;
        }
    }
    for (id, tensor) in view.tensors.iter().enumerate() {
        let made_by = tensor.node.and_then(|node| view.nodes.get(node)).map_or("", |node| &node.name);
        let name = if tensor.name.is_empty() { tensor.kind } else { &tensor.name };
        for (phase, step) in [("b", tensor.first_step), ("e", tensor.last_step + 1)] {
            let mut event = json!({
                "ph": phase, "pid": PROCESS, "tid": NODES, "ts": step * STEP_MICROSECONDS,
                "cat": tensor.kind, "id": id, "name": name,
            });
            if phase == "b" {
                event["args"] = json!({"bytes": tensor.bytes, "made_by": made_by});
            }
            events.add(&event)?;
        }
    }
    writeln!(events.out, "\n]}}")
}

fn slice(name: &str, category: &str, step: usize, n_steps: usize, args: Value) -> Value {
    json!({
        "ph": "X", "pid": PROCESS, "tid": NODES, "ts": step * STEP_MICROSECONDS, "dur": n_steps * STEP_MICROSECONDS,
        "name": name, "cat": category, "args": args,
    })
}

/// The elements of the array, a line each.
struct Events<'a, W> {
    out: &'a mut W,
    is_first: bool,
}

impl<W: Write> Events<'_, W> {
    fn add(&mut self, event: &Value) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            writeln!(self.out, ",")?;
        }
        serde_json::to_writer(&mut *self.out, event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
