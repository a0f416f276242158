//! A line of `nvidia-smi`: memory of the card, used and in all.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "nvidia_smi",
    kind: Kind::Trace,
    pattern: r"(?P<status>\d+)MiB / (?P<expression>\d+)MiB",
    refine: as_is,
}];
