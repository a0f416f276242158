//! Which instance types hold a need, the cheapest first.

use onnxfit_base::{Bytes, Diagnostic};

use crate::advice::{Case, advice};
use crate::{
    Availability, Execution, Gpu, Instance, OrtGpuRelease, Price, PriceKind, PriceList, REFERENCE_REGION, instances,
    ort_support,
};

/// The part of the host's memory from which on a need is called tight: the system wants some too.
const HOST_TIGHT_SHARE: f64 = 0.9;

/// An instance type that holds a need.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The instance type.
    pub instance: &'static Instance,
    /// Its GPU.
    pub gpu: &'static Gpu,
    /// What CUDA offers one session there, the context not yet taken off.
    pub budget: Bytes,
    /// What is left of it.
    pub device_spare: Bytes,
    /// What is left of the host's memory.
    pub host_spare: Bytes,
    /// On demand, in the region or, where nothing is known about that, in us-east-1: see its `region`.
    pub price: Option<Price>,
    /// A spot price of the same region, where there is one; its kind says how rough it is.
    pub spot: Option<Price>,
    /// The newest scanned onnxruntime-gpu release that runs there.
    pub release: &'static OrtGpuRelease,
    /// How its kernels run.
    pub execution: Execution,
    /// The pip command for it.
    pub install: String,
    /// What to know about it.
    pub notes: Vec<Diagnostic>,
}

/// The instance types on which one session of that size fits, with the prices that are compiled in.
///
/// `needed_device` counts everything on the device, the CUDA context included. Types come cheapest
/// first, then those without a price; types that cannot be launched, and those that a region with
/// known prices does not have, are left out.
pub fn candidates(needed_device: Bytes, needed_host: Bytes, region: &str) -> Vec<Candidate> {
    candidates_at(PriceList::embedded(), needed_device, needed_host, region)
}

/// [`candidates`] with other prices.
pub fn candidates_at(prices: &PriceList, needed_device: Bytes, needed_host: Bytes, region: &str) -> Vec<Candidate> {
    let embedded = PriceList::embedded();
    let is_known = prices.covers(region);
    let (prices, region_shown) = if is_known { (prices, region) } else { (embedded, REFERENCE_REGION) };
    let mut found: Vec<Candidate> = instances()
        .iter()
        .filter(|instance| instance.availability != Availability::Retired)
        .filter_map(|instance| holds(instance, needed_device, needed_host))
        .filter_map(|candidate| priced(candidate, prices, region, region_shown))
        .collect();
    let cost = |candidate: &Candidate| candidate.price.as_ref().map_or(f64::INFINITY, |price| price.usd_per_hour);
    // Equal prices: the roomier GPU first, then by name, which the table's order does not promise.
    found.sort_by(|left, right| {
        let by_price = cost(left).total_cmp(&cost(right));
        let by_room = || right.budget.cmp(&left.budget);
        by_price.then_with(by_room).then_with(|| left.instance.name.cmp(&right.instance.name))
    });
    found
}

fn holds(instance: &'static Instance, needed_device: Bytes, needed_host: Bytes) -> Option<Candidate> {
    let gpu = instance.gpu()?;
    let (budget, basis) = instance.session_memory()?;
    if budget < needed_device || instance.host_memory < needed_host {
        return None;
    }
    let support = ort_support(gpu.compute_capability, instance.cpu_arch);
    let (release, execution) = support.newest()?;
    let name = instance.name.clone();
    let (cpu, n_gpus) = (instance.cpu_arch, instance.device_count);
    let mut notes = advice(&Case { name, instance: Some(instance), gpu, cpu, n_gpus, budget, basis, support });
    if needed_host.ratio_to(instance.host_memory) > HOST_TIGHT_SHARE {
        let message =
            format!("the host of `{}` has {}, of which {needed_host} is needed", instance.name, instance.host_memory);
        notes.push(Diagnostic::warning("host-memory-tight", message));
    }
    Some(Candidate {
        instance,
        gpu,
        budget,
        device_spare: budget - needed_device,
        host_spare: instance.host_memory - needed_host,
        price: None,
        spot: None,
        release,
        execution,
        install: release.install_command(gpu.compute_capability),
        notes,
    })
}

/// The candidate with its prices; `None` where the region is known and does not have it.
fn priced(mut candidate: Candidate, prices: &PriceList, region: &str, region_shown: &str) -> Option<Candidate> {
    let name = &candidate.instance.name;
    candidate.price = prices.get(name, region_shown, PriceKind::OnDemand).cloned();
    candidate.spot = prices.spot(name, region_shown).cloned();
    if candidate.price.is_none() && candidate.instance.availability != Availability::Reserved {
        return None;
    }
    if region != region_shown {
        let message = format!(
            "no prices of `{region}` are known here: shown is {region_shown}, and whether `{region}` has `{name}` was \
             not checked"
        );
        candidate.notes.push(Diagnostic::warning("other-region-price", message));
    }
    Some(candidate)
}
