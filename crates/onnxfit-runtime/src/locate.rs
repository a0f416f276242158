//! Finds ONNX Runtime's library on this machine, without the network.
//!
//! In this order: `ORT_DYLIB_PATH`, the active Python environment, onnxfit's own cache, the
//! system. Every candidate that was looked at is told, with the reason why it was refused: a
//! library that is not found is the commonest thing that goes wrong.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest release whose arena can be read: `AllocatorGetStats` came with it.
pub const OLDEST_MINOR_VERSION: u32 = 23;

/// Where to look. Taken from the process once, so that tests can say it instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// `ORT_DYLIB_PATH`.
    pub explicit: Option<PathBuf>,
    /// `VIRTUAL_ENV` and `CONDA_PREFIX`.
    pub python_environments: Vec<PathBuf>,
    /// Programs to ask for their `onnxruntime` package.
    pub python_programs: Vec<PathBuf>,
    /// onnxfit's own cache.
    pub cache: Option<PathBuf>,
    /// Folders of the system.
    pub system_folders: Vec<PathBuf>,
}

/// What kind of place a candidate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `ORT_DYLIB_PATH`.
    Explicit,
    /// A Python environment.
    Python,
    /// onnxfit's cache.
    Cache,
    /// A folder of the system.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Explicit => "ORT_DYLIB_PATH",
            Self::Python => "Python",
            Self::Cache => "cache",
            Self::System => "system",
        })
    }
}

/// One place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What kind of place.
    pub origin: Origin,
    /// The file, or the folder in which none was found.
    pub path: PathBuf,
    /// Version by the file's name, such as `1.31.1`; `None` if the name does not tell.
    pub version: Option<String>,
    /// Whether the CUDA provider lies beside it.
    pub cuda: bool,
    /// Why it was not taken; `None` for the one that was, and for good ones after it.
    pub refused: Option<String>,
}

/// The library that was found, and all that was looked at on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Every place, in the order of preference.
    pub candidates: Vec<Candidate>,
}

impl Found {
    /// The library to use.
    pub fn library(&self) -> Option<&Path> {
        self.chosen().map(|candidate| candidate.path.as_path())
    }

    /// The candidate to use.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.refused.is_none())
    }

    /// The first candidate that can run on an NVIDIA GPU.
    pub fn with_cuda(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.refused.is_none() && candidate.cuda)
    }
}

impl fmt::Display for Found {
    /// One line per place: origin, path, and version or reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for candidate in &self.candidates {
            let verdict = match (&candidate.refused, &candidate.version) {
                (Some(reason), _) => reason.as_str(),
                (None, Some(version)) => version.as_str(),
                (None, None) => "version unknown until it is loaded",
            };
            writeln!(f, "{:<15} {}: {verdict}", candidate.origin, candidate.path.display())?;
        }
        Ok(())
    }
}

impl Places {
    /// The places that this process's environment names.
    pub fn of_this_process() -> Self {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut system_folders: Vec<PathBuf> =
            env::var_os("LD_LIBRARY_PATH").map(|paths| env::split_paths(&paths).collect()).unwrap_or_default();
        if let Some(beside) = env::current_exe().ok().as_deref().and_then(Path::parent) {
            system_folders.push(beside.to_owned());
        }
        let usual = [
            "/usr/local/lib",
            "/usr/lib",
            "/usr/lib64",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/opt/onnxruntime/lib",
            "/opt/homebrew/lib",
        ];
        system_folders.extend(usual.map(PathBuf::from));
        Self {
            explicit: folder("ORT_DYLIB_PATH"),
            python_environments: ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(folder).collect(),
            python_programs: vec![PathBuf::from("python3"), PathBuf::from("python")],
            cache: cache_folder(),
            system_folders,
        }
    }
}

/// onnxfit's cache: `$ONNXFIT_CACHE`, `$XDG_CACHE_HOME/onnxfit`, or `~/.cache/onnxfit`.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("ONNXFIT_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("onnxfit")))
        .or_else(|| Some(env::home_dir()?.join(".cache").join("onnxfit")))
}

/// Looks at every place and judges what is there. Nothing is loaded and nothing of Python is
/// imported.
pub fn find(places: &Places) -> Found {
    let mut found = Found::default();
    if let Some(path) = &places.explicit {
        found.explicit(path);
    }
    for environment in &places.python_environments {
        found.python_environment(environment);
    }
    // Asking Python costs tens of milliseconds, so only while nothing better is known.
    if found.chosen().is_none() {
        for program in &places.python_programs {
            if let Some(folder) = ask_python(program) {
                found.folder(Origin::Python, &folder.join("capi"));
                break;
            }
            found.refuse(Origin::Python, program, "is not there, or has no onnxruntime package");
        }
    }
    if let Some(cache) = &places.cache {
        found.cache(cache);
    }
    for folder in &places.system_folders {
        found.folder(Origin::System, folder);
    }
    found
}

