//! Accelerators that run no CUDA code.

use std::sync::LazyLock;

use onnxfit_base::Bytes;

use crate::table;

/// An accelerator that ONNX Runtime's CUDA provider cannot use.
#[derive(Clone, Debug)]
pub struct Accelerator {
    /// The short name, such as `Inferentia1`.
    pub key: String,
    /// What the maker calls it.
    pub model: String,
    /// Its own memory, where it has one.
    pub advertised: Option<Bytes>,
    /// What it is instead, as a part of a sentence.
    pub why_no_cuda: String,
}

/// Every accelerator that AWS rents out and that is no NVIDIA GPU.
pub fn accelerators() -> &'static [Accelerator] {
    static ACCELERATORS: LazyLock<Vec<Accelerator>> = LazyLock::new(|| {
        table::rows(include_str!("../data/accelerators.csv"))
            .map(|row| Accelerator {
                key: row.text("key"),
                model: row.text("model"),
                advertised: row.maybe_mib("advertised_mib"),
                why_no_cuda: row.text("why_no_cuda"),
            })
            .collect()
    });
    &ACCELERATORS
}
