//! What a plan may make of a model's numbers on a card, and why not where it may not.

use onnxfit_graph::Model as GraphModel;
use onnxfit_hardware::{ComputeCapability, Gpu};
use onnxfit_plan::{Precision, Refused, name};

use crate::request::Provider;

/// The first card that computes in bfloat16.
const BFLOAT16: ComputeCapability = ComputeCapability { major: 8, minor: 0 };
/// The first with tensor cores, which compute faster in half precision.
const TENSOR_CORES: ComputeCapability = ComputeCapability { major: 7, minor: 0 };
/// The first that multiplies 8-bit floats.
const FLOAT8: ComputeCapability = ComputeCapability { major: 8, minor: 9 };

/// What may be done on one kind of card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Means {
    pub(super) half: bool,
    pub(super) bfloat16: bool,
    /// Whether half precision is faster than single.
    pub(super) half_is_fast: bool,
    /// What may not, and why.
    pub(super) refused: Vec<Refused>,
}

impl Means {
    /// By the provider and the card; `None` where only its memory is known.
    pub(super) fn of(provider: Provider, gpu: Option<&Gpu>) -> Self {
        let mut means = Self { half_is_fast: true, ..Self::default() };
        let mut refuse = |change, why: String| means.refused.push((change, why));
        let half = name(Precision::Half);
        let bfloat16 = name(Precision::Bfloat16);
        if provider == Provider::Cpu {
            let why = "the CPU provider computes it in single precision: no memory is saved";
            refuse(half, why.to_owned());
            refuse(bfloat16, "the CPU provider has next to no kernels for it".to_owned());
            refuse("float8", "the CPU provider has no kernels for it".to_owned());
            return means;
        }
        let of = |gpu: &Gpu| format!("the {} has compute capability {}", gpu.key, gpu.compute_capability);
        let least = |what: &str, least: ComputeCapability| match gpu {
            Some(gpu) if gpu.compute_capability >= least => None,
            Some(gpu) => Some(format!("{what} needs compute capability {least}, {}", of(gpu))),
            None => Some(format!("{what} needs compute capability {least}, and only the memory of the card is known")),
        };
        let no_bfloat16 = least("bfloat16", BFLOAT16);
        means.half = true;
        means.bfloat16 = no_bfloat16.is_none();
        means.half_is_fast = gpu.is_none_or(|gpu| gpu.compute_capability >= TENSOR_CORES);
        let mut refuse = |change, why: String| means.refused.push((change, why));
        if let Some(why) = no_bfloat16 {
            refuse(bfloat16, why);
        }
        let no_kernels = "only `GemmFloat8` computes in it, and onnxfit writes none";
        refuse("float8", least("float8", FLOAT8).unwrap_or_else(|| no_kernels.to_owned()));
        let cpu_kernels = "operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and \
                           what they hold is not smaller";
        refuse("int8 values", cpu_kernels.to_owned());
        means
    }

    /// Notes that a model cannot be had in this precision.
    pub(super) fn refuse(&mut self, precision: Precision, why: String) {
        match precision {
            Precision::Half => self.half = false,
            Precision::Bfloat16 => self.bfloat16 = false,
            _ => {}
        }
        self.refused.push((name(precision), why));
    }
}

/// What the weights of the main graph take.
pub(super) fn weight_bytes(model: &GraphModel) -> u64 {
    let tensors = model.graph.values().filter_map(|(_, value)| value.tensor()?.size_bytes().ok());
    tensors.map(|bytes| bytes.get()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(card: &str) -> String {
        let target = onnxfit_hardware::resolve_target(card).unwrap();
        let means = Means::of(Provider::Cuda, target.gpu);
        let refused: String = means.refused.iter().map(|(change, why)| format!("  {change}: {why}\n")).collect();
        format!("{card}: half {}, fast {}, bfloat16 {}\n{refused}", means.half, means.half_is_fast, means.bfloat16)
    }

    #[test]
    fn each_card_does_what_its_capability_allows() {
        let shown: String = ["M60", "V100-16", "T4", "A10G", "L4"].map(means).concat();
        expect_test::expect![[r#"
            M60: half true, fast false, bfloat16 false
              bfloat16: bfloat16 needs compute capability 8.0, the M60 has compute capability 5.2
              float8: float8 needs compute capability 8.9, the M60 has compute capability 5.2
              int8 values: operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and what they hold is not smaller
            V100-16: half true, fast true, bfloat16 false
              bfloat16: bfloat16 needs compute capability 8.0, the V100-16 has compute capability 7.0
              float8: float8 needs compute capability 8.9, the V100-16 has compute capability 7.0
              int8 values: operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and what they hold is not smaller
            T4: half true, fast true, bfloat16 false
              bfloat16: bfloat16 needs compute capability 8.0, the T4 has compute capability 7.5
              float8: float8 needs compute capability 8.9, the T4 has compute capability 7.5
              int8 values: operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and what they hold is not smaller
            A10G: half true, fast true, bfloat16 true
              float8: float8 needs compute capability 8.9, the A10G has compute capability 8.6
              int8 values: operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and what they hold is not smaller
            L4: half true, fast true, bfloat16 true
              float8: only `GemmFloat8` computes in it, and onnxfit writes none
              int8 values: operators on integers are kernels of the CPU provider: CUDA computes floats between the pairs, and what they hold is not smaller
        "#]].assert_eq(&shown);
        let cpu = Means::of(Provider::Cpu, None);
        assert!(!cpu.half && !cpu.bfloat16 && cpu.refused.len() == 3);
    }
}
