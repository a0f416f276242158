//! What `--on` names: an instance type, a GPU, or an amount of memory.

use onnxfit_base::{Bytes, Diagnostic};

use crate::advice::{Case, advice, use_instead};
use crate::name::{accelerator_named, gpus_named, split_count, suggestions};
use crate::{
    Accelerator, ContextBand, CpuArch, Device, Execution, Gpu, Instance, MemoryBasis, OrtGpuRelease, instances,
    ort_support,
};

/// A bare number below this is a slip: nobody means a device of 16 bytes.
const BARE_BYTES_MIN: Bytes = Bytes::MIB;

/// What an accelerator without memory of its own is compared with when something else is proposed.
const ALTERNATIVE_MIN: Bytes = Bytes::gib(8);

/// Where a model is to run.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its proper name: `g4dn.xlarge`, `ml.g4dn.xlarge`, `T4` or `14.00 GiB`.
    pub name: String,
    /// The GPU, unless only an amount was given.
    pub gpu: Option<&'static Gpu>,
    /// The instance type, if one was named.
    pub instance: Option<&'static Instance>,
    /// The device memory that CUDA offers one session, its context still to be taken from it.
    pub budget: Bytes,
    /// How `budget` is known.
    pub basis: MemoryBasis,
    /// The same as a sentence part, with the other numbers that go by the name of memory.
    pub provenance: String,
    /// What the CUDA context takes from `budget`; nothing on the CPU provider.
    pub context: ContextBand,
    /// The host's memory, if an instance was named.
    pub host_memory: Option<Bytes>,
    /// The newest scanned onnxruntime-gpu release that runs there, and how.
    pub release: Option<(&'static OrtGpuRelease, Execution)>,
    /// What to know about it.
    pub notes: Vec<Diagnostic>,
}

/// A text that names no place where ONNX Runtime's CUDA provider can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing goes by that name.
    #[error("`{text}` is no EC2 instance type with an accelerator, no GPU and no amount of memory")]
    Unknown {
        /// What was written.
        text: String,
        /// The nearest names, nearest first.
        suggestions: Vec<String>,
    },
    /// An amount that cannot be meant.
    #[error("`{text}` is {amount}, too little for any device")]
    TooSmall {
        /// What was written.
        text: String,
        /// What it says.
        amount: Bytes,
    },
    /// No CUDA there.
    #[error("`{name}` has no NVIDIA GPU: {model} is {reason}, and onnxruntime-gpu needs CUDA")]
    NoCuda {
        /// The instance type or accelerator.
        name: String,
        /// What the maker calls the accelerator.
        model: String,
        /// What it is instead.
        reason: String,
        /// What to do.
        instead: String,
    },
    /// An NVIDIA GPU that is too old for every wheel, and for a build of one's own.
    #[error(
        "no onnxruntime-gpu release runs on `{name}`: its {gpu} has compute capability {capability}, which CUDA \
         supported up to {cuda_last}"
    )]
    TooOld {
        /// The instance type or GPU.
        name: String,
        /// The GPU.
        gpu: String,
        /// Its compute capability.
        capability: String,
        /// The last CUDA release for it.
        cuda_last: String,
        /// What to do.
        instead: String,
    },
}

impl TargetError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { suggestions, .. } if suggestions.is_empty() => {
                "write an instance type (`g4dn.xlarge`), a GPU (`T4`) or an amount (`14GiB`)".to_owned()
            }
            Self::Unknown { suggestions, .. } => {
                let names: Vec<String> = suggestions.iter().map(|name| format!("`{name}`")).collect();
                format!("did you mean {}?", names.join(" or "))
            }
            Self::TooSmall { text, amount } if *amount > Bytes::ZERO => format!("write the unit: `{text}GiB`"),
            Self::TooSmall { .. } => "write for example `14GiB`".to_owned(),
            Self::NoCuda { instead, .. } | Self::TooOld { instead, .. } => instead.clone(),
        }
    }

    /// The error as a finding, with its hint.
    pub fn diagnostic(&self) -> Diagnostic {
        let id = match self {
            Self::Unknown { .. } => "unknown-target",
            Self::TooSmall { .. } => "target-too-small",
            Self::NoCuda { .. } => "no-cuda",
            Self::TooOld { .. } => "gpu-too-old",
        };
        Diagnostic::error(id, self.to_string()).with_hint(self.hint())
    }
}

/// Finds what a text names: `g4dn.xlarge`, SageMaker's `ml.g4dn.xlarge`, `T4`, `A100-40GB`, `14GiB`.
///
/// Upper and lower case are the same. A GPU that exists in several sizes means the smallest one,
/// with a note. Memory of several GPUs is never summed.
///
/// # Errors
///
/// When nothing goes by that name, or when it names something that onnxruntime-gpu cannot use.
pub fn resolve_target(text: &str) -> Result<Target, TargetError> {
    let trimmed = text.trim();
    let lower = trimmed.to_lowercase();
    let instance_name = lower.strip_prefix("ml.").unwrap_or(&lower);
    if let Some(instance) = instances().iter().find(|instance| instance.name == instance_name) {
        return of_instance(instance, lower.starts_with("ml."));
    }
    if let Ok(amount) = trimmed.parse::<Bytes>() {
        return of_amount(trimmed, amount);
    }
    if let Some(target) = of_device(trimmed, 1) {
        return target;
    }
    let counted = split_count(trimmed).and_then(|(n_gpus, name)| of_device(name, n_gpus));
    let unknown = || TargetError::Unknown { text: trimmed.to_owned(), suggestions: suggestions(trimmed) };
    counted.unwrap_or_else(|| Err(unknown()))
}

