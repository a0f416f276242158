//! Kubernetes: a Deployment, a Service and a HorizontalPodAutoscaler of pods that run Triton.

use onnxfit_base::Bytes;

use crate::tree::{Tree, map};

/// Where Triton finds its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A PersistentVolumeClaim, mounted read-only.
    Claim(String),
    /// An address that Triton reads itself: `s3://…`, `gs://…`.
    Address(String),
}

/// On which machines pods may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machines {
    /// One instance type.
    Type(String),
    /// Any of several.
    AnyOf(Vec<String>),
    /// Any at all.
    Any,
}

/// Everything the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The name of all three objects: a DNS label.
    pub name: String,
    /// The model's name in the repository.
    pub model: String,
    /// What to know, one line each, as comments.
    pub comments: Vec<String>,
    /// The image that brings `tritonserver`.
    pub image: String,
    /// Where the models are.
    pub repository: Repository,
    /// On which machines.
    pub machines: Machines,
    /// GPUs of a pod: Triton runs its instances on each.
    pub n_gpus: u64,
    /// What a pod takes of the host's memory; it may not take more.
    pub host_memory: Bytes,
    /// Processors that a pod is promised.
    pub n_cpus: u64,
    /// Pods at least.
    pub replicas_min: u64,
    /// Pods at most.
    pub replicas_max: u64,
    /// How long loading may take.
    pub start_seconds_max: u64,
}

/// The manifest: three YAML documents.
pub fn manifest(deployment: &Deployment) -> String {
    let mut text = String::new();
    for comment in &deployment.comments {
        text.push_str(&format!("# {}\n", comment.replace(['\n', '\r'], " ")));
    }
    let documents = [self::deployment(deployment), service(deployment), autoscaler(deployment)];
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        text.push_str(&document.to_yaml());
    }
    text
}

fn labels(deployment: &Deployment) -> Tree {
    map([("app.kubernetes.io/name", deployment.name.as_str().into())])
}

fn metadata(deployment: &Deployment) -> Tree {
    map([("name", deployment.name.as_str().into()), ("labels", labels(deployment))])
}

fn deployment(deployment: &Deployment) -> Tree {
    let mut pod = vec![("containers".to_owned(), vec![container(deployment)].into())];
    if let Repository::Claim(claim) = &deployment.repository {
        let volume = map([
            ("name", "models".into()),
            ("persistentVolumeClaim", map([("claimName", claim.as_str().into()), ("readOnly", Tree::Bool(true))])),
        ]);
        pod.push(("volumes".to_owned(), vec![volume].into()));
    }
    match &deployment.machines {
        Machines::Any => {}
        Machines::Type(name) => {
            pod.push(("nodeSelector".to_owned(), map([(INSTANCE_TYPE, name.as_str().into())])));
        }
        Machines::AnyOf(names) => {
            let names: Vec<Tree> = names.iter().map(|name| name.as_str().into()).collect();
            let one_of = map([("key", INSTANCE_TYPE.into()), ("operator", "In".into()), ("values", names.into())]);
            let terms = vec![map([("matchExpressions", vec![one_of].into())])];
            let required = map([("nodeSelectorTerms", terms.into())]);
            let affinity = map([("requiredDuringSchedulingIgnoredDuringExecution", required)]);
            pod.push(("affinity".to_owned(), map([("nodeAffinity", affinity)])));
        }
    }
    if deployment.n_gpus > 0 {
        let toleration = map([("key", GPU.into()), ("operator", "Exists".into()), ("effect", "NoSchedule".into())]);
        pod.push(("tolerations".to_owned(), vec![toleration].into()));
    }
    let template = map([("metadata", map([("labels", labels(deployment))])), ("spec", Tree::Map(pod))]);
    let spec = map([
        ("replicas", deployment.replicas_min.into()),
        ("selector", map([("matchLabels", labels(deployment))])),
        ("template", template),
    ]);
    map([
        ("apiVersion", "apps/v1".into()),
        ("kind", "Deployment".into()),
        ("metadata", metadata(deployment)),
        ("spec", spec),
    ])
}

