//! `onnxfit deploy`: what Triton, Kubernetes and SageMaker must be told, sized by the twin.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use onnxfit::{DeployOptions, KubernetesOptions, Model, SagemakerOptions};

use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Put the model into this Triton model repository, as a folder of its own
    #[arg(long, value_name = "DIR")]
    triton: Option<PathBuf>,
    /// Write a manifest of pods that run Triton: Deployment, Service, HorizontalPodAutoscaler
    #[arg(long, value_name = "FILE", requires_all = ["image", "models"])]
    kubernetes: Option<PathBuf>,
    /// Write the requests that make an endpoint of SageMaker
    #[arg(long, value_name = "DIR", requires_all = ["image", "model_data", "role"])]
    sagemaker: Option<PathBuf>,
    /// The container image that brings `tritonserver`
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Where pods find the repository: a PersistentVolumeClaim, or an address such as `s3://…`
    #[arg(long, value_name = "CLAIM|URL")]
    models: Option<String>,
    /// Where SageMaker finds the packed repository: `s3://…/model.tar.gz`
    #[arg(long, value_name = "URL")]
    model_data: Option<String>,
    /// The role that the endpoint acts as
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// The name it is served under; that of the file, or of the folder around a `model.onnx`
    #[arg(long)]
    name: Option<String>,
    /// Sessions side by side on each GPU
    #[arg(long, value_name = "N", default_value_t = 1)]
    instances: u64,
    /// Pods, or endpoint instances, at least
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u64,
    /// Pods at most
    #[arg(long, value_name = "N", default_value_t = 4)]
    replicas_max: u64,
    /// How long the server may wait for more rows, in microseconds
    #[arg(long, value_name = "N", default_value_t = 1000)]
    queue_delay: u64,
    /// Dimension that the batch is, if its name does not tell
    #[arg(long, value_name = "NAME")]
    batch_dim: Option<String>,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// The answer as JSON (`onnxfit.deploy/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let options = DeployOptions {
        name: arguments.name.clone(),
        batch_dim: arguments.batch_dim.clone(),
        n_instances: arguments.instances,
        queue_delay_microseconds: arguments.queue_delay,
        triton: arguments.triton.clone(),
        kubernetes: arguments.kubernetes.clone().map(|file| KubernetesOptions {
            file,
            image: text(&arguments.image),
            models: text(&arguments.models),
            replicas_min: arguments.replicas,
            replicas_max: arguments.replicas_max,
        }),
        sagemaker: arguments.sagemaker.clone().map(|folder| SagemakerOptions {
            folder,
            image: text(&arguments.image),
            model_data: text(&arguments.model_data),
            role: text(&arguments.role),
            n_instances: arguments.replicas,
        }),
        random_weights: arguments.random_weights,
    };
    let bar = Bar::new();
    let view = onnxfit::deploy(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::deploy::write_text(&mut out, &view))?;
    Ok(if view.fits { 0 } else { 1 })
}
