//! What a running session says of its arena, for `onnxfit watch`: one small file a session.
//!
//! NVML knows what a process holds on a card, not what its arena uses of it; only the process
//! knows that. Whoever runs a session keeps a [`LiveFile`], tells it the arena's statistics after
//! a run, and drops it with the session.
//!
//! The file `PID-N.json` lies in the folder that [`folder`] names. Its form is versioned; a reader
//! passes over a version it does not know, and over files of processes that have ended:
//!
//! ```json
//! {"schema":"onnxfit.live/1","pid":4711,"model":"m.onnx","device_index":0,
//!  "held_bytes":1073741824,"used_bytes":268435456,"peak_used_bytes":805306368,
//!  "limit_bytes":null,"predicted_bytes":536870912,"n_runs":12,"updated_unix_seconds":1790000000}
//! ```
//!
//! A session whose arena nobody can ask (Python's) leaves its counters `null` and says what its
//! last run was predicted to take.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use onnxfit_base::Bytes;
use serde::{Deserialize, Serialize};

use crate::ArenaStats;

/// The version of the form.
pub const SCHEMA: &str = "onnxfit.live/1";

/// Files that are looked at, and bytes of each: the folder is open to every program of the user.
const FILES_MAX: usize = 512;
const BYTES_MAX: u64 = 64 << 10;
/// A session in a hurry tells this often at most.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// What one session says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// [`SCHEMA`].
    pub schema: String,
    /// The process.
    pub pid: u32,
    /// The model.
    pub model: String,
    /// The GPU; `None` for the CPU's arena.
    pub device_index: Option<u32>,
    /// What the arena has taken from the device; `None` where it cannot be asked.
    pub held_bytes: Option<u64>,
    /// What of it is handed out.
    pub used_bytes: Option<u64>,
    /// The most that was ever handed out.
    pub peak_used_bytes: Option<u64>,
    /// The arena's limit, if it has one.
    pub limit_bytes: Option<u64>,
    /// What the last run was predicted to take, where that is known.
    #[serde(default)]
    pub predicted_bytes: Option<u64>,
    /// Runs so far.
    pub n_runs: u64,
    /// When it was written.
    pub updated_unix_seconds: u64,
}

/// Where the files lie: `ONNXFIT_LIVE_DIR`, or a folder of the user's own run-time directory.
/// `None` where there is neither: a folder that other users can write is not trusted.
pub fn folder() -> Option<PathBuf> {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("ONNXFIT_LIVE_DIR").or_else(|| Some(named("XDG_RUNTIME_DIR")?.join("onnxfit")))
}

/// The file of one session; it goes away with it.
#[derive(Debug)]
pub struct LiveFile {
    path: PathBuf,
    session: LiveSession,
    told: Option<Instant>,
}

impl LiveFile {
    /// Announces a session. `None` where there is no place for it: nobody has to be watched.
    pub fn announce(model: &Path, device_index: Option<u32>, limit_bytes: Option<u64>) -> Option<Self> {
        Self::announce_in(&folder()?, model, device_index, limit_bytes)
    }

    /// [`LiveFile::announce`] in a folder of one's own.
    pub fn announce_in(
        folder: &Path,
        model: &Path,
        device_index: Option<u32>,
        limit_bytes: Option<u64>,
    ) -> Option<Self> {
        static N_FILES: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(folder).ok()?;
        sweep(folder);
        let pid = std::process::id();
        let path = folder.join(format!("{pid}-{}.json", N_FILES.fetch_add(1, Ordering::Relaxed)));
        let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy().into_owned();
        let session = LiveSession {
            schema: SCHEMA.to_owned(),
            pid,
            model: name,
            device_index,
            held_bytes: None,
            used_bytes: None,
            peak_used_bytes: None,
            limit_bytes,
            predicted_bytes: None,
            n_runs: 0,
            updated_unix_seconds: 0,
        };
        let mut file = Self { path, session, told: None };
        file.write()?;
        Some(file)
    }

