//! The tables are whole, and agree with the raw ones they were made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit_base::Bytes;
use onnxfit_hardware::{
    ComputeCapability, CpuArch, Device, Execution, MemoryBasis, OrtVersion, Platform, PriceKind, PriceList,
    accelerators, gpus, instance, instances, ort_gpu_releases, ort_support,
};

#[test]
fn every_row_is_read() {
    assert_eq!(instances().len(), 102);
    assert_eq!(gpus().len(), 22);
    assert_eq!(accelerators().len(), 8);
    assert_eq!(ort_gpu_releases().len(), 25);
    assert_eq!(PriceList::embedded().iter().count(), 217);
    let names: BTreeSet<&str> = instances().iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names.len(), 102);
    for price in PriceList::embedded().iter() {
        assert!(names.contains(price.instance.as_str()), "{}", price.instance);
        assert!(price.usd_per_hour > 0.0 && price.date.len() == 10, "{price:?}");
    }
}

#[test]
fn a_t4_has_three_memories_and_the_smallest_counts() {
    let t4 = gpus().iter().find(|gpu| gpu.key == "T4").expect("a T4");
    assert_eq!(t4.ec2_api_total, Some(Bytes::mib(16384)));
    assert_eq!(t4.nvidia_smi_total, Some(Bytes::mib(15360)));
    assert_eq!(t4.cuda_total(), (Bytes::mib(14909), MemoryBasis::CudaReported));
    assert_eq!(t4.compute_capability, ComputeCapability::new(7, 5));
}

#[test]
fn memory_never_exceeds_what_is_shown_or_advertised() {
    for gpu in gpus() {
        let (total, _) = gpu.cuda_total();
        assert!(total < gpu.nvidia_smi_total.unwrap_or(gpu.advertised), "{}", gpu.key);
        assert!(gpu.nvidia_smi_total <= Some(gpu.advertised), "{}", gpu.key);
        assert!(gpu.context().low < gpu.context().expected && gpu.context().expected < gpu.context().high);
    }
}

#[test]
fn spot_checks_of_instances_hold() {
    let check = |name: &str, key: &str, count, share, host_gib: f64, vcpus, cpu| {
        let found = instance(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((found.device.key(), found.device_count, found.device_share), (key, count, share), "{name}");
        assert_eq!(found.host_memory, Bytes::mib((host_gib * 1024.0) as u64), "{name}");
        assert_eq!((found.vcpus, found.cpu_arch), (vcpus, cpu), "{name}");
    };
    check("g4dn.12xlarge", "T4", 4, 1.0, 192.0, 48, CpuArch::X86_64);
    check("g6f.large", "L4-3Q", 1, 0.125, 8.0, 2, CpuArch::X86_64);
    check("g3s.xlarge", "M60", 1, 1.0, 30.5, 4, CpuArch::X86_64);
    check("g5g.xlarge", "T4G", 1, 1.0, 8.0, 4, CpuArch::Arm64);
    check("inf1.24xlarge", "Inferentia1", 16, 1.0, 192.0, 96, CpuArch::X86_64);
    let session_mib =
        |name: &str| instance(name).and_then(|found| found.session_memory()).map(|(bytes, _)| bytes.get() >> 20);
    assert_eq!(session_mib("g5.xlarge"), Some(22589));
    assert_eq!(session_mib("p3dn.24xlarge"), Some(32768 - 512));
    assert_eq!(session_mib("g5g.metal"), Some(16384 - 512));
    assert_eq!(session_mib("g5g.xlarge"), Some(15360 - 512));
    assert_eq!(session_mib("inf1.xlarge"), None);
}

#[test]
fn the_newest_wheel_for_each_gpu_is_known() {
    let newest = |major, minor, cpu| {
        let support = ort_support(ComputeCapability::new(major, minor), cpu);
        support
            .newest()
            .map(|(release, how)| (release.version.to_string(), how, release.cuda_major(), release.cudnn_major))
    };
    let native = |version: &str, cuda, cudnn| Some((version.to_owned(), Execution::Native, cuda, cudnn));
    assert_eq!(newest(3, 0, CpuArch::X86_64), None);
    assert_eq!(newest(3, 7, CpuArch::X86_64), native("1.14.1", 11, 8));
    assert_eq!(newest(5, 2, CpuArch::X86_64), native("1.20.2", 12, 9));
    assert_eq!(newest(7, 0, CpuArch::X86_64), native("1.26.0", 12, 9));
    assert_eq!(newest(7, 5, CpuArch::X86_64), native("1.31.1", 13, 9));
    assert_eq!(newest(10, 0, CpuArch::X86_64), native("1.28.0", 13, 9));
    assert_eq!(newest(10, 3, CpuArch::X86_64), Some(("1.26.0".to_owned(), Execution::JustInTime, 12, 9)));
    assert_eq!(newest(12, 0, CpuArch::X86_64), native("1.31.1", 13, 9));
    assert_eq!(newest(7, 5, CpuArch::Arm64), None);
    assert_eq!(newest(10, 0, CpuArch::Arm64), None);
    assert_eq!(newest(9, 0, CpuArch::Arm64), native("1.31.1", 13, 9));
    assert!(ort_gpu_releases().is_sorted_by_key(|release| release.version));
    assert!("1.31".parse::<OrtVersion>().is_err());
}

/// The raw tables, where this checkout has them.
fn raw() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let raw = shared.join("data");
    if raw.is_dir() {
        return Some(raw);
    }
    eprintln!("skipped: no raw tables in {}", raw.display());
    None
}

