//! Recognises ONNX Runtime's out-of-memory messages and takes them apart.
//!
//! ONNX Runtime has no error code for it (the code even differs between releases), so the text is
//! the only evidence. The forms: the arena's two (bfc_arena.cc, ORT 1.31), CUDA's and cuBLAS's own
//! (cuda_call.cc), the pooled arena's, and the host allocator's. Pure: text in, facts out.

use onnxfit_base::Bytes;
use serde::{Deserialize, Serialize};

use crate::json_bytes;

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutOfMemoryForm {
    /// The arena's configured limit; the device may have more.
    ArenaLimit,
    /// The device or the host refused even the bytes asked for.
    DeviceRefused,
    /// The arena grew and still found no block; practically unreachable.
    NoFreeBlock,
    /// CUDA refused an allocation outside the arena's growth; no byte count is told.
    Cuda,
    /// The stream-ordered CUDA pool refused.
    CudaPool,
    /// The host's allocator threw.
    Host,
}

/// A run or a load that did not get the memory it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct OutOfMemory {
    /// Name of the innermost failing node; `None` while a session is created.
    pub node: Option<String>,
    /// Its operator.
    pub op_type: Option<String>,
    /// What ran out.
    pub form: OutOfMemoryForm,
    /// Bytes asked for, where the message tells; the arena rounds them up to 256.
    #[serde(with = "json_bytes::optional", rename = "requested_bytes")]
    pub requested: Option<Bytes>,
    /// Bytes left under the limit, where the message tells.
    #[serde(with = "json_bytes::optional", rename = "available_bytes")]
    pub available: Option<Bytes>,
    /// The message as ONNX Runtime wrote it.
    pub message: String,
}

impl OutOfMemory {
    /// Reads an ONNX Runtime error text; `None` when it tells of anything but memory.
    ///
    /// Nested control flow repeats the message from the outside in: the innermost node wins.
    pub fn parse(message: &str) -> Option<Self> {
        let (form, requested, available) = FORMS.iter().find_map(|read| read(message))?;
        let (op_type, node) = innermost_node(message).map_or((None, None), |(op_type, node)| (Some(op_type), node));
        Some(Self { node, op_type, form, requested, available, message: message.trim_end().to_owned() })
    }

    fn sentence(&self) -> String {
        let place = match (&self.op_type, &self.node) {
            (Some(op_type), Some(node)) => format!(" at {op_type} node `{node}`"),
            (Some(op_type), None) => format!(" at an unnamed {op_type} node"),
            (None, _) => String::new(),
        };
        let amount = match (self.requested, self.available) {
            (Some(requested), Some(available)) => {
                format!(": {} bytes requested, {} left under the limit", requested.get(), available.get())
            }
            (Some(requested), None) => format!(": {} bytes requested", requested.get()),
            _ => String::new(),
        };
        format!("out of memory{place}{amount}")
    }
}

type Found = (OutOfMemoryForm, Option<Bytes>, Option<Bytes>);

/// One reader per form; the first that recognises the text decides.
const FORMS: &[fn(&str) -> Option<Found>] = &[arena_limit, device_refused, no_free_block, cuda_pool, cuda_call, host];

fn arena_limit(message: &str) -> Option<Found> {
    let (available, rest) = number_after(message, "Available memory of ")?;
    let (requested, _) = number_after(rest, " is smaller than requested bytes of ")?;
    Some((OutOfMemoryForm::ArenaLimit, Some(requested), Some(available)))
}

fn device_refused(message: &str) -> Option<Found> {
    let (requested, _) = number_after(message, "Failed to allocate memory for requested buffer of size ")?;
    Some((OutOfMemoryForm::DeviceRefused, Some(requested), None))
}

fn no_free_block(message: &str) -> Option<Found> {
    let (requested, _) =
        number_after(message, "Failed to find a free memory block despite calling Extend. rounded_bytes=")?;
    Some((OutOfMemoryForm::NoFreeBlock, Some(requested), None))
}

fn cuda_pool(message: &str) -> Option<Found> {
    if !message.contains("cudaMallocFromPoolAsync failed") {
        return None;
    }
    let requested = number_after(message, "size=").map(|(bytes, _)| bytes);
    Some((OutOfMemoryForm::CudaPool, requested, None))
}

fn cuda_call(message: &str) -> Option<Found> {
    // `CUDA failure 2` is out of memory in every release; cuBLAS says it with status 3.
    let says = |text: &str| message.contains(text);
    let recognised = says("CUDA failure 2:")
        || says("HIP failure 2:")
        || says("CUBLAS failure 3:")
        || says("CUBLAS_STATUS_ALLOC_FAILED")
        || says("CUDNN_STATUS_ALLOC_FAILED")
        || (says("cudaMalloc") && says("out of memory"));
    recognised.then_some((OutOfMemoryForm::Cuda, None, None))
}

fn host(message: &str) -> Option<Found> {
    let recognised = message.contains("std::bad_alloc") || message.contains("bad allocation");
    recognised.then_some((OutOfMemoryForm::Host, None, None))
}

fn number_after<'a>(text: &'a str, label: &str) -> Option<(Bytes, &'a str)> {
    let rest = &text[text.find(label)? + label.len()..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((Bytes(rest[..digits].parse().ok()?), &rest[digits..]))
}

/// Operator and name of the last `while running X node. Name:'Y'` in a text.
pub(crate) fn innermost_node(message: &str) -> Option<(String, Option<String>)> {
    const LABEL: &str = "returned while running ";
    let rest = &message[message.rfind(LABEL)? + LABEL.len()..];
    let (op_type, rest) = rest.split_once(" node.")?;
    if op_type.is_empty() || op_type.contains(char::is_whitespace) {
        return None;
    }
    // A quote inside the name would end it early, so the label after it is looked for instead;
    // some servers escape the quotes.
    let rest = rest.trim_start();
    let name = ["Name:'", "Name:\\'"].iter().find_map(|open| rest.strip_prefix(open)).and_then(|rest| {
        let end = rest.find("Status Message:").map_or_else(|| rest.find('\''), |label| rest[..label].rfind('\''))?;
        Some(rest[..end].trim_end_matches('\\').to_owned())
    });
    Some((op_type.to_owned(), name.filter(|name| !name.is_empty())))
}

#[cfg(test)]
mod tests;
