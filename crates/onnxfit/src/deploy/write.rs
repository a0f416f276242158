//! The files of a deployment, each whole or not at all.

use std::path::Path;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_deploy::kubernetes::{self, Deployment, Machines};
use onnxfit_deploy::sagemaker::{self, Endpoint};
use onnxfit_deploy::triton::{self, Batching, ModelConfig, Place};
use onnxfit_deploy::{dns_label, plain_name};
use onnxfit_hardware::{Availability, Instance, Target, instances};
use onnxfit_onnx::{OnnxError, SaveOptions, TensorSource, save};
use onnxfit_plan::Judged;
use onnxfit_report::deploy::DeployView;

use super::settings::settings;
use super::signature::Signature;
use super::{DeployOptions, KubernetesOptions, SagemakerOptions, repository};
use crate::artifacts::{Folder, MODEL_FILE};
use crate::fix::has_external_data;
use crate::progress::{Progress, Stage};
use crate::request::{Provider, Request};
use crate::{Error, Model, weights};

/// A plan on its way to the disk.
pub(super) struct Writing<'a> {
    pub(super) model: &'a Model,
    pub(super) request: &'a Request,
    pub(super) target: &'a Target,
    pub(super) options: &'a DeployOptions,
    pub(super) chosen: &'a Judged,
    pub(super) signature: &'a Signature,
    /// The most rows that the server may put together, where it may.
    pub(super) batching: Option<u64>,
    pub(super) source: &'a dyn TensorSource,
    pub(super) weights_bytes: Bytes,
    pub(super) host_bytes: Bytes,
}

