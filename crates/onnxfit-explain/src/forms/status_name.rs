//! `CUDNN_STATUS_NOT_INITIALIZED` and its like outside of `CUDNN failure N: ..`: other frameworks
//! print a status by its name, and so do people.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[Form {
    id: "library_status",
    kind: Kind::Ambiguous,
    pattern: r"(?P<library>CUDNN|CUBLAS|CUSPARSE|CUSOLVER)_STATUS_(?P<status>[A-Z_]+)",
    refine: judge,
}];

/// How far back the words reach that another form has read.
const BEFORE_BYTES: usize = 200;

fn judge(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    let start = (hit.at.saturating_sub(BEFORE_BYTES)..=hit.at).find(|at| text.is_char_boundary(*at)).unwrap_or(hit.at);
    let line = text[start..hit.at].rsplit('\n').next().unwrap_or("");
    // `CUDNN failure 4: CUDNN_STATUS_..` and `CUDA error: CUBLAS_STATUS_..` are forms of their own.
    if line.contains(" failure ") || line.contains("and code: ") || line.ends_with("CUDA error: ") {
        return false;
    }
    hit.kind = match hit.status.as_str() {
        "SUCCESS" => return false,
        "ALLOC_FAILED" => Kind::OutOfMemory,
        status if refused(status) => Kind::NotMemory,
        _ => Kind::Ambiguous,
    };
    true
}

/// Statuses by which a library refuses a call before it asks for anything.
pub(super) fn refused(status: &str) -> bool {
    const REFUSED: &[&str] = &["BAD_PARAM", "INVALID_VALUE", "NOT_SUPPORTED", "ARCH_MISMATCH", "VERSION_MISMATCH"];
    REFUSED.iter().any(|name| status.ends_with(name))
}
