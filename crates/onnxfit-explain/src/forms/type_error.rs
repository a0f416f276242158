//! `Type Error: Type parameter (T) of Optype (Add) bound to different types`: a conversion to
//! half precision left two types at one node. The brackets of the real text do not balance.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "type_error",
        kind: Kind::NotMemory,
        pattern: r"(?:Type Error: )?Type (?:parameter \(\w+\)(?: of Optype \((?P<op>\w+)\))? bound to different types|\(?'?tensor\(\w+\)'?\)? of (?:output|input) arg)(?:[^\n]{0,200}?\bnode \((?P<node>[^)\n]*)\))?",
        refine: name_the_operator,
    },
    Form {
        id: "type_error",
        kind: Kind::NotMemory,
        pattern: r"Type '?tensor\((?P<actual>\w+)\)'? of input parameter \([^)\n]*\) of operator \((?P<op>\w+)\) in node \((?P<node>[^)\n]*)\) is invalid",
        refine: of_half,
    },
    Form {
        id: "type_error",
        kind: Kind::NotMemory,
        pattern: r"Unexpected input data type\. Actual: \(tensor\((?P<actual>\w+)\)\) ?, expected: \(tensor\((?P<expected>\w+)\)\)",
        refine: of_floats,
    },
];

/// No release has a kernel for the type: with half a float that was a conversion.
fn of_half(_: &mut Hit, groups: &Captures<'_>, _: &str) -> bool {
    groups.name("actual").is_some_and(|kind| kind.as_str().ends_with("float16"))
}

/// An input of the wrong precision comes from a conversion; other types come from the caller.
fn of_floats(_: &mut Hit, groups: &Captures<'_>, _: &str) -> bool {
    let float = |name: &str| groups.name(name).is_some_and(|kind| kind.as_str().contains("float"));
    float("actual") && float("expected")
}

/// Exporters name nodes `Add_11`: the operator is in the name when the text leaves it out.
fn name_the_operator(hit: &mut Hit, _: &Captures<'_>, _: &str) -> bool {
    if hit.op_type.is_none()
        && let Some((op, number)) = hit.node.as_deref().and_then(|node| node.rsplit_once('_'))
        && number.chars().all(|c| c.is_ascii_digit())
        && op.chars().all(|c| c.is_ascii_alphanumeric())
        && op.starts_with(|c: char| c.is_ascii_uppercase())
    {
        hit.op_type = Some(op.to_owned());
    }
    true
}
