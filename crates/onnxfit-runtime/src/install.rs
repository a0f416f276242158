//! Fetches ONNX Runtime with the machine's own pip and keeps only its libraries.
//!
//! pip, because it knows this machine's mirrors, proxies and certificates. What it fetched is
//! checked twice: the wheel against the hash that the index tells, and each library against the
//! hash inside the wheel. The cache has a complete runtime or none: files are unpacked beside
//! their place and the folder is renamed.

mod pip;
mod wheel;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onnxfit_base::Bytes;
use serde::{Deserialize, Serialize};

pub use pip::Python;

/// The release that onnxfit is measured against.
pub const DEFAULT_VERSION: &str = "1.31.1";

/// What to install.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallRequest {
    /// The build with the CUDA provider.
    pub gpu: bool,
    /// Release; `None` is [`DEFAULT_VERSION`].
    pub version: Option<String>,
}

impl InstallRequest {
    /// The package's name on the index.
    pub fn package(&self) -> &'static str {
        if self.gpu { "onnxruntime-gpu" } else { "onnxruntime" }
    }

    /// The release.
    pub fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(DEFAULT_VERSION)
    }
}

/// What is going on, for a progress line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// The index is asked for the wheel's hash.
    Asking,
    /// pip fetches the wheel.
    Fetching,
    /// The wheel's hash is computed.
    Checking(Bytes),
    /// The libraries are unpacked.
    Unpacking,
}

/// An installed runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// The library to load.
    pub library: PathBuf,
    /// What was installed.
    pub manifest: Manifest,
    /// Whether it was there before and nothing was fetched.
    pub was_there: bool,
}

/// `manifest.json` in the runtime's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `onnxruntime` or `onnxruntime-gpu`.
    pub package: String,
    /// Release.
    pub version: String,
    /// The wheel's file name.
    pub wheel: String,
    /// The wheel's SHA-256.
    pub sha256: String,
    /// Whether the index told the same hash; an old pip or index may not tell one.
    pub sha256_confirmed_by_index: bool,
    /// The main library's file name.
    pub library: String,
    /// Every file that was kept.
    pub files: Vec<String>,
}

/// Why there is no runtime in the cache afterwards.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No Python on this machine.
    #[error("no Python was found (tried {})", tried.join(", "))]
    NoPython {
        /// Programs that were tried.
        tried: Vec<String>,
    },
    /// A Python without pip.
    #[error("`{python}` has no pip: {message}")]
    NoPip {
        /// The Python.
        python: String,
        /// What it said.
        message: String,
    },
    /// No release with that name.
    #[error("`{0}` is no release number")]
    Version(String),
    /// The index has no such release for this machine.
    #[error("the package index has no {package} {version} for this machine{}", known(available))]
    NoSuchVersion {
        /// Package.
        package: String,
        /// Release.
        version: String,
        /// Releases that pip saw, newest last; may be empty.
        available: Vec<String>,
    },
    /// pip failed for another reason.
    #[error("pip could not fetch {what}: {message}")]
    Pip {
        /// Package and release.
        what: String,
        /// The last lines of what pip said.
        message: String,
    },
    /// pip took too long.
    #[error("pip did not finish within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The wheel is not the one that the index told.
    #[error("`{wheel}` has the SHA-256 {have}, but the index says {want}")]
    Hash {
        /// File name.
        wheel: String,
        /// The index's.
        want: String,
        /// The file's.
        have: String,
    },
    /// The wheel is damaged or holds no library.
    #[error("`{wheel}` cannot be used: {reason}")]
    Wheel {
        /// File name.
        wheel: String,
        /// Why.
        reason: String,
    },
    /// The disk refused.
    #[error("`{path}`: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

fn known(available: &[String]) -> String {
    // The newest few are what helps.
    let newest: Vec<&str> = available.iter().rev().take(5).map(String::as_str).collect();
    if newest.is_empty() { String::new() } else { format!("; it has {}", newest.join(", ")) }
}

impl InstallError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPython { .. } | Self::NoPip { .. } => {
                Some("install Python 3 with pip, or set ORT_DYLIB_PATH to a libonnxruntime that you have")
            }
            Self::NoSuchVersion { .. } => {
                Some("name a release with --version; releases exist for some Python versions and processors only")
            }
            Self::Pip { .. } | Self::Timeout { .. } => Some(
                "check that `python3 -m pip download onnxruntime` works here; pip's own settings name the mirror and proxy",
            ),
            Self::Hash { .. } | Self::Wheel { .. } => {
                Some("clear pip's cache with `python3 -m pip cache purge` and try again")
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some disk space, or set ONNXFIT_CACHE to a folder on another disk")
            }
            Self::Io { .. } => Some("set ONNXFIT_CACHE to a folder that can be written"),
            Self::Version(_) => Some("write it like 1.31.1"),
        }
    }
}

