//! The memory fields of ONNX Runtime's profile, node by node.

use onnxfit_base::Bytes;
use serde_json::Value;

use super::course::has_body;

/// A node as the profile tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProfiledNode {
    pub(super) name: String,
    pub(super) op_type: String,
    /// `mem_bytes_in_use`.
    pub(super) in_use: Bytes,
    /// `mem_arena_held`.
    pub(super) held: Bytes,
}

impl ProfiledNode {
    /// Whether this is the twin's node.
    pub(super) fn is(&self, name: &str, op_type: &str) -> bool {
        self.op_type == op_type && self.name == name
    }
}

/// The nodes of each run in the order in which they began; none where there are no such fields.
pub(super) fn read(text: &str) -> Vec<Vec<ProfiledNode>> {
    let Ok(Value::Array(mut events)) = serde_json::from_str(text) else { return Vec::new() };
    let number = |event: &Value, key: &str| event[key].as_i64().unwrap_or(0);
    let runs: Vec<(i64, i64)> = events
        .iter()
        .filter(|event| event["name"] == "model_run")
        .map(|event| (number(event, "ts"), number(event, "ts") + number(event, "dur")))
        .collect();
    events.retain(|event| event["cat"] == "Node");
    events.sort_by_key(|event| number(event, "ts"));
    let mut found = vec![Vec::new(); runs.len()];
    for event in &events {
        let begin = number(event, "ts");
        let Some(run) = runs.iter().position(|(first, last)| (*first..=*last).contains(&begin)) else { continue };
        found[run].extend(node(event));
    }
    found.retain(|nodes| !nodes.is_empty());
    found
}

fn node(event: &Value) -> Option<ProfiledNode> {
    let arguments = &event["args"];
    let bytes = |key: &str| arguments[key].as_str()?.parse().ok().map(Bytes);
    let op_type = arguments["op_name"].as_str()?.to_owned();
    if has_body(&op_type) {
        return None;
    }
    Some(ProfiledNode {
        name: event["name"].as_str()?.strip_suffix("_kernel_time")?.to_owned(),
        op_type,
        in_use: bytes("mem_bytes_in_use")?,
        held: bytes("mem_arena_held")?,
    })
}

#[cfg(test)]
mod tests;
