//! Real reports as data: what was recorded about each, against what the reader says.
//!
//! The cases lie outside of the repository (`../shared`, or `ONNXFIT_SHARED`); without them the
//! test is skipped. It prints what it got wrong; run with `--nocapture` to read the table.

use std::path::PathBuf;

use serde_json::Value;

fn cases() -> Option<Vec<Value>> {
    let shared = std::env::var_os("ONNXFIT_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let Ok(text) = std::fs::read_to_string(shared.join("data/oom-cases.jsonl")) else {
        eprintln!("skipped: no oom-cases.jsonl under {}", shared.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("each line is a case")).collect())
}

#[derive(Default)]
struct Rate {
    right: usize,
    all: usize,
}

impl Rate {
    fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    fn share(&self) -> f64 {
        if self.all == 0 { 1.0 } else { self.right as f64 / self.all as f64 }
    }

    fn line(&self, name: &str) -> String {
        format!("{name:<44} {:>3} of {:>3}  {:.1} %\n", self.right, self.all, 100.0 * self.share())
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

#[test]
fn explains_the_open_cases_as_recorded() {
    let Some(cases) = cases() else { return };
    let mut is_oom = Rate::default();
    let mut asserted = Rate::default();
    let mut cause = Rate::default();
    let mut sure = Rate::default();
    let mut among_three = Rate::default();
    let mut claimed = Rate::default();
    let mut found = [Rate::default(), Rate::default(), Rate::default()];
    let mut wrong = String::new();
    let mut wrong_facts = 0;
    for case in &cases {
        let log = text(case, "raw_log");
        let explanation = onnxfit_explain::explain(log.as_bytes());
        let json: Value = serde_json::from_str(&explanation.to_json().expect("it is JSON")).expect("it is JSON");
        let id = text(case, "id");
        let machine =
            text(case, "raw_log_kind").starts_with("log") && text(case, "message_form") != "no_message_growth";
        if machine {
            let same = json["is_oom"] == case["is_oom"];
            is_oom.count(same);
            if !json["is_oom"].is_null() {
                asserted.count(same || case["is_oom"].is_null());
            }
            if !same {
                wrong += &format!("is_oom  {id}: {} recorded {}\n", json["is_oom"], case["is_oom"]);
            }
        }
        let top = text(&json["causes"][0], "id");
        let right = top == text(case, "root_cause");
        cause.count(right);
        among_three.count(explanation.causes.iter().take(3).any(|cause| cause.id == text(case, "root_cause")));
        if text(case, "confidence") == "high" {
            sure.count(right);
        }
        if text(&json["causes"][0], "confidence") == "high" {
            claimed.count(right);
        }
        if !right {
            let level = text(case, "confidence");
            wrong += &format!("cause   {id} ({level}): {top} recorded {}\n", text(case, "root_cause"));
        }
        let facts = [("requested_bytes", "requested_bytes"), ("node", "failing_node"), ("op_type", "failing_op")];
        for (rate, (ours, recorded)) in found.iter_mut().zip(facts) {
            // A fact is wrong if it differs from a recorded one that is in the text.
            let (value, expected) = (&json[ours], &case[recorded]);
            if !expected.is_null() {
                rate.count(value == expected);
            }
            if !value.is_null() && !expected.is_null() && value != expected {
                wrong_facts += 1;
                wrong += &format!("{ours} {id}: {value} recorded {expected}\n");
            }
            if !value.is_null() && expected.is_null() {
                wrong += &format!("(extra) {ours} {id}: {value}\n");
            }
            if value.is_null() && !expected.is_null() {
                wrong += &format!("(missed) {ours} {id}: recorded {expected}\n");
            }
        }
    }
    let table = is_oom.line("is_oom, of machine messages")
        + &asserted.line("is_oom, where it is asserted")
        + &cause.line("top cause")
        + &sure.line("top cause, recorded with high confidence")
        + &claimed.line("top cause, claimed with high confidence")
        + &among_three.line("recorded cause among the first three")
        + &found[0].line("requested bytes found")
        + &found[1].line("node found")
        + &found[2].line("operator found");
    eprintln!("{wrong}\n{table}");
    assert_eq!(wrong_facts, 0, "a size or a node is wrong:\n{wrong}");
    // What is left is cut before its reason, or says the same words as another cause.
    assert!(is_oom.share() >= 0.95, "{table}{wrong}");
    assert!(asserted.share() >= 0.97, "{table}{wrong}");
    assert!(cause.share() >= 0.90, "{table}{wrong}");
    assert!(sure.share() >= 0.95, "{table}{wrong}");
    assert!(claimed.share() >= 0.95, "{table}{wrong}");
}
