//! `Unknown provider option: "name"`: the provider of this release reads no such key
//! (provider_options_utils.h).

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "unknown_provider_option",
    kind: Kind::NotMemory,
    pattern: r#"Unknown provider option: \\?["']?(?P<status>\w+)"#,
    refine: as_is,
}];
