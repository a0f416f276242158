//! An explanation as text for a terminal: the answer first, then why, then what to do.

use std::fmt;

use onnxfit_base::Bytes;

use crate::explanation::{Explanation, Memory, Phase};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.answer())?;
        if let Some(error) = &self.first_error {
            let times = if self.repeats > 1 { format!(" ({} times)", self.repeats) } else { String::new() };
            writeln!(f, "  {error}{times}")?;
        }
        for (index, cause) in self.causes.iter().enumerate() {
            let heading = if index == 0 { "\ncause" } else { "or" };
            let confidence = format!("{:?}", cause.confidence).to_lowercase();
            writeln!(f, "{heading} `{}` ({confidence} confidence): {}", cause.id, cause.meaning)?;
            for evidence in &cause.evidence {
                writeln!(f, "  because {evidence}")?;
            }
        }
        if !self.readings.is_empty() {
            writeln!(f, "\nthe size can be")?;
            for reading in &self.readings {
                let tensor = reading.tensor.as_deref().map(|name| format!(" (`{name}`)")).unwrap_or_default();
                let dims: Vec<String> = reading.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
                let dims = if dims.is_empty() || tensor.is_empty() {
                    String::new()
                } else {
                    format!(" with {}", dims.join(", "))
                };
                writeln!(f, "  {}{tensor}{dims}", reading.product)?;
            }
        }
        if !self.advice.is_empty() {
            writeln!(f, "\nwhat to do, in order")?;
            for (index, advice) in self.advice.iter().enumerate() {
                writeln!(f, "{:>3}. {}", index + 1, advice.text)?;
                for line in advice.command.iter().flat_map(|command| command.lines()) {
                    writeln!(f, "       {line}")?;
                }
            }
        }
        if !self.not_helping.is_empty() {
            writeln!(f, "\nwhat will not help")?;
            for advice in &self.not_helping {
                writeln!(f, "  - {}", advice.text)?;
            }
        }
        for finding in &self.settings {
            writeln!(f, "\n{finding}")?;
        }
        Ok(())
    }
}

impl Explanation {
    /// The answer in one line.
    fn answer(&self) -> String {
        let mut answer = match self.is_oom {
            Some(true) => format!("out of memory: {}", memory_words(self.memory)),
            Some(false) => "not out of memory".to_owned(),
            None => "cannot tell from this text whether memory ran out".to_owned(),
        };
        match self.phase {
            Phase::Initialization => answer += ", while the session was created",
            Phase::Run => answer += ", during a run",
            Phase::Copy => answer += ", while data was copied",
            Phase::Teardown => answer += ", at the end of the process",
            Phase::Unknown => {}
        }
        if let Some(node) = &self.node {
            answer += &format!(", at `{node}`");
        }
        if let Some(op_type) = &self.op_type {
            answer += &format!(" ({op_type})");
        }
        let sizes = [("asked for", self.requested_bytes), ("left", self.available_bytes), ("limit", self.limit_bytes)];
        for (name, bytes) in sizes {
            match bytes {
                Some(Bytes(u64::MAX)) if name == "limit" => answer += ", no limit set",
                Some(bytes) => answer += &format!(", {name} {bytes} ({})", bytes.get()),
                None => {}
            }
        }
        answer
    }
}

fn memory_words(memory: Memory) -> &'static str {
    match memory {
        Memory::Device => "the memory of the GPU",
        Memory::ArenaLimit => "the configured limit of the arena, not the GPU",
        Memory::Pinned => "pinned host memory",
        Memory::Host => "the memory of the host",
        Memory::Container => "the limit of the container",
        Memory::Other => "another framework's memory",
        Memory::Unknown => "which memory, the text does not say",
    }
}