fn of_instance(instance: &'static Instance, on_sagemaker: bool) -> Result<Target, TargetError> {
    let name = if on_sagemaker { format!("ml.{}", instance.name) } else { instance.name.clone() };
    let (gpu, (budget, basis)) = match (instance.device, instance.session_memory()) {
        (Device::Gpu(gpu), Some(memory)) => (gpu, memory),
        (Device::Gpu(gpu), None) => (gpu, gpu.cuda_total()),
        (Device::Other(other), _) => return Err(no_cuda(&name, other)),
    };
    let support = ort_support(gpu.compute_capability, instance.cpu_arch);
    let (cpu, n_gpus) = (instance.cpu_arch, instance.device_count);
    let mut target = of_case(Case { name, instance: Some(instance), gpu, cpu, n_gpus, budget, basis, support })?;
    if on_sagemaker && instance.sagemaker_name().is_none() {
        let message = format!("SageMaker does not list `{}`; EC2 has `{}`", target.name, instance.name);
        target.notes.push(Diagnostic::warning("not-on-sagemaker", message));
    }
    Ok(target)
}

fn of_device(text: &str, n_gpus: u32) -> Option<Result<Target, TargetError>> {
    let found = gpus_named(text);
    let Some(gpu) = found.first().copied() else {
        return accelerator_named(text).map(|other| Err(no_cuda(text, other)));
    };
    // The processor that AWS puts beside it; a GPU in no instance does not occur.
    let host = instances().iter().find(|instance| instance.device.key() == gpu.key);
    let cpu = host.map_or(CpuArch::X86_64, |instance| instance.cpu_arch);
    let (budget, basis) = gpu.cuda_total();
    let support = ort_support(gpu.compute_capability, cpu);
    let case = Case { name: gpu.key.clone(), instance: None, gpu, cpu, n_gpus, budget, basis, support };
    Some(of_case(case).map(|mut target| {
        if found.len() > 1 {
            let others: Vec<String> = found[1..].iter().map(|gpu| format!("`{}`", gpu.key)).collect();
            let message = format!("`{text}` comes in several sizes; taken as `{}`, the smallest", gpu.key);
            let hint = format!("write {} for more", others.join(" or "));
            target.notes.insert(0, Diagnostic::note("several-sizes", message).with_hint(hint));
        }
        target
    }))
}

fn of_amount(text: &str, amount: Bytes) -> Result<Target, TargetError> {
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    if amount == Bytes::ZERO || (is_bare && amount < BARE_BYTES_MIN) {
        return Err(TargetError::TooSmall { text: text.to_owned(), amount });
    }
    Ok(Target {
        name: amount.to_string(),
        gpu: None,
        instance: None,
        budget: amount,
        basis: MemoryBasis::Given,
        provenance: format!("{} bytes, as given", amount.get()),
        context: ContextBand::LAZY_LOADING,
        host_memory: None,
        release: None,
        notes: Vec::new(),
    })
}

fn of_case(case: Case) -> Result<Target, TargetError> {
    let gpu = case.gpu;
    if let (None, Some(cuda_last)) = (case.support.newest(), &gpu.cuda_last) {
        return Err(TargetError::TooOld {
            name: case.name,
            gpu: gpu.key.clone(),
            capability: gpu.compute_capability.to_string(),
            cuda_last: cuda_last.clone(),
            instead: use_instead(gpu.advertised),
        });
    }
    Ok(Target {
        notes: advice(&case),
        provenance: provenance(&case),
        release: case.support.newest(),
        context: gpu.context(),
        host_memory: case.instance.map(|instance| instance.host_memory),
        gpu: Some(gpu),
        instance: case.instance,
        budget: case.budget,
        basis: case.basis,
        name: case.name,
    })
}

fn no_cuda(name: &str, other: &Accelerator) -> TargetError {
    TargetError::NoCuda {
        name: name.to_owned(),
        model: other.model.clone(),
        reason: other.why_no_cuda.clone(),
        instead: use_instead(other.advertised.unwrap_or(ALTERNATIVE_MIN)),
    }
}

fn provenance(case: &Case) -> String {
    let mib = |bytes: Bytes| bytes.get() / Bytes::MIB.get();
    let how = match case.basis {
        MemoryBasis::CudaReported => "that CUDA reports",
        MemoryBasis::NvidiaSmiLessReserve => "estimated: the nvidia-smi total less 512 MiB",
        MemoryBasis::AdvertisedLessReserve => "estimated: the advertised size less 1 GiB",
        MemoryBasis::Given => "as given",
    };
    let smi_total = case.instance.and_then(|instance| instance.nvidia_smi_override).or(case.gpu.nvidia_smi_total);
    let others = [(smi_total, "in nvidia-smi"), (case.gpu.ec2_api_total, "in the EC2 API")];
    let others = others.iter().filter_map(|(total, place)| total.map(|total| format!("{} MiB {place}", mib(total))));
    let others: Vec<String> = others.chain([format!("{} MiB advertised", mib(case.gpu.advertised))]).collect();
    format!("{} MiB {how} ({})", mib(case.budget), others.join(", "))
}
