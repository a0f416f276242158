//! Traces in OpenTelemetry's file format: one line of OTLP JSON for each request.
//!
//! The collector's `otlpjsonfile` receiver reads such a file; a caller's `traceparent` (W3C Trace
//! Context) makes its trace go on here.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::refusal::Refusal;

/// Writes spans to a file.
pub(crate) struct TraceLog {
    file: Mutex<File>,
    next: AtomicU64,
    seed: u64,
}

/// A request under way.
pub(crate) struct Span {
    trace: String,
    parent: String,
    id: u64,
    start: SystemTime,
}

impl TraceLog {
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40);
        Ok(Self { file: Mutex::new(file), next: AtomicU64::new(1), seed })
    }

    pub(crate) fn begin(&self, parent: Option<&str>) -> Span {
        let id = scattered(self.seed ^ self.next.fetch_add(1, Ordering::Relaxed));
        let fields: Vec<&str> = parent.unwrap_or_default().split('-').collect();
        let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (trace, parent) = match fields.as_slice() {
            [_, trace, parent, _] if is_hex(trace, 32) && is_hex(parent, 16) => {
                ((*trace).to_owned(), (*parent).to_owned())
            }
            _ => (format!("{:016x}{:016x}", scattered(id ^ self.seed), scattered(id)), String::new()),
        };
        Span { trace, parent, id, start: SystemTime::now() }
    }

    pub(crate) fn end(&self, span: Span, model: &str, took: Duration, refusal: Option<&Refusal>) {
        let start = span.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let status = match refusal {
            None => json!({ "code": 1 }),
            Some(refusal) => json!({ "code": 2, "message": refusal.message }),
        };
        let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let line = json!({ "resourceSpans": [{
            "resource": { "attributes": [text("service.name", "onnxfit")] },
            "scopeSpans": [{ "scope": { "name": "onnxfit.serve" }, "spans": [{
                "traceId": span.trace,
                "spanId": format!("{:016x}", span.id),
                "parentSpanId": span.parent,
                "name": "infer",
                "kind": 2,
                "startTimeUnixNano": start.as_nanos().to_string(),
                "endTimeUnixNano": (start + took).as_nanos().to_string(),
                "attributes": [text("model", model)],
                "status": status,
            }] }],
        }] });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written is no reason to refuse the request.
        let _ = writeln!(file, "{line}");
    }
}

/// A number's bits, mixed (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
