//! The machine's own Python and pip.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{InstallError, InstallRequest};

/// A Python that has pip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    program: PathBuf,
}

/// The index's word on one wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    pub(super) wheel: String,
    pub(super) sha256: String,
}

const QUESTION_SECONDS: u64 = 120;
const DOWNLOAD_SECONDS: u64 = 3600;

impl Python {
    /// The active environment's Python, or the system's.
    pub fn of_this_machine() -> Result<Self, InstallError> {
        let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(env::var_os);
        let inside = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        let programs = environments.map(|root| Path::new(&root).join(inside)).filter(|program| program.is_file());
        Self::first_of(programs.chain(["python3", "python"].map(PathBuf::from)))
    }

    /// The first of these programs that is a Python with pip.
    pub fn first_of(programs: impl IntoIterator<Item = PathBuf>) -> Result<Self, InstallError> {
        let mut tried = Vec::new();
        let mut without_pip = None;
        for program in programs {
            tried.push(program.display().to_string());
            let asked = Command::new(&program).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
            match asked {
                Ok(output) if output.status.success() => return Ok(Self { program }),
                Ok(output) => {
                    let message = last_lines(&String::from_utf8_lossy(&output.stderr), 1);
                    without_pip.get_or_insert(InstallError::NoPip { python: program.display().to_string(), message });
                }
                Err(_) => {}
            }
        }
        Err(without_pip.unwrap_or(InstallError::NoPython { tried }))
    }

    /// Asks the index which wheel this machine would get and what its hash is; `None` from a pip
    /// or an index that does not tell.
    pub(super) fn promised_sha256(
        &self,
        request: &InstallRequest,
        work: &Path,
    ) -> Result<Option<Promised>, InstallError> {
        let report = work.join("report.json");
        let arguments = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:", "--report"];
        let mut command = self.pip(&arguments);
        command.arg(&report).arg(requirement(request));
        // A question that fails decides nothing: the download will say what is wrong.
        let _ = run(command, work, QUESTION_SECONDS)?;
        Ok(fs::read_to_string(&report).ok().as_deref().and_then(promised_in))
    }

    /// Fetches the wheel into a folder.
    pub(super) fn download(&self, request: &InstallRequest, work: &Path) -> Result<PathBuf, InstallError> {
        let target = work.join("wheel");
        fs::create_dir(&target).map_err(|error| InstallError::io(&target, error))?;
        let arguments = ["download", "--no-deps", "--only-binary=:all:", "--progress-bar", "off", "--dest"];
        let mut said = String::new();
        // The library inside is the same for every Python, so a machine whose Python is too old or
        // too new for the release takes the wheel that was made for another.
        for other in [None, Some("312"), Some("311"), Some("310")] {
            let mut command = self.pip(&arguments);
            command.arg(&target);
            if let Some(tag) = other {
                command.args(["--implementation", "cp", "--python-version", tag, "--abi", &format!("cp{tag}")]);
            }
            command.arg(requirement(request));
            let (success, text) = run(command, work, DOWNLOAD_SECONDS)?;
            if success && let Some(wheel) = wheel_in(&target) {
                return Ok(wheel);
            }
            if said.is_empty() {
                said = text;
            }
            if !said.contains("No matching distribution") {
                break;
            }
        }
        Err(refusal(request, &said))
    }

    fn pip(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).args(arguments);
        command
    }
}

fn requirement(request: &InstallRequest) -> String {
    format!("{}=={}", request.package(), request.version())
}

/// Runs a command to its end or to the limit; returns success and all that it said.
fn run(mut command: Command, work: &Path, seconds: u64) -> Result<(bool, String), InstallError> {
    // Into a file, so that no pipe can fill up while nobody reads.
    let said = work.join("pip.log");
    let open = || fs::File::create(&said).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = open().map_err(|error| InstallError::io(&said, error))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| InstallError::io(Path::new(command.get_program()), error))?;
    let start = Instant::now();
    let success = loop {
        match child.try_wait().map_err(|error| InstallError::io(Path::new("pip"), error))? {
            Some(status) => break status.success(),
            None if start.elapsed() > Duration::from_secs(seconds) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(InstallError::Timeout { seconds });
            }
            None => sleep(Duration::from_millis(20)),
        }
    };
    let bytes = fs::read(&said).map_err(|error| InstallError::io(&said, error))?;
    Ok((success, String::from_utf8_lossy(&bytes).into_owned()))
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

/// Reads pip's installation report (its format version 1).
fn promised_in(report: &str) -> Option<Promised> {
    let report: serde_json::Value = serde_json::from_str(report).ok()?;
    let info = report.get("install")?.get(0)?.get("download_info")?;
    let sha256 = info.pointer("/archive_info/hashes/sha256")?.as_str()?;
    let url = info.get("url")?.as_str()?;
    let wheel = url.split(['?', '#']).next()?.rsplit('/').next()?;
    Some(Promised { wheel: wheel.replace("%2B", "+"), sha256: sha256.to_ascii_lowercase() })
}

fn refusal(request: &InstallRequest, said: &str) -> InstallError {
    let package = request.package().to_owned();
    if said.contains("No matching distribution") {
        let listed =
            said.split_once("(from versions: ").and_then(|(_, rest)| rest.split_once(')')).map(|(list, _)| list);
        let available = listed.unwrap_or_default().split(", ").filter(|version| !matches!(*version, "" | "none"));
        let available: Vec<String> = available.map(str::to_owned).collect();
        // An unreachable index lists nothing and ends with the same words.
        if !available.is_empty() || !said.contains("Retrying") {
            return InstallError::NoSuchVersion { package, version: request.version().to_owned(), available };
        }
    }
    InstallError::Pip { what: requirement(request), message: last_lines(said, 3) }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