/// A raw table as column name to cell, read by Python's own reader so that ours is checked too.
fn raw_rows(raw: &Path, name: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let script = "import csv,sys\nfor r in csv.DictReader(open(sys.argv[1],encoding='utf-8')):\n print('\\x1f'.join(k+'='+v for k,v in r.items()))";
    let Ok(output) = Command::new("python3").args(["-c", script]).arg(raw.join(name)).output() else {
        eprintln!("skipped: no python3");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the raw tables are UTF-8");
    let cell = |cell: &str| cell.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(text.lines().map(|line| line.split('\x1f').filter_map(cell).collect()).collect())
}

/// The scanners' verdicts were reached without our rules of compatibility.
#[test]
fn every_scanned_verdict_follows_from_the_kernels() {
    let Some(rows) = raw().and_then(|raw| raw_rows(&raw, "ort-gpu-compat.csv")) else { return };
    let mut n_verdicts = 0;
    for row in rows {
        let platform: Platform = row["platform"].parse().expect("a platform");
        let is_it = |release: &&onnxfit_hardware::OrtGpuRelease| {
            release.version.to_string() == row["ort_version"] && release.platform == platform
        };
        let release = ort_gpu_releases().iter().find(is_it).expect("every scanned wheel is in the table");
        for (column, verdict) in row.iter().filter(|(column, _)| column.starts_with("cc_")) {
            let gpu = column["cc_".len()..].parse().expect("a compute capability");
            let expected = match verdict.as_str() {
                "sass" => Some(Execution::Native),
                "ptx-jit" => Some(Execution::JustInTime),
                // "no", and kernels whose cuBLAS and cuDNN do not know the GPU.
                _ => None,
            };
            assert_eq!(release.execution_on(gpu), expected, "{} {platform:?} {column}: {verdict}", release.version);
            n_verdicts += 1;
        }
    }
    assert_eq!(n_verdicts, 25 * 11);
}

#[test]
fn instances_agree_with_the_raw_table() {
    let Some(rows) = raw().and_then(|raw| raw_rows(&raw, "aws-instances.csv")) else { return };
    assert_eq!(rows.len(), 102);
    for row in rows {
        let found = instance(&row["instance_type"]).expect("every raw instance is in the table");
        assert_eq!(matches!(found.device, Device::Gpu(_)), row["cuda"] == "yes", "{}", found.name);
        let count: f64 = row["gpu_count"].parse().expect("a count");
        assert_eq!(f64::from(found.device_count) * found.device_share, count, "{}", found.name);
        if let (Some(gpu), Ok(mib)) = (found.gpu(), row["cuda_total_memory_mib_each"].parse()) {
            assert_eq!(found.session_memory(), Some((Bytes::mib(mib), MemoryBasis::CudaReported)), "{}", found.name);
            assert_eq!(gpu.compute_capability.to_string(), row["compute_capability"]);
        }
        let sagemaker = found.sagemaker_name().unwrap_or_default();
        assert_eq!(sagemaker, row["sagemaker_instance"], "{}", found.name);
    }
}

#[test]
fn on_demand_prices_agree_with_the_raw_table() {
    let Some(rows) = raw().and_then(|raw| raw_rows(&raw, "aws-prices.csv")) else { return };
    let key = |row: &BTreeMap<String, String>| (row["instance_type"].clone(), row["region"].clone());
    let rows: BTreeMap<_, _> = rows.iter().map(|row| (key(row), row)).collect();
    let prices = PriceList::embedded().iter().filter(|price| price.kind == PriceKind::OnDemand);
    let mut n_prices = 0;
    for price in prices {
        let row = rows[&(price.instance.clone(), price.region.clone())];
        assert_eq!(row["usd_per_hour"].parse(), Ok(price.usd_per_hour), "{price:?}");
        assert_eq!(row["snapshot_date"], price.date, "{price:?}");
        // No price from a source without a permissive licence.
        assert!(row["source"].starts_with("github aws/karpenter-provider-aws"), "{row:?}");
        n_prices += 1;
    }
    assert_eq!(n_prices, 96 + 60);
}