    /// Whether it is worth telling again: not long after the last time it is not.
    pub fn is_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY)
    }

    /// Tells what the arena holds after a run, or after loading. That it cannot be written is
    /// nobody's failure: the run went well.
    pub fn tell(&mut self, arena: &ArenaStats, n_runs: u64) {
        self.session.held_bytes = Some(arena.total_allocated.get());
        self.session.used_bytes = Some(arena.in_use.get());
        self.session.peak_used_bytes = Some(arena.max_in_use.get());
        self.tell_runs(self.session.predicted_bytes.map(Bytes), n_runs);
    }

    /// Tells how many runs there were and what the last was predicted to take.
    pub fn tell_runs(&mut self, predicted: Option<Bytes>, n_runs: u64) {
        self.session.predicted_bytes = predicted.map(Bytes::get);
        self.session.n_runs = n_runs;
        self.told = Some(Instant::now());
        let _ = self.write();
    }

    /// The file appears whole or not at all.
    fn write(&mut self) -> Option<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        self.session.updated_unix_seconds = now.as_secs();
        let text = serde_json::to_vec(&self.session).ok()?;
        let draft = self.path.with_extension("draft");
        std::fs::write(&draft, text).ok()?;
        std::fs::rename(&draft, &self.path).ok()
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a process is there; taken for granted where there is no `/proc`.
pub fn is_alive(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{pid}")).exists()
}

/// Removes what processes left that were killed.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(FILES_MAX) {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json").or(name.strip_suffix(".draft")));
        let pid = name.and_then(|name| name.split_once('-')?.0.parse().ok());
        if pid.is_some_and(|pid| !is_alive(pid)) {
            // It may be swept by another just now.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Every session that says something in a folder, by process and file name.
pub fn read(folder: &Path, is_alive: impl Fn(u32) -> bool) -> Vec<LiveSession> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .take(FILES_MAX)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let session = |path: PathBuf| -> Option<LiveSession> {
        if std::fs::symlink_metadata(&path).ok().filter(|about| about.is_file())?.len() > BYTES_MAX {
            return None;
        }
        let session: LiveSession = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (session.schema == SCHEMA && is_alive(session.pid)).then_some(session)
    };
    let mut sessions: Vec<LiveSession> = paths.into_iter().filter_map(session).collect();
    sessions.sort_by_key(|session| session.pid);
    sessions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(held: u64, used: u64) -> ArenaStats {
        ArenaStats {
            in_use: Bytes(used),
            requested_in_use: None,
            max_in_use: Bytes(used),
            total_allocated: Bytes(held),
            max_alloc_size: Bytes(used),
            num_allocs: 1,
            num_reserves: 0,
            num_arena_extensions: 1,
            num_arena_shrinkages: 0,
            limit: None,
        }
    }

    #[test]
    fn a_session_is_read_while_it_lives_and_gone_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file =
            LiveFile::announce_in(folder.path(), Path::new("/models/m.onnx"), Some(0), None).expect("a file");
        file.tell(&stats(4096, 1024), 3);
        let found = read(folder.path(), |pid| pid == std::process::id());
        assert_eq!(found.len(), 1);
        let session = &found[0];
        assert_eq!(
            (session.model.as_str(), session.held_bytes, session.used_bytes, session.n_runs),
            ("m.onnx", Some(4096), Some(1024), 3)
        );
        drop(file);
        assert!(read(folder.path(), |_| true).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = folder.path().join("4000000000-0.json");
        std::fs::write(&left, "{}").expect("it can be written");
        std::fs::write(folder.path().join("notes.json"), "{}").expect("it can be written");
        let file = LiveFile::announce_in(folder.path(), Path::new("m.onnx"), None, None).expect("a file");
        assert!(!left.exists() || !Path::new("/proc/self").exists());
        assert!(folder.path().join("notes.json").exists());
        assert!(file.is_due(), "nothing was told yet");
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it can be written");
        let good = |pid: u32, schema: &str| {
            format!(
                r#"{{"schema":"{schema}","pid":{pid},"model":"m","device_index":null,"held_bytes":1,"used_bytes":1,"peak_used_bytes":1,"limit_bytes":null,"n_runs":0,"updated_unix_seconds":0}}"#
            )
        };
        write("1-0.json", &good(1, SCHEMA));
        write("2-0.json", &good(2, SCHEMA));
        write("1-1.json", &good(1, "onnxfit.live/2"));
        write("1-2.json", "{ not json");
        write("1-3.json", &" ".repeat(70_000));
        write("1-4.draft", &good(1, SCHEMA));
        let pids: Vec<u32> = read(folder.path(), |pid| pid == 1).iter().map(|session| session.pid).collect();
        assert_eq!(pids, [1]);
        assert!(read(&folder.path().join("missing"), |_| true).is_empty());
    }
}
