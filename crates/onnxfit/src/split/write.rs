//! The folder that `split` writes: a Triton repository with an ensemble, and a runner in Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::Diagnostic;
use onnxfit_deploy::triton::{self, Ensemble, ModelConfig, Place, Step};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_report::split::SplitView;
use onnxfit_rewrite::stages::Stage;
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{SessionSpec, Tensors};

use super::SplitOptions;
use super::steps::Whole;
use crate::artifacts::{Folder, MODEL_FILE};
use crate::deploy::settings::settings;
use crate::deploy::signature::Signature;
use crate::progress::Progress;
use crate::proof::input_shapes;
use crate::request::{Provider, Request};
use crate::verify::{VerifyInputs, inputs, runtime_error, verify_view};
use crate::{Error, Model, weights};

/// Stages on their way to the disk.
pub(super) struct Writing<'a> {
    pub(super) model: &'a Model,
    pub(super) request: &'a Request,
    pub(super) options: &'a SplitOptions,
    pub(super) whole: &'a Whole,
    pub(super) source: &'a dyn TensorSource,
}

impl Writing<'_> {
    /// Writes and proves; what does not answer as the whole does is not kept.
    pub(super) fn all(
        &self,
        output: &Path,
        stages: &[Stage],
        view: &mut SplitView,
        diagnostics: &mut Vec<Diagnostic>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let absent = if self.options.random_weights.is_some() { Vec::new() } else { weights::absent(self.model) };
        if let Some(first) = absent.first() {
            return Err(Error::Runtime {
                message: format!("{} weights are absent, first `{first}`: the stages could not run", absent.len()),
                hint: Some("put the data file beside the model, or try with `--random-weights SEED`".to_owned()),
            });
        }
        let folder = Folder::begin(output)?;
        let mut steps = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            let name = view.stages[number].name.clone();
            progress.doing(&format!("writing stage {} of {}", number + 1, stages.len()));
            let path = subfolder(&folder, &name)?;
            save(&stage.model, &path.join(MODEL_FILE), &SaveOptions::new(self.source))?;
            let config = self.stage_config(&name, number, stage)?;
            folder.write(&format!("{name}/config.pbtxt"), |out| out.write_all(config.as_bytes()))?;
            view.files.push(format!("{name}/1/{MODEL_FILE}"));
            steps.push(Step { model: name, inputs: stage.inputs.clone(), outputs: stage.outputs.clone() });
        }
        let signature = Signature::of(self.model.graph(), self.request, &self.whole.dims)?;
        let ensemble = Ensemble {
            name: view.name.clone(),
            comments: vec![format!("{} stages, run one after the other", stages.len())],
            inputs: signature.inputs,
            outputs: signature.outputs,
            steps,
        };
        let config = triton::ensemble_config(&ensemble).map_err(|error| refused(&error.to_string()))?;
        // Triton wants a version of it, empty as it is.
        subfolder(&folder, &view.name)?;
        folder.write(&format!("{}/config.pbtxt", view.name), |out| out.write_all(config.as_bytes()))?;
        folder.write("run.py", |out| out.write_all(include_str!("../templates/run_stages.py").as_bytes()))?;
        view.files.extend([format!("{}/config.pbtxt", view.name), "run.py".to_owned(), "stages.json".to_owned()]);
        if let Some(from) = &self.options.verify {
            view.verify = Some(self.prove(from, &folder, stages, view, diagnostics, progress)?);
            if view.verify.as_ref().is_some_and(|verify| !verify.agrees) {
                // Dropping the folder removes it.
                view.files.clear();
                return Ok(());
            }
        }
        folder.write_json("stages.json", view)?;
        folder.finish()
    }

    fn stage_config(&self, name: &str, number: usize, stage: &Stage) -> Result<String, Error> {
        let graph = GraphModel::from_proto(&stage.model)
            .map_err(|source| Error::Graph { path: PathBuf::from(name), source: Box::new(source) })?;
        let shapes = stage.inputs.iter().filter_map(|name| Some((name.clone(), self.whole.shapes.get(name)?.clone())));
        let request = Request { shapes: shapes.collect(), ..self.request.clone() };
        let mut signature = Signature::of(&graph, &request, &self.whole.dims)?;
        for tensor in signature.inputs.iter_mut().chain(&mut signature.outputs) {
            // What a stage alone leaves open the whole may know.
            if let Some(shape) = self.whole.shapes.get(&tensor.name) {
                tensor.predicted.clone_from(shape);
            }
        }
        let is_cpu = self.request.provider == Provider::Cpu;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        triton::model_config(&ModelConfig {
            name: name.to_owned(),
            comments: Vec::new(),
            place: if is_cpu { Place::Cpu } else { Place::Gpu(number) },
            n_instances: 1,
            inputs: signature.inputs,
            outputs: signature.outputs,
            batching: None,
            settings: settings(self.request, &self.request.levers()),
        })
        .map_err(|error| refused(&error.to_string()))
    }

    /// Runs the whole and the stages on the CPU provider, at the request's sizes or fewer rows.
    fn prove(
        &self,
        from: &VerifyInputs,
        folder: &Folder,
        stages: &[Stage],
        view: &SplitView,
        diagnostics: &mut Vec<Diagnostic>,
        progress: &dyn Progress,
    ) -> Result<onnxfit_report::fix::VerifyView, Error> {
        let library = crate::library::ensure(self.options.offline, progress)?;
        let dims = self.dims_of_proof(diagnostics);
        let shapes = input_shapes(self.model.graph(), &dims, self.request);
        let fed = inputs(from, &shapes, weights::vocab_size(self.model.graph()))?;
        let run = |path: &Path, inputs: &Tensors| -> Result<Tensors, Error> {
            let mut client = Client::spawn(&self.options.worker, &["__worker"]).map_err(runtime_error)?;
            client.open(&library, &SessionSpec::new(path)).map_err(runtime_error)?;
            Ok(client.run(inputs).map_err(runtime_error)?.outputs)
        };
        progress.doing("running the whole model");
        let desk = folder.path().join("whole");
        let original = if weights::absent(self.model).is_empty() {
            self.model.file().path().to_owned()
        } else {
            std::fs::create_dir(&desk).map_err(|source| Error::Io { action: "create", path: desk.clone(), source })?;
            let path = desk.join(MODEL_FILE);
            save(&self.model.file().proto, &path, &SaveOptions::new(self.source))?;
            path
        };
        let before = run(&original, &fed);
        // Only the proof needed it.
        let _ = std::fs::remove_dir_all(&desk);
        let before = before?;
        let mut known: BTreeMap<String, onnxfit_runtime::Tensor> =
            fed.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        for (number, stage) in stages.iter().enumerate() {
            progress.doing(&format!("running stage {} of {}", number + 1, stages.len()));
            let mut inputs = Tensors::new();
            for name in &stage.inputs {
                let tensor = known.get(name).ok_or_else(|| refused(&format!("nothing made `{name}`")))?;
                inputs.insert(name.as_str(), tensor.clone());
            }
            let path = folder.path().join(&view.stages[number].name).join("1").join(MODEL_FILE);
            let made = run(&path, &inputs)?;
            known.extend(made.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())));
        }
        let mut after = Tensors::new();
        for (name, _) in before.iter() {
            if let Some(tensor) = known.remove(name) {
                after.insert(name, tensor);
            }
        }
        let shown: Vec<String> = dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
        let made_up = match from {
            VerifyInputs::Seeded(seed) => format!("inputs made up from seed {seed}"),
            VerifyInputs::File(path) => format!("the inputs of {}", path.display()),
        };
        let how = format!(
            "the whole and {} stages ran on the CPU provider with {made_up}, {}",
            stages.len(),
            shown.join(" ")
        );
        Ok(verify_view(&compare(&before, &after, Exactness::Exact), how))
    }

    /// The request's sizes; where its rows may be cut, only as many as show a wrong one.
    fn dims_of_proof(&self, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, i64> {
        const ROWS_ENOUGH: i64 = 2;
        let mut dims = self.whole.dims.clone();
        let Ok(split) = crate::changes::batch_split(self.model.graph(), None) else { return dims };
        if let Some(rows) = dims.get_mut(&split.dim).filter(|rows| **rows > ROWS_ENOUGH) {
            let message = format!("the proof ran {ROWS_ENOUGH} of {rows} rows: no row sees another");
            diagnostics.push(Diagnostic::note("fewer-rows", message));
            *rows = ROWS_ENOUGH;
        }
        dims
    }
}

fn subfolder(folder: &Folder, name: &str) -> Result<PathBuf, Error> {
    let path = folder.path().join(name).join("1");
    std::fs::create_dir_all(&path).map_err(|source| Error::Io { action: "create", path: path.clone(), source })?;
    Ok(path)
}

fn refused(message: &str) -> Error {
    Error::Rewrite { message: message.to_owned(), hint: None }
}
