//! Where quantized models are tried: the float model, what it answers, and what comes close enough.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::{GraphProto, ModelProto, TensorProto};
use onnxfit_onnx::{ModelFile, SaveOptions, TensorSource, WeightStore, save};
use onnxfit_runtime::verify::Comparison;
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{SessionSpec, Tensors};
use prost::Message as _;

use super::method::Built;
use crate::Error;
use crate::gate::{Gate, MaxDrop};
use crate::samples::Samples;
use crate::verify::runtime_error;

/// Answers are compared on so many samples; where those agree,
const COMPARED_FIRST: usize = 8;
/// on so many in all, taken from everywhere among the samples: one in a dozen may be the odd one.
const COMPARED_MAX: usize = 24;
/// What the float model's answers to them may take in memory.
const EXPECTED_BYTES_MAX: usize = 128 << 20;
/// One layer alone is tried on so many.
const COMPARED_ALONE_MAX: usize = 2;

/// What a model that was tried is like.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// The worst error of any output of any sample, in the gate's own number.
    pub(crate) error: f64,
    /// Whether the gate lets it through.
    pub(crate) agrees: bool,
    /// What its file takes.
    pub(crate) size_bytes: u64,
    /// Why it is not good, if so.
    pub(crate) problem: Option<String>,
    pub(crate) comparisons: Vec<Comparison>,
}

/// A number that a command of the user's prints.
pub(crate) struct Judge {
    pub(crate) command: String,
    /// What it printed for the original.
    pub(crate) original: f64,
}

/// The float model and everything to compare with it.
pub(crate) struct Bench<'a> {
    /// The float model; its weights lie on the desk.
    pub(crate) model: GraphModel,
    pub(crate) store: WeightStore,
    pub(crate) desk: &'a Path,
    pub(crate) library: &'a Path,
    pub(crate) samples: &'a Samples,
    pub(crate) gate: Gate,
    pub(crate) judge: Option<Judge>,
    /// Numbers of samples, and what the original answers to them.
    expected: Vec<(usize, Tensors)>,
    client: RefCell<Client>,
}

impl<'a> Bench<'a> {
    /// Writes the model to the desk and runs the original.
    #[allow(clippy::too_many_arguments, reason = "everything that a trial needs, once")]
    pub(crate) fn new(
        original: &Path,
        model: &GraphModel,
        source: &dyn TensorSource,
        desk: &'a Path,
        library: &'a Path,
        worker: &Path,
        samples: &'a Samples,
        gate: Gate,
        command: Option<&str>,
    ) -> Result<Self, Error> {
        let model = on_desk(model, source, &desk.join("float.onnx"))?;
        let mut client = Client::spawn(worker, &["__worker"]).map_err(runtime_error)?;
        client.open(library, &SessionSpec::new(PathBuf::from(original))).map_err(runtime_error)?;
        let mut expected = Vec::new();
        let mut bytes = 0;
        for index in compared(samples.len()) {
            let outputs = client.run(&samples.get(index)?).map_err(runtime_error)?.outputs;
            bytes += outputs.iter().filter_map(|(_, tensor)| Some(tensor.bytes()?.len())).sum::<usize>();
            if expected.len() >= COMPARED_FIRST && bytes > EXPECTED_BYTES_MAX {
                break;
            }
            expected.push((index, outputs));
        }
        let judge = match command {
            Some(command) => Some(Judge { command: command.to_owned(), original: ask(command, original)? }),
            None => None,
        };
        let store = WeightStore::new(desk);
        let client = RefCell::new(client);
        Ok(Self { model, store, desk, library, samples, gate, judge, expected, client })
    }

    /// Lends the worker process.
    pub(crate) fn with_client<T>(&self, ask: impl FnOnce(&mut Client) -> T) -> T {
        ask(&mut self.client.borrow_mut())
    }

    /// Runs a model that was built and compares its answers; with `alone` on few samples.
    pub(crate) fn try_out(&self, built: &Built, alone: bool) -> Result<Tried, Error> {
        let path = self.desk.join("trial.onnx");
        let proto = built.model.to_proto();
        match &built.source {
            None => std::fs::write(&path, proto.encode_to_vec()).map_err(|source| Error::Io {
                action: "write",
                path: path.clone(),
                source,
            })?,
            Some(source) => {
                let options = SaveOptions { force_external: true, ..SaveOptions::new(source.as_ref()) };
                save(&proto, &path, &options)?;
            }
        }
        let mut tried = self.compare(&path, alone)?;
        tried.size_bytes = file_bytes(&proto);
        Ok(tried)
    }

