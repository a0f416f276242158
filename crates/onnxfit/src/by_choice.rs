//! Answers of two models with the choices of one of them.
//!
//! Where a model chooses (the best boxes, those above a threshold), rounding may choose otherwise
//! between equals, and the answers cannot be compared any more. Then the changed model is given the
//! choices of the original, and what goes into each choice is compared as an answer is, by the same
//! gate: see [`onnxfit_rewrite::choices`] for why that hides nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{ModelFile, SaveOptions, TensorSource, save};
use onnxfit_rewrite::choices::{Choice, ask, choices, give, resolve, shared, watch};
use onnxfit_runtime::verify::Comparison;
use onnxfit_runtime::{RunError, Tensors};

use crate::Error;
use crate::verify::runtime_error;

/// The original's answers, its choices, and what went into them.
pub(crate) struct ByChoice {
    taken: BTreeMap<String, bool>,
    choices: Vec<Choice>,
    original: ModelProto,
    expected: Vec<Tensors>,
    desk: PathBuf,
}

/// That a model was given choices, for the sentence of a proof.
pub(crate) fn said(n_given: Option<usize>) -> String {
    n_given.map_or_else(String::new, |n| {
        format!(
            "; the converted one was given the {n} choices of the original, for rounding chooses otherwise between equals: \
             what goes into them was compared, too"
        )
    })
}

/// Runs the model of a file on each of these inputs.
pub(crate) struct Runner<'a>(pub(crate) &'a mut Run<'a>);

type Run<'a> = dyn FnMut(&Path, &[Tensors]) -> Result<Vec<Tensors>, RunError> + 'a;

impl ByChoice {
    /// Runs the original once more on each of these inputs; `None` if it chooses nothing. Models that are
    /// run lie in the `desk` for as long.
    pub(crate) fn begin(
        original: &Path,
        desk: &Path,
        inputs: &[Tensors],
        runner: &mut Runner<'_>,
    ) -> Result<Option<Self>, Error> {
        let file = ModelFile::open(original)?;
        let mut original = file.proto.clone();
        let weights = file.weights();
        let taken = runner.branches(&mut original, weights, desk, inputs)?;
        let choices = choices(&original);
        if choices.is_empty() {
            return Ok(None);
        }
        let mut watched = original.clone();
        watch(&mut watched, &choices);
        let expected = runner.answers(&watched, weights, desk, inputs)?;
        Ok(Some(Self { taken, choices, original, expected, desk: desk.to_owned() }))
    }

    /// Lets a changed model take the original's choices; `false` if it does not make all of them, and in
    /// the same way: then it has to answer for its own.
    pub(crate) fn give(&self, changed: &mut ModelProto) -> bool {
        resolve(changed, &self.taken);
        if shared(&self.original, changed).len() < self.choices.len() {
            return false;
        }
        let first = self.expected.first();
        let n_axes = |name: &str| first.and_then(|told| told.get(name)).map_or(0, |tensor| tensor.shape().len());
        give(changed, &self.choices, n_axes);
        true
    }

    /// What is given to a changed model, for one of the inputs.
    pub(crate) fn chosen(&self, index: usize) -> Tensors {
        let of = |choice: &Choice| Some((choice.name.clone(), self.expected.get(index)?.get(&choice.name)?.clone()));
        self.choices.iter().filter_map(of).collect()
    }

    /// How many choices the original makes.
    pub(crate) fn len(&self) -> usize {
        self.choices.len()
    }

    /// Compares the changed model's answers, and what goes into its choices, with the original's; `None` if
    /// it cannot be given the choices.
    pub(crate) fn judge(
        &self,
        changed: &Path,
        inputs: &[Tensors],
        runner: &mut Runner<'_>,
        judge: &dyn Fn(&Tensors, &Tensors) -> Comparison,
    ) -> Result<Option<Vec<Comparison>>, Error> {
        let file = ModelFile::open(changed)?;
        let mut given = file.proto.clone();
        if !self.give(&mut given) {
            return Ok(None);
        }
        let fed = inputs.iter().enumerate().map(|(index, inputs)| {
            let own = inputs.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
            own.chain(self.chosen(index)).collect()
        });
        let got = runner.answers(&given, file.weights(), &self.desk, &fed.collect::<Vec<Tensors>>())?;
        let comparisons = self.expected.iter().zip(&got).map(|(expected, got)| {
            let is_chosen = |name: &str| self.choices.iter().any(|choice| choice.name == name);
            let told = expected.iter().filter(|(name, _)| !is_chosen(name));
            judge(&told.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect(), got)
        });
        Ok(Some(comparisons.collect()))
    }
}

impl Runner<'_> {
    /// Puts the branches that a model takes on all inputs in the place of its `If`s, and tells them.
    fn branches(
        &mut self,
        model: &mut ModelProto,
        weights: &dyn TensorSource,
        desk: &Path,
        inputs: &[Tensors],
    ) -> Result<BTreeMap<String, bool>, Error> {
        /// One in the other.
        const DEPTH_MAX: usize = 8;
        let mut all = BTreeMap::new();
        for _ in 0..DEPTH_MAX {
            let mut asking = model.clone();
            let asked = ask(&mut asking);
            if asked.is_empty() {
                break;
            }
            let answers = self.answers(&asking, weights, desk, inputs)?;
            let taken = asked.into_iter().filter_map(|(told, node)| {
                let mut sides = answers.iter().map(|answer| Some(answer.get(&told)?.values()?.first()? != &0.0));
                let first = sides.next()??;
                sides.all(|side| side == Some(first)).then_some((node, first))
            });
            let taken: BTreeMap<String, bool> = taken.collect();
            if taken.is_empty() {
                break;
            }
            resolve(model, &taken);
            all.extend(taken);
        }
        Ok(all)
    }

    /// Runs a model that is not on the disk.
    fn answers(
        &mut self,
        model: &ModelProto,
        weights: &dyn TensorSource,
        desk: &Path,
        inputs: &[Tensors],
    ) -> Result<Vec<Tensors>, Error> {
        let path = desk.join("choices.onnx");
        save(model, &path, &SaveOptions::new(weights))?;
        let answers = (self.0)(&path, inputs);
        for leftover in ["choices.onnx", "choices.onnx.data"] {
            let _ = std::fs::remove_file(desk.join(leftover));
        }
        answers.map_err(runtime_error)
    }
}

#[cfg(test)]
mod tests;
