//! What a log means, and its JSON.

use onnxfit_base::{Bytes, Diagnostic};
use serde::Serialize;

use crate::advice::{Advice, NotHelping};
use crate::reading::SizeReading;

/// The name and version of the JSON.
pub const SCHEMA: &str = "onnxfit.explain/1";

/// Which memory was short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// The memory of a GPU.
    Device,
    /// The configured limit of an arena, whatever the device has left.
    ArenaLimit,
    /// Pinned host memory.
    Pinned,
    /// The memory of the machine or of the process.
    Host,
    /// The limit of a container.
    Container,
    /// The memory of another framework or of a language runtime.
    Other,
    /// The text does not say, or no memory was short.
    Unknown,
}

/// When it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// While the session was created: weights, handles, engines.
    Initialization,
    /// During a run.
    Run,
    /// While data was copied between host and device.
    Copy,
    /// At the end of the process.
    Teardown,
    /// The text does not say.
    Unknown,
}

/// How sure a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One of several that fit.
    Low,
    /// The evidence points there.
    Medium,
    /// The message says so.
    High,
}

/// One possible cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The stable id, such as `memory_limit_too_low`.
    pub id: &'static str,
    /// How sure it is.
    pub confidence: Confidence,
    /// What in the log speaks for it.
    pub evidence: Vec<String>,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

/// What a log means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether memory ran out or was refused; `None` if the text cannot tell.
    pub is_oom: Option<bool>,
    /// Which memory.
    pub memory: Memory,
    /// The causes, most likely first.
    pub causes: Vec<Cause>,
    /// What was asked for.
    pub requested_bytes: Option<Bytes>,
    /// What the message says was left.
    pub available_bytes: Option<Bytes>,
    /// The limit that the text names; 2^64-1 is the default and means none.
    pub limit_bytes: Option<Bytes>,
    /// The innermost node that failed.
    pub node: Option<String>,
    /// Its operator.
    pub op_type: Option<String>,
    /// The form of the deciding message; `no_message` if only a person speaks.
    pub form: &'static str,
    /// What to do, in order.
    pub advice: Vec<Advice>,
    /// What will not help, though people will say so.
    pub not_helping: Vec<NotHelping>,
    /// When it happened.
    pub phase: Phase,
    /// The GPU that the message names, if the number can be one.
    pub device_index: Option<u64>,
    /// The execution provider that was running.
    pub provider: Option<&'static str>,
    /// What the log says about the release of ONNX Runtime.
    pub releases: Vec<String>,
    /// The host; `ip-a-b-c-d` is an EC2 instance.
    pub host: Option<String>,
    /// The EC2 or SageMaker types that the text names.
    pub instance_types: Vec<String>,
    /// Which wrappers printed the text.
    pub dialects: Vec<&'static str>,
    /// The deciding message, on one line.
    pub first_error: Option<String>,
    /// How often it was seen.
    pub repeats: u64,
    /// What the requested size can be as a product.
    pub readings: Vec<SizeReading>,
    /// Settings in the text that do nothing, sit in the wrong place or hurt.
    pub settings: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    is_oom: Option<bool>,
    memory: Memory,
    causes: &'a [Cause],
    requested_bytes: Option<u64>,
    available_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    node: Option<&'a str>,
    op_type: Option<&'a str>,
    form: &'a str,
    advice: &'a [Advice],
    not_helping: &'a [NotHelping],
    phase: Phase,
    device_index: Option<u64>,
    provider: Option<&'a str>,
    releases: &'a [String],
    host: Option<&'a str>,
    instance_types: &'a [String],
    dialects: &'a [&'static str],
    first_error: Option<&'a str>,
    repeats: u64,
    readings: &'a [SizeReading],
    settings: Vec<JsonSetting<'a>>,
}

#[derive(Serialize)]
struct JsonSetting<'a> {
    id: &'a str,
    severity: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

impl Explanation {
    /// The explanation as JSON, keys in the order of the contract.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    fn json(&self) -> Json<'_> {
        Json {
            schema: SCHEMA,
            is_oom: self.is_oom,
            memory: self.memory,
            causes: &self.causes,
            requested_bytes: self.requested_bytes.map(Bytes::get),
            available_bytes: self.available_bytes.map(Bytes::get),
            limit_bytes: self.limit_bytes.map(Bytes::get),
            node: self.node.as_deref(),
            op_type: self.op_type.as_deref(),
            form: self.form,
            advice: &self.advice,
            not_helping: &self.not_helping,
            phase: self.phase,
            device_index: self.device_index,
            provider: self.provider,
            releases: &self.releases,
            host: self.host.as_deref(),
            instance_types: &self.instance_types,
            dialects: &self.dialects,
            first_error: self.first_error.as_deref(),
            repeats: self.repeats,
            readings: &self.readings,
            settings: self.settings.iter().map(json_setting).collect(),
        }
    }
}

impl Serialize for Explanation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

fn json_setting(finding: &Diagnostic) -> JsonSetting<'_> {
    JsonSetting {
        id: finding.id,
        severity: finding.severity.as_str(),
        message: &finding.message,
        hint: finding.hint.as_deref(),
    }
}
