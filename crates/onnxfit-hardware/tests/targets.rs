//! `--on`: text in, text out.

use expect_test::{Expect, expect};
use onnxfit_base::Bytes;
use onnxfit_hardware::{gpus, instances, resolve_target};
use proptest::prelude::*;

fn shown(text: &str) -> String {
    match resolve_target(text) {
        Err(error) => error.diagnostic().to_string(),
        Ok(target) => {
            let mut lines = vec![format!("{}: {}", target.name, target.provenance)];
            let release = target.release.map(|(release, how)| format!("onnxruntime-gpu {} {how:?}", release.version));
            lines.extend(release);
            lines.extend(target.notes.iter().map(ToString::to_string));
            lines.join("\n")
        }
    }
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&shown(text));
}

#[test]
fn an_instance_type_offers_what_cuda_reports() {
    check(
        "g4dn.xlarge",
        expect![[r#"
        g4dn.xlarge: 14909 MiB that CUDA reports (15360 MiB in nvidia-smi, 16384 MiB in the EC2 API, 16384 MiB advertised)
        onnxruntime-gpu 1.31.1 Native
        note[missing-kernels]: onnxruntime-gpu 1.31.1 was built without some contrib kernels for compute capability 7.5: a node that uses one fails with `no kernel image is available`
          hint: onnxruntime-gpu 1.26.0 is the newest scanned release before these gaps"#]],
    );
    check(
        "g6e.xlarge",
        expect![[r#"
        g6e.xlarge: 45455 MiB that CUDA reports (46068 MiB in nvidia-smi, 45776 MiB in the EC2 API, 49152 MiB advertised)
        onnxruntime-gpu 1.31.1 Native"#]],
    );
}

#[test]
fn several_gpus_are_never_summed() {
    check(
        "g5.48xlarge",
        expect![[r#"
            g5.48xlarge: 22589 MiB that CUDA reports (23028 MiB in nvidia-smi, 22888 MiB in the EC2 API, 24576 MiB advertised)
            onnxruntime-gpu 1.31.1 Native
            note[several-gpus]: `g5.48xlarge`: one ONNX Runtime session uses one of the 8 GPUs, so it has the 22.06 GiB of one A10G, never the sum"#]],
    );
    check(
        "4xA10G",
        expect![[r#"
            A10G: 22589 MiB that CUDA reports (23028 MiB in nvidia-smi, 22888 MiB in the EC2 API, 24576 MiB advertised)
            onnxruntime-gpu 1.31.1 Native
            note[several-gpus]: `A10G`: one ONNX Runtime session uses one of the 4 GPUs, so it has the 22.06 GiB of one A10G, never the sum"#]],
    );
    for instance in instances() {
        let (Some((budget, _)), Some(gpu)) = (instance.session_memory(), instance.gpu()) else { continue };
        assert!(budget < gpu.advertised, "{}", instance.name);
    }
}

#[test]
fn a_type_without_an_nvidia_gpu_is_answered_with_what_to_do() {
    check(
        "inf1.xlarge",
        expect![[r#"
            error[no-cuda]: `inf1.xlarge` has no NVIDIA GPU: AWS Inferentia is an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "g4ad.xlarge",
        expect![[r#"
            error[no-cuda]: `g4ad.xlarge` has no NVIDIA GPU: AMD Radeon Pro V520 is an AMD GPU, which has no CUDA and is no target of ONNX Runtime's ROCm builds either, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "trn1.32xlarge",
        expect![[r#"
            error[no-cuda]: `trn1.32xlarge` has no NVIDIA GPU: AWS Trainium is an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g6e.xlarge`: L40S, 44.39 GiB for one session, $1.861 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "dl1.24xlarge",
        expect![[r#"
            error[no-cuda]: `dl1.24xlarge` has no NVIDIA GPU: Habana Gaudi HL-205 is an Intel Habana chip that is programmed through SynapseAI, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g6e.xlarge`: L40S, 44.39 GiB for one session, $1.861 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "dl2q.24xlarge",
        expect![[r#"
            error[no-cuda]: `dl2q.24xlarge` has no NVIDIA GPU: Qualcomm AI 100 Standard is a Qualcomm chip that is programmed through the Qualcomm Cloud AI SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "vt1.3xlarge",
        expect![[r#"
            error[no-cuda]: `vt1.3xlarge` has no NVIDIA GPU: AMD/Xilinx Alveo U30 (video) is a video transcoding card that runs no neural networks, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
    check(
        "Inferentia2",
        expect![[r#"
            error[no-cuda]: `Inferentia2` has no NVIDIA GPU: AWS Inferentia2 is an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g6e.xlarge`: L40S, 44.39 GiB for one session, $1.861 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
}

#[test]
fn an_old_gpu_is_told_its_last_release() {
    check(
        "p3.2xlarge",
        expect![[r#"
        p3.2xlarge: 16148 MiB that CUDA reports (16384 MiB in nvidia-smi, 16384 MiB in the EC2 API, 16384 MiB advertised)
        onnxruntime-gpu 1.26.0 Native
        warning[old-wheel]: onnxruntime-gpu 1.31.1 does not run on `p3.2xlarge`: the newest scanned release with kernels for its V100-16 (compute capability 7.0) is 1.26.0, on CUDA 12 and cuDNN 9
          hint: `pip install "onnxruntime-gpu[cuda,cudnn]==1.26.0" "nvidia-cudnn-cu12<9.11"`, or for the current release use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
        note[proprietary-driver]: the V100-16 of `p3.2xlarge` needs NVIDIA's proprietary driver
          hint: take the Deep Learning Base AMI with the proprietary NVIDIA driver, not the open one"#]],
    );
    check(
        "g3s.xlarge",
        expect![[r#"
        g3s.xlarge: 7168 MiB estimated: the nvidia-smi total less 512 MiB (7680 MiB in nvidia-smi, 8192 MiB in the EC2 API, 8192 MiB advertised)
        onnxruntime-gpu 1.20.2 Native
        warning[old-wheel]: onnxruntime-gpu 1.31.1 does not run on `g3s.xlarge`: the newest scanned release with kernels for its M60 (compute capability 5.2) is 1.20.2, on CUDA 12 and cuDNN 9
          hint: `pip install "onnxruntime-gpu==1.20.2" "nvidia-cudnn-cu12<9.11"`, or for the current release use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
        note[memory-estimated]: what CUDA offers on `g3s.xlarge` is not published; 7.00 GiB is the nvidia-smi total less 512 MiB for the driver
        note[proprietary-driver]: the M60 of `g3s.xlarge` needs NVIDIA's proprietary driver
          hint: take the Deep Learning Base AMI with the proprietary NVIDIA driver, not the open one
        warning[hard-to-get]: `g3s.xlarge` is an old generation; whether it can still be launched was not confirmed"#]],
    );
    check(
        "p2.xlarge",
        expect![[r#"
        p2.xlarge: 10929 MiB estimated: the nvidia-smi total less 512 MiB (11441 MiB in nvidia-smi, 12288 MiB in the EC2 API, 12288 MiB advertised)
        onnxruntime-gpu 1.14.1 Native
        warning[old-wheel]: onnxruntime-gpu 1.31.1 does not run on `p2.xlarge`: the newest scanned release with kernels for its K80 (compute capability 3.7) is 1.14.1, on CUDA 11 and cuDNN 8
          hint: `pip install "onnxruntime-gpu==1.14.1"`, or for the current release use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
        note[memory-estimated]: what CUDA offers on `p2.xlarge` is not published; 10.67 GiB is the nvidia-smi total less 512 MiB for the driver
        note[proprietary-driver]: the K80 of `p2.xlarge` needs NVIDIA's proprietary driver
          hint: take the Deep Learning Base AMI with the proprietary NVIDIA driver, not the open one
        warning[hard-to-get]: `p2.xlarge` is in the price list, but EC2 no longer describes it as a type to launch"#]],
    );
    check(
        "g2.2xlarge",
        expect![[r#"
        error[gpu-too-old]: no onnxruntime-gpu release runs on `g2.2xlarge`: its K520 has compute capability 3.0, which CUDA supported up to 10.2
          hint: use `g6f.2xlarge`: L4-6Q, 5.50 GiB for one session, $0.475 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
}

#[test]
fn a_gpu_that_current_wheels_leave_out_is_told_so() {
    check(
        "p6-b200.48xlarge",
        expect![[r#"
            p6-b200.48xlarge: 182630 MiB that CUDA reports (183359 MiB in nvidia-smi, 183359 MiB in the EC2 API, 183359 MiB advertised)
            onnxruntime-gpu 1.28.0 Native
            warning[old-wheel]: onnxruntime-gpu 1.31.1 does not run on `p6-b200.48xlarge`: the newest scanned release with kernels for its B200 (compute capability 10.0) is 1.28.0, on CUDA 13 and cuDNN 9
              hint: `pip install "onnxruntime-gpu[cuda,cudnn]==1.28.0"`, or for the current release use `p5en.48xlarge`: H200-141, 139.80 GiB for one session, $63.296 an hour on demand in us-east-1 on 2026-07-20
            note[several-gpus]: `p6-b200.48xlarge`: one ONNX Runtime session uses one of the 8 GPUs, so it has the 178.35 GiB of one B200, never the sum"#]],
    );
    check(
        "p6-b300.48xlarge",
        expect![[r#"
            p6-b300.48xlarge: 274528 MiB estimated: the nvidia-smi total less 512 MiB (275040 MiB in nvidia-smi, 275040 MiB in the EC2 API, 275040 MiB advertised)
            onnxruntime-gpu 1.26.0 JustInTime
            warning[old-wheel]: onnxruntime-gpu 1.31.1 does not run on `p6-b300.48xlarge`: the newest scanned release with kernels for its B300 (compute capability 10.3) is 1.26.0, on CUDA 12 and cuDNN 9
              hint: `pip install "onnxruntime-gpu[cuda,cudnn]==1.26.0"`, or for the current release use `p5en.48xlarge`: H200-141, 139.80 GiB for one session, $63.296 an hour on demand in us-east-1 on 2026-07-20
            warning[compiled-at-load]: onnxruntime-gpu 1.26.0 has no machine code for `p6-b300.48xlarge`: the driver compiles its kernels at the first load, which takes long
            note[several-gpus]: `p6-b300.48xlarge`: one ONNX Runtime session uses one of the 8 GPUs, so it has the 268.09 GiB of one B300, never the sum
            note[memory-estimated]: what CUDA offers on `p6-b300.48xlarge` is not published; 268.09 GiB is the nvidia-smi total less 512 MiB for the driver"#]],
    );
    check(
        "g5g.xlarge",
        expect![[r#"
        g5g.xlarge: 14848 MiB estimated: the nvidia-smi total less 512 MiB (15360 MiB in nvidia-smi, 16384 MiB in the EC2 API, 16384 MiB advertised)
        warning[no-wheel]: no onnxruntime-gpu wheel on PyPI runs on `g5g.xlarge`: its T4G has compute capability 7.5, for which none of the arm64 wheels carries kernels
          hint: build ONNX Runtime from source on it, or use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
        note[memory-estimated]: what CUDA offers on `g5g.xlarge` is not published; 14.50 GiB is the nvidia-smi total less 512 MiB for the driver"#]],
    );
    check(
        "g5g.metal",
        expect![[r#"
            g5g.metal: 15872 MiB estimated: the nvidia-smi total less 512 MiB (16384 MiB in nvidia-smi, 16384 MiB in the EC2 API, 16384 MiB advertised)
            warning[no-wheel]: no onnxruntime-gpu wheel on PyPI runs on `g5g.metal`: its T4G has compute capability 7.5, for which none of the arm64 wheels carries kernels
              hint: build ONNX Runtime from source on it, or use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
            note[several-gpus]: `g5g.metal`: one ONNX Runtime session uses one of the 2 GPUs, so it has the 15.50 GiB of one T4G, never the sum
            note[memory-estimated]: what CUDA offers on `g5g.metal` is not published; 15.50 GiB is the nvidia-smi total less 512 MiB for the driver"#]],
    );
    check(
        "p6e-gb200.36xlarge",
        expect![[r#"
            p6e-gb200.36xlarge: 188416 MiB estimated: the advertised size less 1 GiB (189440 MiB advertised)
            warning[no-wheel]: no onnxruntime-gpu wheel on PyPI runs on `p6e-gb200.36xlarge`: its GB200 has compute capability 10.0, for which none of the arm64 wheels carries kernels
              hint: build ONNX Runtime from source on it, or use `p5en.48xlarge`: H200-141, 139.80 GiB for one session, $63.296 an hour on demand in us-east-1 on 2026-07-20
            note[several-gpus]: `p6e-gb200.36xlarge`: one ONNX Runtime session uses one of the 4 GPUs, so it has the 184.00 GiB of one GB200, never the sum
            note[memory-estimated]: what CUDA offers on `p6e-gb200.36xlarge` is not published; 184.00 GiB is the advertised size less 1 GiB
            warning[hard-to-get]: `p6e-gb200.36xlarge` is sold through Capacity Blocks or UltraServers; it has no price by the hour here"#]],
    );
}

#[test]
fn a_share_of_an_l4_is_a_target() {
    check(
        "g6f.large",
        expect![[r#"
        g6f.large: 2857 MiB that CUDA reports (3072 MiB in nvidia-smi, 2861 MiB in the EC2 API, 3072 MiB advertised)
        onnxruntime-gpu 1.31.1 Native
        note[vgpu]: `g6f.large` has 0.125 of an L4 as a vGPU: computing time is shared with other tenants, so the card's speed is a ceiling
          hint: install AWS's GRID driver; Ubuntu's and the open drivers refuse it"#]],
    );
    check(
        "gr6f.4xlarge",
        expect![[r#"
        gr6f.4xlarge: 11776 MiB estimated: the nvidia-smi total less 512 MiB (12288 MiB in nvidia-smi, 11444 MiB in the EC2 API, 12288 MiB advertised)
        onnxruntime-gpu 1.31.1 Native
        note[memory-estimated]: what CUDA offers on `gr6f.4xlarge` is not published; 11.50 GiB is the nvidia-smi total less 512 MiB for the driver
        note[vgpu]: `gr6f.4xlarge` has 0.5 of an L4 as a vGPU: computing time is shared with other tenants, so the card's speed is a ceiling
          hint: install AWS's GRID driver; Ubuntu's and the open drivers refuse it"#]],
    );
}

#[test]
fn sagemaker_names_are_known() {
    check(
        "ml.g4dn.12xlarge",
        expect![[r#"
            ml.g4dn.12xlarge: 14909 MiB that CUDA reports (15360 MiB in nvidia-smi, 16384 MiB in the EC2 API, 16384 MiB advertised)
            onnxruntime-gpu 1.31.1 Native
            note[missing-kernels]: onnxruntime-gpu 1.31.1 was built without some contrib kernels for compute capability 7.5: a node that uses one fails with `no kernel image is available`
              hint: onnxruntime-gpu 1.26.0 is the newest scanned release before these gaps
            note[several-gpus]: `ml.g4dn.12xlarge`: one ONNX Runtime session uses one of the 4 GPUs, so it has the 14.56 GiB of one T4, never the sum"#]],
    );
    check(
        "ml.g6f.large",
        expect![[r#"
        ml.g6f.large: 2857 MiB that CUDA reports (3072 MiB in nvidia-smi, 2861 MiB in the EC2 API, 3072 MiB advertised)
        onnxruntime-gpu 1.31.1 Native
        note[vgpu]: `ml.g6f.large` has 0.125 of an L4 as a vGPU: computing time is shared with other tenants, so the card's speed is a ceiling
          hint: install AWS's GRID driver; Ubuntu's and the open drivers refuse it
        warning[not-on-sagemaker]: SageMaker does not list `ml.g6f.large`; EC2 has `g6f.large`"#]],
    );
    check(
        "ml.inf1.xlarge",
        expect![[r#"
            error[no-cuda]: `ml.inf1.xlarge` has no NVIDIA GPU: AWS Inferentia is an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20"#]],
    );
}

#[test]
fn an_amount_is_taken_as_given() {
    check("14GiB", expect!["14.00 GiB: 15032385536 bytes, as given"]);
    check(" 16 GB ", expect!["14.90 GiB: 16000000000 bytes, as given"]);
    check(
        "16",
        expect![[r#"
            error[target-too-small]: `16` is 16 B, too little for any device
              hint: write the unit: `16GiB`"#]],
    );
    check(
        "0GiB",
        expect![[r#"
            error[target-too-small]: `0GiB` is 0 B, too little for any device
              hint: write for example `14GiB`"#]],
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    check(
        "g4dn.xlarg",
        expect![[r#"
        error[unknown-target]: `g4dn.xlarg` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: did you mean `g4dn.xlarge` or `g4dn.2xlarge` or `g4dn.4xlarge`?"#]],
    );
    check(
        "g4dn",
        expect![[r#"
        error[unknown-target]: `g4dn` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: did you mean `g4dn.metal` or `g4dn.xlarge` or `g4dn.2xlarge`?"#]],
    );
    check(
        "g5.3xlarge",
        expect![[r#"
        error[unknown-target]: `g5.3xlarge` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: did you mean `g5.xlarge` or `g5.2xlarge` or `g5.4xlarge`?"#]],
    );
    check(
        "A10",
        expect![[r#"
        error[unknown-target]: `A10` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: did you mean `A10G`?"#]],
    );
    check(
        "RTX 4090",
        expect![[r#"
        error[unknown-target]: `RTX 4090` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: write an instance type (`g4dn.xlarge`), a GPU (`T4`) or an amount (`14GiB`)"#]],
    );
    check(
        "",
        expect![[r#"
        error[unknown-target]: `` is no EC2 instance type with an accelerator, no GPU and no amount of memory
          hint: write an instance type (`g4dn.xlarge`), a GPU (`T4`) or an amount (`14GiB`)"#]],
    );
}

#[test]
fn a_gpu_is_known_by_what_people_call_it() {
    for (text, key) in [
        ("T4", "T4"),
        ("t4", "T4"),
        ("Tesla T4", "T4"),
        ("NVIDIA T4 16GB", "T4"),
        ("A10G", "A10G"),
        ("nvidia a10g", "A10G"),
        ("a100-40gb", "A100-40"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
        ("A100", "A100-40"),
        ("V100", "V100-16"),
        ("Tesla V100-SXM2-32GB", "V100-32"),
        ("NVIDIA L4", "L4"),
        ("L4-3Q", "L4-3Q"),
        ("l40s", "L40S"),
        ("H100", "H100-80"),
        ("NVIDIA H100 80GB HBM3", "H100-80"),
        ("H200", "H200-141"),
        ("B200", "B200"),
        ("RTX PRO 6000", "RTXPRO6000"),
        ("K80", "K80"),
        ("T4G", "T4G"),
    ] {
        let target = resolve_target(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.gpu.map(|gpu| gpu.key.as_str()), Some(key), "{text}");
        assert!(target.instance.is_none());
    }
    check(
        "A100",
        expect![[r#"
        A100-40: 40438 MiB that CUDA reports (40960 MiB in nvidia-smi, 40960 MiB in the EC2 API, 40960 MiB advertised)
        onnxruntime-gpu 1.31.1 Native
        note[several-sizes]: `A100` comes in several sizes; taken as `A100-40`, the smallest
          hint: write `A100-80` for more"#]],
    );
}

#[test]
fn every_name_in_the_tables_is_answered() {
    for instance in instances() {
        for text in [instance.name.clone(), instance.name.to_uppercase(), format!("ml.{}", instance.name)] {
            match resolve_target(&text) {
                Ok(target) => {
                    assert!(std::ptr::eq(target.instance.expect("an instance"), instance));
                    assert!(target.budget > Bytes::gib(2), "{text}");
                    assert!(target.host_memory.is_some());
                }
                Err(error) => assert!(error.hint().starts_with("use `"), "{text}: {error}"),
            }
        }
    }
    for gpu in gpus() {
        // The model of a vGPU share names the whole card.
        let model = gpu.model.split(" (").next().filter(|_| !gpu.model.contains("vGPU"));
        for text in [gpu.key.as_str()].into_iter().chain(model) {
            match resolve_target(text) {
                Ok(target) => assert_eq!(target.gpu.map(|found| &found.key), Some(&gpu.key), "{text}"),
                Err(error) => assert_eq!(gpu.key, "K520", "{text}: {error}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}", count in 0_u64.., unit in "[a-zA-Z.:*x -]{0,5}") {
        let _ = shown(&text);
        let _ = shown(&format!("{count}{unit}{text}"));
        let _ = shown(&format!("g4dn.{unit}{count}"));
    }
}