fn container(deployment: &Deployment) -> Tree {
    let models = match &deployment.repository {
        Repository::Claim(_) => "/models",
        Repository::Address(address) => address.as_str(),
    };
    let arguments: Vec<Tree> = [
        "tritonserver".to_owned(),
        format!("--model-repository={models}"),
        // One model and no other, and a pod is ready only with it.
        "--model-control-mode=explicit".to_owned(),
        format!("--load-model={}", deployment.model),
        "--strict-readiness=true".to_owned(),
        "--exit-on-error=true".to_owned(),
    ]
    .into_iter()
    .map(Tree::from)
    .collect();
    let port = |(name, number): (&str, u64)| map([("name", name.into()), ("containerPort", number.into())]);
    let mut limits = vec![("memory".to_owned(), memory(deployment.host_memory))];
    let mut requests = vec![
        ("cpu".to_owned(), Tree::from(deployment.n_cpus.to_string())),
        ("memory".to_owned(), memory(deployment.host_memory)),
    ];
    if deployment.n_gpus > 0 {
        for list in [&mut limits, &mut requests] {
            list.push((GPU.to_owned(), deployment.n_gpus.to_string().into()));
        }
    }
    let asks = |path: &str| map([("path", path.into()), ("port", "http".into())]);
    let probe = |path: &str, period: u64, failures: u64| {
        map([("httpGet", asks(path)), ("periodSeconds", period.into()), ("failureThreshold", failures.into())])
    };
    let mut entries = vec![
        ("name".to_owned(), Tree::from("triton")),
        ("image".to_owned(), deployment.image.as_str().into()),
        ("args".to_owned(), arguments.into()),
        ("ports".to_owned(), PORTS.iter().copied().map(port).collect::<Vec<_>>().into()),
        ("resources".to_owned(), map([("limits", Tree::Map(limits)), ("requests", Tree::Map(requests))])),
        (
            "startupProbe".to_owned(),
            probe("/v2/health/ready", PROBE_SECONDS, deployment.start_seconds_max.div_ceil(PROBE_SECONDS).max(1)),
        ),
        ("readinessProbe".to_owned(), probe("/v2/health/ready", PROBE_SECONDS, 3)),
        ("livenessProbe".to_owned(), probe("/v2/health/live", PROBE_SECONDS, 6)),
    ];
    if let Repository::Claim(_) = &deployment.repository {
        let mount = map([("name", "models".into()), ("mountPath", models.into()), ("readOnly", Tree::Bool(true))]);
        entries.push(("volumeMounts".to_owned(), vec![mount].into()));
    }
    Tree::Map(entries)
}

fn service(deployment: &Deployment) -> Tree {
    let port = |(name, number): (&str, u64)| {
        map([("name", name.into()), ("port", number.into()), ("targetPort", name.into())])
    };
    let spec =
        map([("selector", labels(deployment)), ("ports", PORTS.iter().copied().map(port).collect::<Vec<_>>().into())]);
    map([("apiVersion", "v1".into()), ("kind", "Service".into()), ("metadata", metadata(deployment)), ("spec", spec)])
}

/// By processor time, which every cluster with a metrics server knows; a GPU's load needs an adapter.
fn autoscaler(deployment: &Deployment) -> Tree {
    let target = map([("type", "Utilization".into()), ("averageUtilization", CPU_PERCENT.into())]);
    let metric = map([("type", "Resource".into()), ("resource", map([("name", "cpu".into()), ("target", target)]))]);
    let reference = map([
        ("apiVersion", "apps/v1".into()),
        ("kind", "Deployment".into()),
        ("name", deployment.name.as_str().into()),
    ]);
    let spec = map([
        ("scaleTargetRef", reference),
        ("minReplicas", deployment.replicas_min.into()),
        ("maxReplicas", deployment.replicas_max.max(deployment.replicas_min).into()),
        ("metrics", vec![metric].into()),
    ]);
    map([
        ("apiVersion", "autoscaling/v2".into()),
        ("kind", "HorizontalPodAutoscaler".into()),
        ("metadata", metadata(deployment)),
        ("spec", spec),
    ])
}

/// An amount in Kubernetes' words, rounded up.
fn memory(bytes: Bytes) -> Tree {
    format!("{}Mi", bytes.get().div_ceil(1 << 20)).into()
}

/// The label that every cloud's nodes carry.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// What NVIDIA's device plugin calls a GPU.
const GPU: &str = "nvidia.com/gpu";
/// Triton's ports.
const PORTS: &[(&str, u64)] = &[("http", 8000), ("grpc", 8001), ("metrics", 8002)];
/// How often a pod is asked.
const PROBE_SECONDS: u64 = 5;
/// The load at which a pod is added.
const CPU_PERCENT: u64 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_for_what_it_takes_where_it_fits() {
        let text = manifest(&Deployment {
            name: "net".to_owned(),
            model: "net".to_owned(),
            comments: vec!["why".to_owned()],
            image: "registry.example/triton:1".to_owned(),
            repository: Repository::Claim("models".to_owned()),
            machines: Machines::AnyOf(vec!["g4dn.xlarge".to_owned(), "g4dn.2xlarge".to_owned()]),
            n_gpus: 1,
            host_memory: Bytes(3 * (1 << 30) + 1),
            n_cpus: 3,
            replicas_min: 2,
            replicas_max: 1,
            start_seconds_max: 62,
        });
        for line in [
            "# why",
            "memory: \"3073Mi\"",
            "nvidia.com/gpu: \"1\"",
            "- key: \"node.kubernetes.io/instance-type\"",
            "failureThreshold: 13",
            "maxReplicas: 2",
            "claimName: \"models\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("\n---\n").count(), 2);
    }
}
