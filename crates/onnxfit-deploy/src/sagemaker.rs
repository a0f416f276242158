//! Amazon SageMaker: the requests that make an endpoint, as `aws sagemaker … --cli-input-json` reads them.

use crate::tree::{Tree, map};

/// An endpoint with one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of model, configuration and endpoint: letters, digits and dashes.
    pub name: String,
    /// The model's name in Triton's repository.
    pub model: String,
    /// The image of the container.
    pub image: String,
    /// Where the archive of the repository is: `s3://…/model.tar.gz`.
    pub model_data: String,
    /// The role that the endpoint acts as.
    pub role: String,
    /// The instance type, as `ml.g4dn.xlarge`.
    pub instance_type: String,
    /// Instances at the beginning.
    pub n_instances: u64,
    /// How long download, and then loading, may take.
    pub start_seconds_max: u64,
}

/// File names and their contents, in the order in which they are to be sent.
pub fn documents(endpoint: &Endpoint) -> [(&'static str, String); 3] {
    let container = map([
        ("Image", endpoint.image.as_str().into()),
        ("ModelDataUrl", endpoint.model_data.as_str().into()),
        ("Environment", map([("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", endpoint.model.as_str().into())])),
    ]);
    let model = map([
        ("ModelName", endpoint.name.as_str().into()),
        ("PrimaryContainer", container),
        ("ExecutionRoleArn", endpoint.role.as_str().into()),
    ]);
    // Between a minute and an hour, which is what SageMaker takes.
    let seconds = endpoint.start_seconds_max.clamp(60, 3600);
    let variant = map([
        ("VariantName", "all".into()),
        ("ModelName", endpoint.name.as_str().into()),
        ("InstanceType", endpoint.instance_type.as_str().into()),
        ("InitialInstanceCount", endpoint.n_instances.into()),
        ("ModelDataDownloadTimeoutInSeconds", seconds.into()),
        ("ContainerStartupHealthCheckTimeoutInSeconds", seconds.into()),
    ]);
    let config =
        map([("EndpointConfigName", endpoint.name.as_str().into()), ("ProductionVariants", Tree::from(vec![variant]))]);
    let created =
        map([("EndpointName", endpoint.name.as_str().into()), ("EndpointConfigName", endpoint.name.as_str().into())]);
    [
        ("create-model.json", model.to_json()),
        ("create-endpoint-config.json", config.to_json()),
        ("create-endpoint.json", created.to_json()),
    ]
}
