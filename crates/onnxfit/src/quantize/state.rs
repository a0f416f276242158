//! A measurement that is kept while it is made.

use std::path::{Path, PathBuf};

use onnxfit_quantize::ranges::{Method, Observers};

use crate::Error;
use crate::progress::Progress;

/// How far a measurement is, and what it saw.
pub(crate) struct State {
    path: Option<PathBuf>,
    fingerprint: String,
    /// Samples that were seen.
    pub(crate) n_samples: usize,
    pub(crate) observers: Observers,
}

impl State {
    /// A new one, or the kept one if it is of the same measurement.
    pub(crate) fn begin(
        path: Option<&Path>,
        fingerprint: &str,
        method: Method,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let new = Self {
            path: path.map(Path::to_owned),
            fingerprint: fingerprint.to_owned(),
            n_samples: 0,
            observers: Observers::new(method),
        };
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(new) };
        let bytes =
            std::fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        let refuse = |reason: String| {
            let hint = "remove the file, or give another with `--keep-ranges`".to_owned();
            Error::Binding(format!("`{}`: {reason}", path.display()), Some(hint))
        };
        let (head, kept) = split(&bytes).ok_or_else(|| refuse("these are no kept ranges".to_owned()))?;
        let (n_samples, made_of) = head.split_once(' ').ok_or_else(|| refuse("these are no kept ranges".to_owned()))?;
        if made_of != fingerprint {
            return Err(refuse("these ranges are of another model, other samples or another method".to_owned()));
        }
        let observers = Observers::from_bytes(kept).map_err(|error| refuse(error.to_string()))?;
        let n_samples = n_samples.parse().map_err(|_| refuse("these are no kept ranges".to_owned()))?;
        progress.said(&format!("going on with the ranges kept in `{}`", path.display()));
        Ok(Self { n_samples, observers, ..new })
    }

    /// Writes all of it, whole or not at all.
    pub(crate) fn keep(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let head = format!("{} {}", self.n_samples, self.fingerprint);
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head.as_bytes());
        bytes.extend(self.observers.to_bytes());
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
        written.map_err(|source| Error::Io { action: "write", path: path.clone(), source })
    }
}

/// The text that says what it is, and the rest.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (head, kept) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(head).ok()?, kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    #[test]
    fn a_kept_measurement_goes_on_and_one_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranges");
        let begin = |fingerprint: &str| State::begin(Some(&path), fingerprint, Method::MinMax, &Quiet);
        let mut state = begin("model a").unwrap();
        state.observers.observe("x", &[1.0, 2.0]);
        state.n_samples = 5;
        state.keep().unwrap();
        let again = begin("model a").unwrap();
        assert_eq!(again.observers, state.observers);
        assert_eq!(again.n_samples, 5);
        let error = begin("model b").err().unwrap().to_string();
        assert!(error.contains("of another model"), "{error}");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(begin("model a").err().unwrap().to_string().contains("no kept ranges"));
    }
}
