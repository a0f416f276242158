//! Weights for a model whose own are absent, so that it can be run: made up, the same every time.
//!
//! A value depends on the seed, the tensor's name and the element's index alone, so a tensor is
//! the same whatever else the model has, and whichever part of it is made first.

mod encode;

use std::collections::BTreeMap;

use bytes::Bytes as Buffer;

use crate::data_type::DataType;
use crate::error::TensorError;
use crate::external::TensorSource;
use crate::proto::TensorProto;

/// What a weight is for, and so what its values may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightRole {
    /// About zero, most within `std`, none beyond 3.5 times that.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Anywhere from `low` to `high`.
    Uniform {
        /// The least value.
        low: f32,
        /// The greatest value, not reached.
        high: f32,
    },
    /// Whole numbers, both ends included.
    Integers {
        /// The least value.
        low: i32,
        /// The greatest value.
        high: i32,
    },
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

impl WeightRole {
    /// What is safe when nothing is known: small numbers of float types, zeros of the others.
    pub fn of_type(data_type: DataType) -> Self {
        if data_type.is_float() { Self::Normal { std: 0.02 } } else { Self::Zeros }
    }

    /// The value that 64 random bits stand for.
    #[inline]
    fn value(self, bits: u64) -> f32 {
        match self {
            Self::Normal { std } => {
                // Four uniform numbers make a sum that is near enough to normal for a weight, at
                // a tenth of the price of a logarithm and a cosine. Its deviation is 65536/√3.
                let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
                (sum as i32 - 2 * 0xffff) as f32 * (std * (1.732_050_8 / 65536.0))
            }
            Self::Uniform { low, high } => low + (high - low) * ((bits >> 40) as f32 / (1u32 << 24) as f32),
            Self::Integers { low, high } => {
                let n_values = (i64::from(high) - i64::from(low) + 1).max(1) as u64;
                (i64::from(low) + ((u128::from(bits) * u128::from(n_values)) >> 64) as i64) as f32
            }
            Self::Zeros => 0.0,
            Self::Ones => 1.0,
        }
    }
}

/// The weights of `inner` where it has them, random ones where they are absent.
pub struct RandomWeights<'a> {
    inner: &'a dyn TensorSource,
    seed: u64,
    roles: BTreeMap<String, WeightRole>,
}

impl<'a> RandomWeights<'a> {
    /// Tensors without a role get [`WeightRole::of_type`].
    pub fn new(inner: &'a dyn TensorSource, seed: u64, roles: BTreeMap<String, WeightRole>) -> Self {
        Self { inner, seed, roles }
    }

    fn generate(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        let data_type = tensor.element_type()?;
        let role = self.roles.get(tensor.name()).copied().unwrap_or_else(|| WeightRole::of_type(data_type));
        let key = self.key(tensor.name());
        let n_bytes = tensor.size_bytes()?.get();
        let mut bytes = Vec::new();
        let reserved = usize::try_from(n_bytes).ok().and_then(|n_bytes| bytes.try_reserve_exact(n_bytes).ok());
        if reserved.is_none() {
            return Err(TensorError::Unreadable {
                tensor: tensor.name().to_owned(),
                location: "random weights".to_owned(),
                reason: format!("no memory for {}", tensor.size_bytes()?),
            });
        }
        let n_elements = tensor.n_elements()?;
        encode::extend(&mut bytes, data_type, n_elements, |index| role.value(mix(key.wrapping_add(index))));
        Ok(bytes.into())
    }

    fn key(&self, name: &str) -> u64 {
        name.bytes().fold(mix(self.seed), |key, byte| mix(key ^ u64::from(byte)))
    }
}

impl TensorSource for RandomWeights<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        match self.inner.tensor_bytes(tensor) {
            Err(TensorError::Absent { .. }) => self.generate(tensor),
            result => result,
        }
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        match self.inner.check(tensor) {
            Err(TensorError::Absent { .. }) => Ok(()),
            result => result,
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a counter in, random bits out.
#[inline]
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
