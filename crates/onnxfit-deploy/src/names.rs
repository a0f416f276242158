//! Names as other systems allow them.

/// A name of lower-case letters, digits and dashes, at most 63 long and never empty: what
/// Kubernetes calls a DNS label (RFC 1123), and SageMaker accepts too.
pub fn dns_label(name: &str) -> String {
    let dashed: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    let label: String = parts.join("-").chars().take(LABEL_MAX).collect();
    let label = label.trim_end_matches('-');
    if label.is_empty() { "model".to_owned() } else { label.to_owned() }
}

/// A name for a folder and in URLs: letters, digits, `_`, `-` and `.`, never empty.
pub fn plain_name(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let plain: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    let plain = plain.trim_start_matches('.');
    if plain.is_empty() { "model".to_owned() } else { plain.to_owned() }
}

/// The longest label of a DNS name.
const LABEL_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_rfc_1123_allows() {
        let labels = ["ResNet-50 v1.5", "__", "distilbert_base_cls", "-a-", &"x".repeat(80)].map(dns_label);
        assert_eq!(labels, ["resnet-50-v1-5", "model", "distilbert-base-cls", "a", &"x".repeat(63)]);
    }

    #[test]
    fn folders_keep_what_they_may() {
        assert_eq!(["a b/c", "..", ".x", "v1.2_b"].map(plain_name), ["a_b_c", "model", "x", "v1.2_b"]);
    }
}
