//! Protobuf's text format, as far as a configuration needs it.

use crate::tree::quoted;

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
    depth: usize,
}

impl Text {
    pub(super) fn comment(&mut self, text: &str) {
        let text = text.replace(['\n', '\r'], " ");
        self.line(&format!("# {text}"));
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {}", quoted(value)));
    }

    pub(super) fn word(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {value}"));
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.line(&format!("{key}: {value}"));
    }

    pub(super) fn numbers(&mut self, key: &str, values: &[i64]) {
        let values: Vec<String> = values.iter().map(i64::to_string).collect();
        self.line(&format!("{key}: [{}]", values.join(", ")));
    }

    pub(super) fn block(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.line(&format!("{key} {{"));
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        self.line("}");
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(&"  ".repeat(self.depth));
        self.out.push_str(text);
        self.out.push('\n');
    }
}
