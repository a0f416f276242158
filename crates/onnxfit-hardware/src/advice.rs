//! What a user should know about a GPU or instance before relying on it, one rule each.

use onnxfit_base::{Bytes, Diagnostic};

use crate::{
    Availability, ComputeCapability, CpuArch, Execution, Gpu, Instance, MemoryBasis, OrtSupport, OrtVersion,
    REFERENCE_REGION, instances, ort_support, price,
};

/// What the rules look at.
pub(crate) struct Case {
    /// How the user will recognise it.
    pub(crate) name: String,
    pub(crate) instance: Option<&'static Instance>,
    pub(crate) gpu: &'static Gpu,
    pub(crate) cpu: CpuArch,
    pub(crate) n_gpus: u32,
    pub(crate) budget: Bytes,
    pub(crate) basis: MemoryBasis,
    pub(crate) support: OrtSupport,
}

type Rule = fn(&Case) -> Option<Diagnostic>;

/// The rules, in the order in which their findings are shown.
const RULES: [Rule; 9] = [
    no_wheel,
    old_wheel,
    compiled_at_load,
    missing_kernels,
    several_gpus,
    memory_is_estimated,
    vgpu_driver,
    proprietary_driver,
    hard_to_get,
];

/// Everything worth knowing about a case.
pub(crate) fn advice(case: &Case) -> Vec<Diagnostic> {
    RULES.iter().filter_map(|rule| rule(case)).collect()
}

/// The cheapest type with at least that much advertised memory that runs the current release; if
/// none has as much, the one that comes nearest.
pub(crate) fn alternative(advertised: Bytes) -> Option<&'static Instance> {
    let mut fits: Vec<(f64, Bytes, &'static Instance)> = instances()
        .iter()
        .filter(|instance| instance.availability == Availability::OnDemand)
        .filter_map(|instance| {
            let gpu = instance.gpu().filter(|gpu| ort_support(gpu.compute_capability, instance.cpu_arch).is_current());
            Some((price(&instance.name, REFERENCE_REGION)?.usd_per_hour, gpu?.advertised, instance))
        })
        .collect();
    fits.sort_by(|left, right| left.0.total_cmp(&right.0));
    let most = fits.iter().map(|(_, memory, _)| *memory).max()?;
    fits.into_iter().find(|(_, memory, _)| *memory >= advertised.min(most)).map(|(_, _, instance)| instance)
}

/// `use ...` for [`alternative`], with its memory and price.
pub(crate) fn use_instead(advertised: Bytes) -> String {
    let Some(instance) = alternative(advertised) else {
        return "use a type with an NVIDIA GPU, such as `g4dn.xlarge`".to_owned();
    };
    let memory = instance.session_memory().map_or(Bytes::ZERO, |(bytes, _)| bytes);
    let price = price(&instance.name, REFERENCE_REGION).map_or_else(String::new, |price| {
        format!(", ${} an hour on demand in {} on {}", price.usd_per_hour, price.region, price.date)
    });
    let (name, gpu) = (&instance.name, instance.device.key());
    format!("use `{name}`: {gpu}, {memory} for one session{price}")
}

fn no_wheel(case: &Case) -> Option<Diagnostic> {
    if case.support.newest().is_some() {
        return None;
    }
    let Case { name, gpu, cpu, .. } = case;
    let message = format!(
        "no onnxruntime-gpu wheel on PyPI runs on `{name}`: its {} has compute capability {}, for which none of the \
         {cpu} wheels carries kernels",
        gpu.key, gpu.compute_capability
    );
    let hint = format!("build ONNX Runtime from source on it, or {}", use_instead(gpu.advertised));
    Some(Diagnostic::warning("no-wheel", message).with_hint(hint))
}

fn old_wheel(case: &Case) -> Option<Diagnostic> {
    let (release, _) = case.support.newest()?;
    if release.version == case.support.current {
        return None;
    }
    let Case { name, gpu, support, .. } = case;
    let message = format!(
        "onnxruntime-gpu {} does not run on `{name}`: the newest scanned release with kernels for its {} (compute \
         capability {}) is {}, on CUDA {} and cuDNN {}",
        support.current,
        gpu.key,
        gpu.compute_capability,
        release.version,
        release.cuda_major(),
        release.cudnn_major
    );
    let install = release.install_command(gpu.compute_capability);
    let hint = format!("`{install}`, or for the current release {}", use_instead(gpu.advertised));
    Some(Diagnostic::warning("old-wheel", message).with_hint(hint))
}