impl Found {
    fn explicit(&mut self, path: &Path) {
        if path.is_dir() {
            let before = self.candidates.len();
            self.folder(Origin::Explicit, path);
            if self.candidates.len() == before {
                self.refuse(Origin::Explicit, path, "is a folder without an ONNX Runtime library");
            }
        } else if path.is_file() {
            self.judge(Origin::Explicit, path.to_owned());
        } else {
            self.refuse(Origin::Explicit, path, "does not exist");
        }
    }

    fn python_environment(&mut self, root: &Path) {
        let before = self.candidates.len();
        for python in subfolders(&root.join("lib")) {
            self.folder(Origin::Python, &python.join("site-packages").join("onnxruntime").join("capi"));
        }
        if self.candidates.len() == before {
            self.refuse(Origin::Python, root, "has no onnxruntime package with a library");
        }
    }

    fn cache(&mut self, cache: &Path) {
        let before = self.candidates.len();
        // The newest release first; folders are named `onnxruntime-1.31.1` or `onnxruntime-gpu-1.31.1`.
        let mut folders = subfolders(&cache.join("runtime"));
        folders.sort_by_key(|folder| std::cmp::Reverse(version_in_name(folder).map(|version| numbers(&version))));
        // The manifest is written last: a folder without one is an install that is under way.
        for folder in folders.iter().filter(|folder| folder.join("manifest.json").is_file()) {
            self.folder(Origin::Cache, folder);
        }
        if self.candidates.len() == before {
            self.refuse(Origin::Cache, cache, "holds no installed runtime");
        }
    }

    /// Judges every library of a folder; a folder without one is passed over.
    fn folder(&mut self, origin: Origin, folder: &Path) {
        for path in libraries_in(folder) {
            self.judge(origin, path);
        }
    }

    fn judge(&mut self, origin: Origin, path: PathBuf) {
        let known = path.canonicalize().unwrap_or_else(|_| path.clone());
        if self.candidates.iter().any(|candidate| candidate.path == known || candidate.path == path) {
            return;
        }
        let version = version_in_name(&known);
        let too_old = version.as_deref().is_some_and(|version| {
            let mut parts = numbers(version).into_iter();
            parts.next() == Some(1) && parts.next().is_some_and(|minor| minor < u64::from(OLDEST_MINOR_VERSION))
        });
        let refused = if too_old {
            Some(format!("is older than 1.{OLDEST_MINOR_VERSION}, the oldest that onnxfit can measure"))
        } else {
            wrong_kind(&path).map(str::to_owned)
        };
        let cuda = path.parent().is_some_and(|folder| folder.join(CUDA_PROVIDER).is_file());
        self.candidates.push(Candidate { origin, path, version, cuda, refused });
    }

    fn refuse(&mut self, origin: Origin, path: &Path, reason: &str) {
        let refused = Some(reason.to_owned());
        self.candidates.push(Candidate { origin, path: path.to_owned(), version: None, cuda: false, refused });
    }
}

const CUDA_PROVIDER: &str =
    if cfg!(windows) { "onnxruntime_providers_cuda.dll" } else { "libonnxruntime_providers_cuda.so" };

/// Why a file cannot be a library of this system, from its first bytes.
fn wrong_kind(path: &Path) -> Option<&'static str> {
    use std::io::Read;
    let mut start = [0u8; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    if read.is_err() {
        return Some("cannot be read as a library");
    }
    if !cfg!(target_os = "linux") {
        return None;
    }
    if start[..4] != *b"\x7fELF" {
        return Some("is no ELF library");
    }
    // e_machine, the 16 bits at offset 18.
    let machine = u16::from_le_bytes([start[18], start[19]]);
    let want = match env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => return None,
    };
    (machine != want).then_some("is built for another processor")
}

/// Whether a file name is that of the main library: pip's carries the version
/// (`libonnxruntime.so.1.31.1`), so that no plain name would find it.
fn is_library_name(name: &str) -> bool {
    if name.contains("providers") {
        return false;
    }
    name == "libonnxruntime.so"
        || name.starts_with("libonnxruntime.so.")
        || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
        || name == "onnxruntime.dll"
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_library_name) && path.is_file())
        .collect();
    // The longest version first, so that of a file and the links to it the file is named.
    paths.sort_by_key(|path| std::cmp::Reverse(version_in_name(path).map(|version| numbers(&version))));
    paths
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The first `1.31.1`-like part of a file name.
fn version_in_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let version: String = name[start..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let version = version.trim_end_matches('.');
    version.contains('.').then(|| version.to_owned())
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Where a Python keeps its `onnxruntime` package; finding it does not import it.
fn ask_python(program: &Path) -> Option<PathBuf> {
    const QUESTION: &str = "import importlib.util as u\ns = u.find_spec('onnxruntime')\nprint(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')";
    let output = Command::new(program)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().last()?.trim();
    (!line.is_empty()).then(|| PathBuf::from(OsString::from(line)))
}

#[cfg(test)]
mod tests;
