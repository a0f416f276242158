//! ONNX Runtime's library, loaded once per process.
//!
//! ONNX Runtime allows one environment per process and keeps it for ever, so the first library
//! that is loaded is the one for the process's life. Loading never panics: every way to fail is a
//! [`RunError::Library`].

#![allow(unsafe_code)] // The library's version is behind a C function that `ort` does not offer.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::sys::OrtApiBase;

use crate::RunError;

/// Log lines kept; older ones are forgotten.
const LOG_LINES_MAX: usize = 100_000;

/// The loaded library and its environment.
pub struct Library {
    path: PathBuf,
    version: String,
    pub(crate) environment: Environment,
    log: Arc<Mutex<Log>>,
    /// Held while an allocator is registered with the environment: sessions that take allocators
    /// from the environment must not see another session's.
    registration: Mutex<()>,
}

#[derive(Default)]
struct Log {
    arena: VecDeque<String>,
    warnings: VecDeque<String>,
}

static LOADED: OnceLock<Library> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Library {
    /// Loads the library at `path`, or returns the one already loaded from there.
    ///
    /// Fails when another library is loaded already: a process has one.
    pub fn load(path: &Path) -> Result<&'static Self, RunError> {
        let fail = |message: String| RunError::Library { path: path.display().to_string(), message };
        let _one_at_a_time = lock(&LOADING);
        if let Some(loaded) = LOADED.get() {
            return if same_file(&loaded.path, path) {
                Ok(loaded)
            } else {
                Err(fail(format!("this process already uses `{}`", loaded.path.display())))
            };
        }
        let log = Arc::new(Mutex::new(Log::default()));
        let sink = Arc::clone(&log);
        // `init_from` checks the version and fails cleanly; `init` would panic without a library.
        let environment = ort::init_from(path)
            .map_err(|error| fail(error.to_string()))?
            .with_name("onnxfit")
            .with_telemetry(false)
            .with_logger(Arc::new(move |level: LogLevel, _: &str, _: &str, place: &str, message: &str| {
                record(&sink, level, place, message);
            }))
            .build()
            .map_err(|error| fail(error.to_string()))?;
        environment.set_log_level(LogLevel::Warning);
        let loaded = Self {
            path: path.to_owned(),
            version: version_of(path).unwrap_or_default(),
            environment,
            log,
            registration: Mutex::new(()),
        };
        Ok(LOADED.get_or_init(|| loaded))
    }

    /// The library of this process, if one is loaded.
    pub fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Warnings and errors logged since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        lock(&self.log).warnings.drain(..).collect()
    }

    pub(crate) fn capture_arena_log(&self) {
        // The arena logs with the environment's logger, so the level is the environment's too.
        self.environment.set_log_level(LogLevel::Verbose);
    }

    pub(crate) fn take_arena_log(&self) -> Vec<String> {
        lock(&self.log).arena.drain(..).collect()
    }

    pub(crate) fn lock_registration(&self) -> MutexGuard<'_, ()> {
        lock(&self.registration)
    }
}

fn record(log: &Mutex<Log>, level: LogLevel, place: &str, message: &str) {
    let mut log = lock(log);
    let of_arena = place.contains("bfc_arena");
    let lines = if of_arena {
        &mut log.arena
    } else if level >= LogLevel::Warning {
        &mut log.warnings
    } else {
        return;
    };
    if lines.len() == LOG_LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(message.trim_end().to_owned());
}

/// Reads a lock whose holder may have panicked: the data behind these locks is valid at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same_file(left: &Path, right: &Path) -> bool {
    left == right || matches!((left.canonicalize(), right.canonicalize()), (Ok(left), Ok(right)) if left == right)
}

/// Asks the library itself: `OrtApiBase::GetVersionString`, which `ort` reads but does not tell.
fn version_of(path: &Path) -> Option<String> {
    // SAFETY: `ort` has this library loaded, so no initialiser runs again.
    let library = unsafe { libloading::Library::new(path) }.ok()?;
    // SAFETY: `OrtGetApiBase` has had this signature since the first release, and `ort` has
    // called it already.
    let version = unsafe {
        let base: libloading::Symbol<'_, unsafe extern "system" fn() -> *const OrtApiBase> =
            library.get(b"OrtGetApiBase").ok()?;
        let base = base().as_ref()?;
        CStr::from_ptr((base.GetVersionString)())
    };
    version.to_str().ok().map(str::to_owned)
}