/// Installs a runtime into `cache`, or returns the one that is there.
///
/// On failure nothing is left behind.
pub fn install(
    request: &InstallRequest,
    cache: &Path,
    python: &Python,
    progress: &mut dyn FnMut(InstallStep),
) -> Result<Installed, InstallError> {
    check_version(request.version())?;
    let runtimes = cache.join("runtime");
    let name = format!("{}-{}", request.package(), request.version());
    let folder = runtimes.join(&name);
    if let Some(installed) = installed_in(&folder) {
        return Ok(installed);
    }
    fs::create_dir_all(&runtimes).map_err(|error| InstallError::io(&runtimes, error))?;
    // Beside its place, so that the rename stays on one disk; removed when dropped.
    let work = tempfile::Builder::new()
        .prefix(".installing-")
        .tempdir_in(&runtimes)
        .map_err(|error| InstallError::io(&runtimes, error))?;

    progress(InstallStep::Asking);
    let promised = python.promised_sha256(request, work.path())?;
    progress(InstallStep::Fetching);
    let fetched = python.download(request, work.path())?;
    let size = fs::metadata(&fetched).map_err(|error| InstallError::io(&fetched, error))?.len();
    progress(InstallStep::Checking(Bytes(size)));
    let wheel_name = fetched.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sha256 = wheel::sha256_of(&fetched)?;
    // The index may tell the hash of another wheel of the release, if pip chose one for another
    // Python; only a hash for the same file can confirm or refute.
    let promised = promised.filter(|promised| promised.wheel == wheel_name);
    if let Some(promised) = &promised
        && promised.sha256 != sha256
    {
        return Err(InstallError::Hash { wheel: wheel_name, want: promised.sha256.clone(), have: sha256 });
    }
    progress(InstallStep::Unpacking);
    let unpacked = work.path().join(&name);
    fs::create_dir(&unpacked).map_err(|error| InstallError::io(&unpacked, error))?;
    let (library, files) = wheel::unpack_libraries(&fetched, &unpacked)?;
    let manifest = Manifest {
        package: request.package().to_owned(),
        version: request.version().to_owned(),
        wheel: wheel_name,
        sha256,
        sha256_confirmed_by_index: promised.is_some(),
        library,
        files,
    };
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data") + "\n";
    let manifest_path = unpacked.join("manifest.json");
    fs::write(&manifest_path, text).map_err(|error| InstallError::io(&manifest_path, error))?;
    put_in_place(&unpacked, &folder, work.path())?;
    let installed = installed_in(&folder).ok_or_else(|| {
        InstallError::io(&folder, io::Error::other("the runtime is not complete after installing it"))
    })?;
    Ok(Installed { was_there: false, ..installed })
}

/// The complete runtime in a folder, if there is one.
pub fn installed_in(folder: &Path) -> Option<Installed> {
    let text = fs::read_to_string(folder.join("manifest.json")).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let plain = |name: &String| Path::new(name).file_name().is_some_and(|file| file == name.as_str());
    let complete = manifest.files.iter().all(|file| plain(file) && folder.join(file).is_file());
    let library = folder.join(&manifest.library);
    (complete && plain(&manifest.library) && library.is_file()).then(|| Installed {
        folder: folder.to_owned(),
        library,
        manifest,
        was_there: true,
    })
}

/// Every complete runtime of a cache, by folder name.
pub fn installed(cache: &Path) -> Vec<Installed> {
    let entries = fs::read_dir(cache.join("runtime")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| installed_in(folder)).collect()
}

fn put_in_place(unpacked: &Path, folder: &Path, work: &Path) -> Result<(), InstallError> {
    if fs::rename(unpacked, folder).is_ok() || installed_in(folder).is_some() {
        // Renamed, or another process was quicker with the same release.
        return Ok(());
    }
    // What lies there is not complete: move it aside, where it is removed with the rest.
    fs::rename(folder, work.join("replaced")).map_err(|error| InstallError::io(folder, error))?;
    fs::rename(unpacked, folder).map_err(|error| InstallError::io(folder, error))
}

/// The release becomes part of a command and of a path, so only what a release number can hold.
fn check_version(version: &str) -> Result<(), InstallError> {
    let good = version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() <= 40
        && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        && !version.contains("..");
    if good { Ok(()) } else { Err(InstallError::Version(version.to_owned())) }
}

#[cfg(test)]
mod tests;
