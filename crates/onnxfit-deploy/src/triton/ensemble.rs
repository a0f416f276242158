//! An ensemble: models of one repository, run one after the other.

use super::text::Text;
use super::{Tensor, TritonError, tensors};

/// One model of an ensemble. Tensors go by the same name inside and outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The model's name.
    pub model: String,
    /// What it reads.
    pub inputs: Vec<String>,
    /// What it makes.
    pub outputs: Vec<String>,
}

/// Models run one after the other as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// Its name: that of its folder.
    pub name: String,
    /// What to know, one line each, as comments.
    pub comments: Vec<String>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Its outputs.
    pub outputs: Vec<Tensor>,
    /// Its models in order.
    pub steps: Vec<Step>,
}

/// The text of the ensemble's `config.pbtxt`.
pub fn ensemble_config(ensemble: &Ensemble) -> Result<String, TritonError> {
    let mut text = Text::default();
    for comment in &ensemble.comments {
        text.comment(comment);
    }
    text.string("name", &ensemble.name);
    text.string("platform", "ensemble");
    text.number("max_batch_size", 0);
    tensors(&mut text, "input", &ensemble.inputs, false)?;
    tensors(&mut text, "output", &ensemble.outputs, false)?;
    text.block("ensemble_scheduling", |text| {
        for step in &ensemble.steps {
            text.block("step", |text| {
                text.string("model_name", &step.model);
                text.word("model_version", "-1");
                for (map, names) in [("input_map", &step.inputs), ("output_map", &step.outputs)] {
                    for name in names {
                        text.block(map, |text| {
                            text.string("key", name);
                            text.string("value", name);
                        });
                    }
                }
            });
        }
    });
    Ok(text.finish())
}
