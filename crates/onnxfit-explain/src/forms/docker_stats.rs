//! A line of `docker stats`: memory of the container against its limit.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[Form {
    id: "docker_stats",
    kind: Kind::Trace,
    pattern: r"(?P<used>[\d.]+)(?P<used_unit>[KMGT]?i?B)\s{0,2}/\s{0,2}(?P<of>[\d.]+)(?P<of_unit>[KMGT]?i?B)\s{1,8}(?P<status>[\d.]+)%",
    refine: amounts,
}];

fn amounts(hit: &mut Hit, groups: &Captures<'_>, _: &str) -> bool {
    let bytes =
        |amount: &str, unit: &str| crate::number::with_unit(groups.name(amount)?.as_str(), groups.name(unit)?.as_str());
    bytes("used", "used_unit").zip(bytes("of", "of_unit")).is_some_and(|(used, of)| {
        hit.expression = format!("{used} of {of}");
        used <= of
    })
}
