//! Everything that was seen so far, by value; kept as bytes so that a long measurement can go on
//! where it was interrupted.

use std::collections::BTreeMap;

use super::{Histogram, Method, N_BINS, Observer, Range};

/// What the kept bytes begin with: the format and its version.
const MAGIC: &[u8; 8] = b"ofranges";
const VERSION: u32 = 1;

/// What was seen, by value.
#[derive(Clone, Debug, PartialEq)]
pub struct Observers {
    method: Method,
    values: BTreeMap<String, Observer>,
}

/// Kept bytes that cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// They are something else, or of another version.
    #[error("these are no kept ranges of version {VERSION}")]
    NotRanges,
    /// They end too early, or do not.
    #[error("the kept ranges are cut off or damaged")]
    Damaged,
}

impl Observers {
    /// Nothing was seen yet.
    pub fn new(method: Method) -> Self {
        Self { method, values: BTreeMap::new() }
    }

    /// How ranges are found.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Takes in what a value was for one sample.
    pub fn observe(&mut self, value: &str, numbers: &[f32]) {
        self.observer(value).observe(numbers);
    }

    /// The observer of a value, made if there was none.
    pub fn observer(&mut self, value: &str) -> &mut Observer {
        let method = self.method;
        self.values.entry(value.to_owned()).or_insert_with(|| Observer::new(method))
    }

    /// What was seen of a value.
    pub fn get(&self, value: &str) -> Option<&Observer> {
        self.values.get(value)
    }

    /// Hands out what was seen of a value, or an observer that has seen nothing; to be given back by
    /// [`Self::insert`].
    pub fn take(&mut self, value: &str) -> Observer {
        self.values.remove(value).unwrap_or_else(|| Observer::new(self.method))
    }

    /// Takes over what was seen of a value elsewhere.
    pub fn insert(&mut self, value: &str, observer: Observer) {
        self.values.insert(value.to_owned(), observer);
    }

    /// All of it, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Observer)> {
        self.values.iter().map(|(name, observer)| (name.as_str(), observer))
    }

    /// The ranges for integers of `n_levels`, of the values of which anything finite was seen.
    pub fn ranges(&self, n_levels: usize) -> BTreeMap<String, Range> {
        let ranges = self.values.iter();
        ranges.filter_map(|(name, seen)| Some((name.clone(), seen.range(self.method, n_levels)?))).collect()
    }

    /// All of it as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        let (method, parameter) = match self.method {
            Method::MinMax => (0u32, 0.0),
            Method::MeanMinMax => (1, 0.0),
            Method::Entropy => (2, 0.0),
            Method::Percentile(percent) => (3, percent),
            Method::MeanSquare => (4, 0.0),
        };
        bytes.extend(method.to_le_bytes());
        bytes.extend(f64::to_le_bytes(parameter));
        bytes.extend((self.values.len() as u64).to_le_bytes());
        for (name, seen) in &self.values {
            bytes.extend((name.len() as u64).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend([seen.lowest, seen.highest].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend([seen.sum_lowest, seen.sum_highest].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend([seen.n_samples, seen.n_not_finite].iter().flat_map(|number| number.to_le_bytes()));
            let Some(histogram) = &seen.histogram else { continue };
            bytes.extend(histogram.limit.to_le_bytes());
            bytes.extend(histogram.counts.iter().flat_map(|count| count.to_le_bytes()));
        }
        bytes
    }

    /// What [`Self::to_bytes`] kept.
    ///
    /// # Errors
    /// If the bytes are not that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(StateError::NotRanges)?;
        let mut reader = Reader(rest);
        if reader.u32()? != VERSION {
            return Err(StateError::NotRanges);
        }
        let (kind, parameter) = (reader.u32()?, reader.f64()?);
        let method = match kind {
            0 => Method::MinMax,
            1 => Method::MeanMinMax,
            2 => Method::Entropy,
            3 => Method::Percentile(parameter),
            4 => Method::MeanSquare,
            _ => return Err(StateError::NotRanges),
        };
        let mut observers = Self::new(method);
        for _ in 0..reader.u64()? {
            let length = usize::try_from(reader.u64()?).map_err(|_| StateError::Damaged)?;
            let name = std::str::from_utf8(reader.take(length)?).map_err(|_| StateError::Damaged)?.to_owned();
            let mut seen = Observer::new(method);
            (seen.lowest, seen.highest) = (reader.f32()?, reader.f32()?);
            (seen.sum_lowest, seen.sum_highest) = (reader.f64()?, reader.f64()?);
            (seen.n_samples, seen.n_not_finite) = (reader.u64()?, reader.u64()?);
            if method.needs_histogram() {
                let limit = reader.f32()?;
                let counts = (0..N_BINS).map(|_| reader.u64()).collect::<Result<_, _>>()?;
                seen.histogram = Some(Histogram { limit, counts });
            }
            observers.values.insert(name, seen);
        }
        if reader.0.is_empty() { Ok(observers) } else { Err(StateError::Damaged) }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        self.take(N)?.try_into().map_err(|_| StateError::Damaged)
    }

    fn u32(&mut self) -> Result<u32, StateError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn f32(&mut self) -> Result<f32, StateError> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, StateError> {
        Ok(f64::from_le_bytes(self.array()?))
    }
}