fn compiled_at_load(case: &Case) -> Option<Diagnostic> {
    let (release, how) = case.support.newest()?;
    (how == Execution::JustInTime).then(|| {
        let message = format!(
            "onnxruntime-gpu {} has no machine code for `{}`: the driver compiles its kernels at the first load, which \
             takes long",
            release.version, case.name
        );
        Diagnostic::warning("compiled-at-load", message)
    })
}

/// Counted in the wheels from 1.27 to 1.31: of 308 fat binaries in 1.31.1 only 217 have sm_75.
fn missing_kernels(case: &Case) -> Option<Diagnostic> {
    let (release, _) = case.support.newest()?;
    let is_turing = case.gpu.compute_capability == ComputeCapability::new(7, 5);
    (is_turing && release.version >= OrtVersion(1, 27, 0)).then(|| {
        let message = format!(
            "onnxruntime-gpu {} was built without some contrib kernels for compute capability 7.5: a node that uses \
             one fails with `no kernel image is available`",
            release.version
        );
        Diagnostic::note("missing-kernels", message)
            .with_hint("onnxruntime-gpu 1.26.0 is the newest scanned release before these gaps")
    })
}

fn several_gpus(case: &Case) -> Option<Diagnostic> {
    (case.n_gpus > 1).then(|| {
        let Case { name, n_gpus, gpu, budget, .. } = case;
        let message = format!(
            "`{name}`: one ONNX Runtime session uses one of the {n_gpus} GPUs, so it has the {budget} of one {}, never \
             the sum",
            gpu.key
        );
        Diagnostic::note("several-gpus", message)
    })
}

fn memory_is_estimated(case: &Case) -> Option<Diagnostic> {
    let how = match case.basis {
        MemoryBasis::CudaReported | MemoryBasis::Given => return None,
        MemoryBasis::NvidiaSmiLessReserve => "the nvidia-smi total less 512 MiB for the driver",
        MemoryBasis::AdvertisedLessReserve => "the advertised size less 1 GiB",
    };
    let message = format!("what CUDA offers on `{}` is not published; {} is {how}", case.name, case.budget);
    Some(Diagnostic::note("memory-estimated", message))
}

fn vgpu_driver(case: &Case) -> Option<Diagnostic> {
    let instance = case.instance.filter(|instance| instance.device_share < 1.0)?;
    let message = format!(
        "`{}` has {} of an L4 as a vGPU: computing time is shared with other tenants, so the card's speed is a ceiling",
        case.name, instance.device_share
    );
    Some(
        Diagnostic::note("vgpu", message)
            .with_hint("install AWS's GRID driver; Ubuntu's and the open drivers refuse it"),
    )
}

/// The open kernel modules need Turing or newer.
fn proprietary_driver(case: &Case) -> Option<Diagnostic> {
    (case.gpu.compute_capability < ComputeCapability::new(7, 5)).then(|| {
        let message = format!("the {} of `{}` needs NVIDIA's proprietary driver", case.gpu.key, case.name);
        let hint = "take the Deep Learning Base AMI with the proprietary NVIDIA driver, not the open one";
        Diagnostic::note("proprietary-driver", message).with_hint(hint)
    })
}

fn hard_to_get(case: &Case) -> Option<Diagnostic> {
    let why = match case.instance?.availability {
        Availability::OnDemand => return None,
        Availability::Reserved => "is sold through Capacity Blocks or UltraServers; it has no price by the hour here",
        Availability::Unconfirmed => "is an old generation; whether it can still be launched was not confirmed",
        Availability::Retired => "is in the price list, but EC2 no longer describes it as a type to launch",
    };
    Some(Diagnostic::warning("hard-to-get", format!("`{}` {why}", case.name)))
}