    /// Runs the model of a file and compares its answers.
    pub(crate) fn compare(&self, path: &Path, alone: bool) -> Result<Tried, Error> {
        let mut client = self.client.borrow_mut();
        client.open(self.library, &SessionSpec::new(PathBuf::from(path))).map_err(runtime_error)?;
        let n_compared = if alone { COMPARED_ALONE_MAX } else { COMPARED_MAX };
        let mut comparisons: Vec<Comparison> = Vec::new();
        for (index, expected) in self.expected.iter().take(n_compared) {
            // What is bad on the first ones need not be tried on all.
            if comparisons.len() >= COMPARED_FIRST && comparisons.iter().any(|comparison| !comparison.agrees) {
                break;
            }
            let outputs = client.run(&self.samples.get(*index)?).map_err(runtime_error)?.outputs;
            comparisons.push(self.gate.judge(expected, &outputs));
        }
        let outputs = || comparisons.iter().flat_map(|comparison| &comparison.outputs);
        let mut error = outputs().map(|output| self.gate.error(output)).fold(0.0, f64::max);
        let mut problem = outputs().find_map(|output| Some(format!("`{}` {}", output.name, output.problem.as_ref()?)));
        if outputs().any(|output| output.nan_counts[0] != output.nan_counts[1]) {
            error = f64::INFINITY;
        }
        if let (Some(judge), false) = (&self.judge, alone) {
            error = judge.original - ask(&judge.command, path)?;
            let most = match self.gate {
                Gate::Asked(MaxDrop { most, .. }) => most,
                Gate::Usual { .. } => 0.0,
            };
            problem =
                (error > most).then(|| format!("the command's number is {error:.4} lower, at most {most} allowed"));
        }
        Ok(Tried { error, agrees: problem.is_none(), size_bytes: 0, problem, comparisons })
    }
}

/// The samples to compare on: the first few, then some of the others from everywhere among them.
fn compared(n_samples: usize) -> impl Iterator<Item = usize> {
    let n_first = n_samples.min(COMPARED_FIRST);
    let n_others = n_samples - n_first;
    let n_more = n_others.min(COMPARED_MAX - COMPARED_FIRST);
    (0..n_first).chain((0..n_more).map(move |index| n_first + index * n_others / n_more.max(1)))
}

/// A model whose weights were written beside it.
pub(crate) fn on_desk(model: &GraphModel, source: &dyn TensorSource, path: &Path) -> Result<GraphModel, Error> {
    let options = SaveOptions { force_external: true, ..SaveOptions::new(source) };
    save(&model.to_proto(), path, &options)?;
    let file = ModelFile::open(path)?;
    GraphModel::from_proto(&file.proto)
        .map_err(|source| Error::Graph { path: path.to_owned(), source: Box::new(source) })
}

/// The number that a command prints for a model: the last one of its output.
fn ask(command: &str, model: &Path) -> Result<f64, Error> {
    let hint = "it is started by `sh -c` with the model's path behind it, and prints a number, higher for better";
    let fail = |message: String| Error::Binding(format!("the command `{command}` {message}"), Some(hint.to_owned()));
    let line = format!("{command} '{}'", model.display().to_string().replace('\'', "'\\''"));
    let output =
        Command::new("sh").args(["-c", &line]).output().map_err(|error| fail(format!("does not start: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(fail(format!("failed: {}", said.trim().lines().last().unwrap_or("it said nothing"))));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().rev().find_map(|word| word.parse::<f64>().ok());
    number.filter(|number| number.is_finite()).ok_or_else(|| fail("printed no number".to_owned()))
}

/// What a model takes with all its weights in one file.
pub(crate) fn file_bytes(proto: &ModelProto) -> u64 {
    fn outside(graph: &GraphProto) -> u64 {
        let external = |tensor: &TensorProto| {
            if tensor.is_external() { tensor.size_bytes().map_or(0, |bytes| bytes.get()) } else { 0 }
        };
        let own: u64 = graph.initializer.iter().map(external).sum();
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        let bodies = attributes.flat_map(|attribute| attribute.g.iter().map(|body| &**body).chain(&attribute.graphs));
        own + bodies.map(outside).sum::<u64>()
    }
    proto.encoded_len() as u64 + proto.graph.as_ref().map_or(0, outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_few_samples_are_compared_and_some_from_everywhere_of_many() {
        assert_eq!(compared(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(compared(24).collect::<Vec<_>>(), (0..24).collect::<Vec<_>>());
        let many: Vec<usize> = compared(1000).collect();
        assert_eq!((many.len(), &many[..9]), (24, &[0, 1, 2, 3, 4, 5, 6, 7, 8][..]));
        assert!(many.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(many[23] > 900, "{}", many[23]);
    }
}
