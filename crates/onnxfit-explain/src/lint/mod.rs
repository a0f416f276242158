//! Finds settings that do nothing, sit in the wrong place, or hurt.
//!
//! Reads what people paste: Python, C++, C#, Rust, JSON of a session, environment lines, Triton's
//! `config.pbtxt`. Each reader turns its text into [`Setting`]s; each rule judges one setting.

mod known;
mod read;
mod rules;

use onnxfit_base::Diagnostic;

pub(crate) use read::read_settings;

/// Where a setting was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// `add_session_config_entry(key, value)`.
    SessionEntry,
    /// `add_run_config_entry(key, value)`.
    RunEntry,
    /// `session_options.key = value`.
    SessionAttribute,
    /// `run_options.key = value`.
    RunAttribute,
    /// The options of a provider, passed at creation.
    ProviderOption,
    /// A dictionary that `get_provider_options()` returned.
    ProviderOptionsCopy,
    /// An environment variable.
    Environment,
    /// A top-level parameter of Triton's model configuration.
    TritonParameter,
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Self::SessionEntry => "a session config entry",
            Self::RunEntry => "a run config entry",
            Self::SessionAttribute => "an attribute of the session options",
            Self::RunAttribute => "an attribute of the run options",
            Self::ProviderOption => "a provider option",
            Self::ProviderOptionsCopy => "a change of what `get_provider_options()` returned",
            Self::Environment => "an environment variable",
            Self::TritonParameter => "a parameter of Triton's model configuration",
        }
    }
}

/// One setting and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub place: Place,
    pub key: String,
    pub value: String,
    /// The provider whose options these are, if the text says so.
    pub provider: Option<String>,
}

/// Finds settings that do nothing, sit in the wrong place, or hurt; in the order of the text.
///
/// Text without settings gives nothing, so a whole script or log can be passed.
pub fn lint_options(text: &str) -> Vec<Diagnostic> {
    let settings = read_settings(text);
    let mut findings: Vec<Diagnostic> = Vec::new();
    for setting in &settings {
        for finding in rules::judge(setting, &settings) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    if text.contains("OrtCUDAProviderOptions ") && !text.contains("CreateCUDAProviderOptions") {
        findings.extend(rules::uninitialised_struct(text));
    }
    findings
}

/// The value of a key, wherever it stands.
pub(crate) fn value_in(text: &str, key: &str) -> Option<String> {
    read_settings(text).into_iter().find(|setting| setting.key == key).map(|setting| setting.value)
}

/// A limit in bytes by its key.
pub(crate) fn limit_in(text: &str, key: &str) -> Option<u64> {
    crate::number::evaluate(&value_in(text, key)?)
}

#[cfg(test)]
mod tests;
