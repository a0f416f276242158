"""Makes the tables of this folder from a folder of raw ones.

    python3 make.py RAW

RAW holds aws-instances.csv, aws-prices.csv, gpus.csv and ort-gpu-compat.csv. Columns that the
product does not read are left out, and so is every price whose source gives no permissive licence
(README.md beside this file says which). Rows keep the order of the raw tables.
"""

import csv
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

# Sources of prices that may be redistributed; all others are dropped.
PRICE_SOURCES = {
    "github aws/karpenter-provider-aws zz_generated.pricing_aws.go": "karpenter-provider-aws (Apache-2.0)",
    "github aws/karpenter-provider-aws zz_generated.pricing_aws_us_gov.go": "karpenter-provider-aws (Apache-2.0)",
}
SPOT_BASIS = "spot-advisor-saving-"
SPOT_SOURCE = "EC2 Spot Advisor saving by spotinfo (Apache-2.0) on the on-demand price"

# Why CUDA code does not run on what is not an NVIDIA GPU: one sentence part per accelerator.
WHY_NO_CUDA = {
    "V520": "an AMD GPU, which has no CUDA and is no target of ONNX Runtime's ROCm builds either",
    "Inferentia1": "an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA",
    "Inferentia2": "an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA",
    "Trainium1": "an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA",
    "Trainium2": "an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA",
    "Gaudi1": "an Intel Habana chip that is programmed through SynapseAI, not through CUDA",
    "AI100": "a Qualcomm chip that is programmed through the Qualcomm Cloud AI SDK, not through CUDA",
    "U30": "a video transcoding card that runs no neural networks",
}


def read(raw, name):
    with open(raw / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(name, rows):
    with open(HERE / name, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{name}: {len(rows)} rows")


def gpus(raw_gpus, raw_instances):
    api_mib = {row["gpu_key"]: row["ec2_api_gpu_memory_mib_each"] for row in raw_instances}
    for row in raw_gpus:
        if not row["compute_capability"]:
            continue
        yield {
            "key": row["gpu_key"],
            "model": row["gpu_model"],
            "arch": row["arch"],
            "compute_capability": row["compute_capability"],
            "advertised_mib": row["vram_advertised_mib"],
            "ec2_api_mib": api_mib.get(row["gpu_key"], ""),
            "nvidia_smi_mib": row["vram_total_nvidia_smi_mib"],
            "cuda_mib": row["vram_total_cuda_mib"],
            "memory_source": row["memory_source"].removesuffix(" via tsaol"),
            "bandwidth_gb_s": row["memory_bandwidth_gb_s"],
            "fp32_tflops": row["fp32_tflops"],
            "fp16_tflops": row["fp16_tensor_tflops_dense"],
            "int8_tops": row["int8_tops_dense"],
            "spec_source": row["spec_source"],
            "fp8": row["fp8"],
            "bf16": row["bf16"],
            "cuda_first": row["cuda_first"],
            "cuda_last": "" if row["cuda_last"].startswith("current") else row["cuda_last"],
        }


def accelerators(raw_gpus):
    for row in raw_gpus:
        if row["compute_capability"]:
            continue
        yield {
            "key": row["gpu_key"],
            "model": row["gpu_model"],
            "advertised_mib": row["vram_advertised_mib"],
            "why_no_cuda": WHY_NO_CUDA[row["gpu_key"]],
        }


def availability(row):
    if row["family"] == "p2":
        return "retired"
    if row["family"] in ("g2", "g3", "g3s"):
        return "unconfirmed"
    if "Capacity Block" in row["notes"] or "UltraServer" in row["notes"]:
        return "reserved"
    return "on-demand"


def instances(raw_instances, raw_gpus):
    smi_mib = {row["gpu_key"]: row["vram_total_nvidia_smi_mib"] for row in raw_gpus}
    for row in raw_instances:
        differs = row["usable_memory_mib_each"] != smi_mib[row["gpu_key"]]
        count = float(row["gpu_count"])
        yield {
            "name": row["instance_type"],
            "device": row["gpu_key"],
            "device_count": "1" if count < 1 else row["gpu_count"],
            "device_share": row["gpu_count"] if count < 1 else "1",
            # Only where this type's GPU differs from its kind, such as g5g.metal with ECC off.
            "nvidia_smi_mib": row["usable_memory_mib_each"] if differs else "",
            "cpu_arch": row["cpu_arch"],
            "vcpus": row["vcpus"],
            "memory_gib": row["memory_gib"],
            "sagemaker_scopes": row["sagemaker_scopes"],
            "availability": availability(row),
        }


def prices(raw_prices, raw_instances):
    for row in raw_prices:
        source = PRICE_SOURCES.get(row["source"].split("@")[0])
        if source and row["os"] == "Linux" and row["region_kind"] == "region":
            yield {
                "name": row["instance_type"],
                "region": row["region"],
                "kind": "on-demand",
                "usd_per_hour": row["usd_per_hour"],
                "date": row["snapshot_date"],
                "source": source,
            }
    for row in raw_instances:
        basis = row["spot_basis_us_east_1"]
        if basis.startswith(SPOT_BASIS):
            yield {
                "name": row["instance_type"],
                "region": "us-east-1",
                "kind": "spot-estimate",
                "usd_per_hour": row["spot_typical_usd_us_east_1"],
                "date": basis.split("%-")[1],
                "source": SPOT_SOURCE,
            }


def releases(raw_compat):
    for row in raw_compat:
        yield {
            "version": row["ort_version"],
            "platform": row["platform"],
            "cuda": row["cuda_build"] if row["cuda_build"][-1].isdigit() else row["cuda_major"],
            "cudnn_major": row["cudnn_major"],
            "cudnn_optional": "y" if "optional" in row["cudnn_link"] else "n",
            "sass": row["sm_list"],
            "ptx": row["ptx"].split(" (")[0],
            "ptx_partial": "y" if " (" in row["ptx"] else "n",
            "python_versions": row["python_versions"],
            "release_date": row["release_date"],
        }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    raw = pathlib.Path(sys.argv[1])
    raw_gpus, raw_instances = read(raw, "gpus.csv"), read(raw, "aws-instances.csv")
    write("gpus.csv", list(gpus(raw_gpus, raw_instances)))
    write("accelerators.csv", list(accelerators(raw_gpus)))
    write("instances.csv", list(instances(raw_instances, raw_gpus)))
    write("prices.csv", list(prices(read(raw, "aws-prices.csv"), raw_instances)))
    write("ort-gpu-releases.csv", list(releases(read(raw, "ort-gpu-compat.csv"))))


if __name__ == "__main__":
    main()