impl Writing<'_> {
    /// Writes all that was asked for. What cannot be written is refused before anything is.
    pub(super) fn all(
        &self,
        view: &mut DeployView,
        diagnostics: &mut Vec<Diagnostic>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let comments = self.comments(view);
        let config =
            triton::model_config(&self.config(view, &comments)).map_err(|error| refused(&error.to_string()))?;
        let manifest = match &self.options.kubernetes {
            Some(options) => Some((options, self.manifest(view, options, &comments)?)),
            None => None,
        };
        let endpoint = match &self.options.sagemaker {
            Some(options) => Some((options, self.endpoint(view, options)?)),
            None => None,
        };
        if let Some(repository) = &self.options.triton {
            self.repository(repository, &view.name, &config, progress)?;
            let folder = repository.join(&view.name);
            view.files.push(folder.join("config.pbtxt").display().to_string());
            view.files.push(folder.join("1").join(MODEL_FILE).display().to_string());
            view.next.push(format!("tritonserver --model-repository={}", repository.display()));
            if let Some(open) = self.open_sizes() {
                let message = format!("Triton does not bound {open}: larger requests than predicted may fail");
                diagnostics.push(Diagnostic::note("open-sizes", message));
            }
            let message = format!("sized for onnxruntime {}", self.request.ort_version);
            let hint = "name the release inside your Triton image with `--ort`".to_owned();
            diagnostics.push(Diagnostic::note("release", message).with_hint(hint));
        }
        if let Some((options, text)) = manifest {
            write_file(&options.file, &text)?;
            view.files.push(options.file.display().to_string());
            view.next.push(format!("kubectl apply -f {}", options.file.display()));
        }
        if let Some((options, endpoint)) = endpoint {
            let folder = Folder::begin(&options.folder)?;
            for (name, text) in sagemaker::documents(&endpoint) {
                folder.write(name, |out| out.write_all(text.as_bytes()))?;
                let path = options.folder.join(name);
                view.files.push(path.display().to_string());
                let verb = name.trim_end_matches(".json");
                view.next.push(format!("aws sagemaker {verb} --cli-input-json file://{}", path.display()));
            }
            folder.finish()?;
            let archive =
                "the archive at `ModelDataUrl` is the repository packed with `tar -C REPOSITORY -czf model.tar.gz .`";
            diagnostics.push(Diagnostic::note("model-data", archive));
        }
        Ok(())
    }

    fn comments(&self, view: &DeployView) -> Vec<String> {
        let sizes: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
        vec![
            format!("Sized by onnxfit {} for {} on {}", env!("CARGO_PKG_VERSION"), sizes.join(" "), self.target.name),
            format!(
                "One session takes {} ({} to {}) of {}, context included",
                self.chosen.peak.expected, self.chosen.peak.low, self.chosen.peak.high, self.target.budget
            ),
        ]
    }

    fn config(&self, view: &DeployView, comments: &[String]) -> ModelConfig {
        let is_cpu = self.request.provider == Provider::Cpu;
        ModelConfig {
            name: view.name.clone(),
            comments: comments.to_vec(),
            place: if is_cpu { Place::Cpu } else { Place::EachGpu },
            n_instances: view.n_instances,
            inputs: self.signature.inputs.clone(),
            outputs: self.signature.outputs.clone(),
            batching: self
                .batching
                .map(|rows_max| Batching {
                    rows_max,
                    preferred: if rows_max > 1 { vec![rows_max.div_ceil(2), rows_max] } else { vec![rows_max] },
                    queue_delay_microseconds: self.options.queue_delay_microseconds,
                })
                .map(|mut batching| {
                    batching.preferred.dedup();
                    batching
                }),
            settings: settings(self.request, &self.chosen.point.levers),
        }
    }

    /// Inputs whose sizes nobody bounds.
    fn open_sizes(&self) -> Option<String> {
        let skipped = usize::from(self.batching.is_some());
        let is_open = |dims: &[i64]| dims.iter().skip(skipped).any(|size| *size < 0);
        let inputs = self.signature.inputs.iter().filter(|input| is_open(&input.dims));
        let names: Vec<String> = inputs.map(|input| format!("`{}`", input.name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn repository(&self, repository: &Path, name: &str, config: &str, progress: &dyn Progress) -> Result<(), Error> {
        let absent = if self.options.random_weights.is_some() { Vec::new() } else { weights::absent(self.model) };
        if let Some(first) = absent.first() {
            return Err(Error::Runtime {
                message: format!("{} weights are absent, first `{first}`: no server could run the model", absent.len()),
                hint: Some("put the data file beside the model, or try with `--random-weights SEED`".to_owned()),
            });
        }
        std::fs::create_dir_all(repository).map_err(|source| Error::Io {
            action: "create",
            path: repository.to_owned(),
            source,
        })?;
        let folder = Folder::begin(&repository.join(name))?;
        let version = folder.path().join("1");
        std::fs::create_dir(&version).map_err(|source| Error::Io {
            action: "create",
            path: version.clone(),
            source,
        })?;
        let file = self.model.file();
        let path = version.join(MODEL_FILE);
        if has_external_data(&file.proto) {
            if let Some(first) = &file.first_unknown_field {
                return Err(OnnxError::WouldLose { path: file.path().to_owned(), first: first.clone() }.into());
            }
            let written = |done: Bytes, total: Bytes| {
                let what = "writing weights".to_owned();
                progress.stage(&Stage::Counted { what, done: done.get(), total: total.get() });
            };
            save(&file.proto, &path, &SaveOptions { progress: Some(&written), ..SaveOptions::new(self.source) })?;
        } else {
            file.copy_to(&path)?;
        }
        folder.write("config.pbtxt", |out| out.write_all(config.as_bytes()))?;
        folder.finish()
    }

    fn manifest(&self, view: &DeployView, options: &KubernetesOptions, comments: &[String]) -> Result<String, Error> {
        let is_cuda = self.request.provider == Provider::Cuda;
        let found = self.machines();
        let machines = match (self.target.instance, found.as_slice()) {
            (Some(instance), _) => Machines::Type(instance.name.clone()),
            (None, [_, ..]) => Machines::AnyOf(found.iter().map(|instance| instance.name.clone()).collect()),
            (None, []) if is_cuda => {
                let hint = "give `--on g4dn.xlarge` or `--on T4`".to_owned();
                let message = format!("`{}` does not say on which machines pods may run", self.target.name);
                return Err(Error::Binding(message, Some(hint)));
            }
            (None, []) => Machines::Any,
        };
        let places: Vec<&Instance> = self.target.instance.into_iter().chain(found.iter().copied()).collect();
        let smallest = places.iter().map(|instance| instance.host_memory).min();
        if let Some(memory) = smallest.filter(|memory| self.host_bytes > allocatable(*memory)) {
            let message = format!(
                "a pod takes {} of the host's memory, and of {memory} about {} are left for pods",
                self.host_bytes,
                allocatable(memory)
            );
            let hint = "take a larger instance type with the same GPU".to_owned();
            return Err(Error::Binding(message, Some(hint)));
        }
        let cpus = places.iter().map(|instance| u64::from(instance.vcpus / instance.device_count.max(1))).min();
        Ok(kubernetes::manifest(&Deployment {
            name: dns_label(&view.name),
            model: view.name.clone(),
            comments: comments.to_vec(),
            image: options.image.clone(),
            repository: repository(&options.models),
            machines,
            n_gpus: u64::from(is_cuda),
            host_memory: self.host_bytes,
            // One is left to the node's own services.
            n_cpus: cpus.map_or(1, |cpus| cpus.saturating_sub(1).max(1)),
            replicas_min: options.replicas_min.max(1),
            replicas_max: options.replicas_max,
            start_seconds_max: self.start_seconds_max(),
        }))
    }

    /// Instance types that have the GPU which was named alone.
    fn machines(&self) -> Vec<&'static Instance> {
        let (None, Some(gpu)) = (self.target.instance, self.target.gpu) else { return Vec::new() };
        let has_it = |instance: &&Instance| {
            instance.gpu().is_some_and(|other| other.key == gpu.key)
                && instance.device_share >= 1.0
                && instance.availability == Availability::OnDemand
                && self.host_bytes <= allocatable(instance.host_memory)
        };
        instances().iter().filter(has_it).collect()
    }

    fn endpoint(&self, view: &DeployView, options: &SagemakerOptions) -> Result<Endpoint, Error> {
        let rented = self
            .target
            .instance
            .filter(|instance| instance.sagemaker_scopes.split_whitespace().any(|scope| scope == "endpoint"));
        let Some(instance_type) = rented.and_then(Instance::sagemaker_name) else {
            let message = format!("SageMaker has no endpoints on `{}`", self.target.name);
            let hint =
                "name an instance type that it has, such as `--on ml.g4dn.xlarge`; `onnxfit recommend` shows them";
            return Err(Error::Binding(message, Some(hint.to_owned())));
        };
        Ok(Endpoint {
            name: dns_label(&view.name),
            model: plain_name(&view.name),
            image: options.image.clone(),
            model_data: options.model_data.clone(),
            role: options.role.clone(),
            instance_type,
            n_instances: options.n_instances.max(1),
            start_seconds_max: self.start_seconds_max(),
        })
    }

    /// Two minutes for the process, and the weights at the pace of a slow volume.
    fn start_seconds_max(&self) -> u64 {
        const BYTES_PER_SECOND: u64 = 50_000_000;
        120 + self.model.file().size().max(self.weights_bytes).get() / BYTES_PER_SECOND
    }
}

/// What a node leaves to pods: Kubernetes and the system keep about a tenth, and half a gibibyte.
fn allocatable(memory: Bytes) -> Bytes {
    Bytes(memory.get() / 10 * 9).saturating_sub(Bytes::mib(512))
}

fn refused(message: &str) -> Error {
    Error::Binding(message.to_owned(), None)
}

/// Writes beside the place and moves the file there when it is whole.
fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path)).map_err(|source| {
        // The failure that brought us here is what is reported.
        let _ = std::fs::remove_file(&part);
        Error::Io { action: "write", path: path.to_owned(), source }
    })
}
