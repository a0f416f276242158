//! Whether a converted model still answers as the original does, and what of it was compared.

use std::cell::OnceCell;
use std::path::Path;

use onnxfit_runtime::verify::Comparison;
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{RunError, SessionSpec, Tensors};

use crate::Error;
use crate::by_choice::{ByChoice, Runner};
use crate::gate::Gate;
use crate::probe::Probe;
use crate::samples::Samples;

/// Answers are compared on so many samples.
const COMPARED_MAX: usize = 8;

/// The original's answers.
pub(super) struct Judge<'a> {
    original: &'a Path,
    desk: &'a Path,
    library: &'a Path,
    gate: Gate,
    n_odd_max: usize,
    inputs: Vec<Tensors>,
    expected: Vec<Tensors>,
    /// What the original chooses; looked at where plain answers do not agree.
    by_choice: OnceCell<Option<ByChoice>>,
}

/// What is said of a converted model.
pub(super) struct Verdict {
    /// Sample by sample.
    pub(super) comparisons: Vec<Comparison>,
    /// Whether the answers agree.
    pub(super) is_good: bool,
    /// The first sample that does not.
    pub(super) first_bad: usize,
    /// How many choices the model was given; `None` if it made its own.
    pub(super) n_given: Option<usize>,
}

impl<'a> Judge<'a> {
    /// Runs the original, which lies on the desk.
    pub(super) fn begin(
        original: &'a Probe,
        library: &'a Path,
        gate: Gate,
        samples: &Samples,
        client: &mut Client,
    ) -> Result<Self, Error> {
        let n_compared = samples.len().min(COMPARED_MAX);
        let inputs = (0..n_compared).map(|index| samples.get(index)).collect::<Result<Vec<_>, _>>()?;
        let (original, desk) = (original.path(), original.desk());
        let expected = run_all(client, library, original, &inputs).map_err(crate::verify::runtime_error)?;
        let n_odd_max = samples.n_odd_max();
        Ok(Self { original, desk, library, gate, n_odd_max, inputs, expected, by_choice: OnceCell::new() })
    }

    /// The inputs of one sample.
    pub(super) fn inputs(&self, index: usize) -> &Tensors {
        &self.inputs[index]
    }

    /// The original's choices, if they were looked at.
    pub(super) fn choices(&self) -> Option<&ByChoice> {
        self.by_choice.get()?.as_ref()
    }

    /// Runs a converted model and compares; where the answers do not agree and the model chooses, it is
    /// run with the original's choices, and that is what counts.
    pub(super) fn judge(&self, converted: &Path, client: &mut Client) -> Result<Verdict, RunError> {
        let answers = run_all(client, self.library, converted, &self.inputs)?;
        let comparisons = self.expected.iter().zip(&answers).map(|(before, after)| self.gate.judge(before, after));
        let plain = self.verdict(comparisons.collect(), None);
        if plain.is_good {
            return Ok(plain);
        }
        let mut run = |path: &Path, inputs: &[Tensors]| run_all(client, self.library, path, inputs);
        let mut runner = Runner(&mut run);
        if self.by_choice.get().is_none() {
            // A model that cannot be looked at so is judged by its answers alone.
            let found = ByChoice::begin(self.original, self.desk, &self.inputs, &mut runner).unwrap_or_default();
            let _ = self.by_choice.set(found);
        }
        let Some(by_choice) = self.choices() else { return Ok(plain) };
        let judge = |before: &Tensors, after: &Tensors| self.gate.judge(before, after);
        match by_choice.judge(converted, &self.inputs, &mut runner, &judge) {
            Ok(Some(comparisons)) => Ok(self.verdict(comparisons, Some(by_choice.len()))),
            Ok(None) | Err(_) => Ok(plain),
        }
    }

    fn verdict(&self, comparisons: Vec<Comparison>, n_given: Option<usize>) -> Verdict {
        let bad: Vec<usize> = (0..comparisons.len()).filter(|index| !comparisons[*index].agrees).collect();
        let is_good = bad.len() <= self.n_odd_max && bad.iter().all(|index| self.gate.is_near(&comparisons[*index]));
        Verdict { comparisons, is_good, first_bad: bad.first().copied().unwrap_or_default(), n_given }
    }
}

fn run_all(client: &mut Client, library: &Path, model: &Path, inputs: &[Tensors]) -> Result<Vec<Tensors>, RunError> {
    client.open(library, &SessionSpec::new(model))?;
    inputs.iter().map(|inputs| Ok(client.run(inputs)?.outputs)).collect()
}
