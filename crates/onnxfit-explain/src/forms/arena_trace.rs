//! What the arena logs at INFO: its creation with the limit, growth, reservations, shrinking.

use regex::Captures;

use super::{Form, Hit, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "arena_created_trace",
        kind: Kind::Trace,
        pattern: r"Creating BFCArena for (?P<arena>\w+) with following configs:.{0,400}?memory limit: (?P<limit>\d+)",
        refine: as_is,
    },
    Form {
        id: "arena_extend_trace",
        kind: Kind::Trace,
        pattern: r"Extending BFCArena for (?P<arena>\w+)\. bin_num:\d+ \(requested\) num_bytes: (?P<status>\d+)",
        refine: as_is,
    },
    Form {
        id: "arena_reserve_trace",
        kind: Kind::Trace,
        pattern: r"Reserving memory in BFCArena for (?P<arena>\w+) size: (?P<requested>\d+)",
        refine: as_is,
    },
    Form {
        id: "arena_shrunk_trace",
        kind: Kind::Trace,
        pattern: r"(?P<arena>\w+) BFC Arena shrunk by (?P<status>\d+) bytes",
        refine: as_is,
    },
    // This line does not name its arena: it belongs to the growth before it.
    Form {
        id: "arena_total_trace",
        kind: Kind::Trace,
        pattern: r"Total allocated bytes: (?P<status>\d+)",
        refine: total,
    },
];

fn total(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    let before = &text[..hit.at];
    if let Some(start) = before.rfind("Extending BFCArena for ") {
        let name = &before[start + "Extending BFCArena for ".len()..];
        hit.arena = name.split('.').next().map(str::to_owned);
    }
    true
}
