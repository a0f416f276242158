//! Files that a verb writes besides its answer: whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use onnxfit::report::html::{ReportView, write_html};
use onnxfit::report::timeline::TimelineView;
use onnxfit::report::trace::write_trace;

/// The files that can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArguments {
    /// Write a report as one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write memory over the run as a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl OutputArguments {
    /// Writes what was asked for.
    pub(crate) fn write(&self, report: &ReportView<'_>, timeline: &TimelineView) -> Result<()> {
        if let Some(path) = &self.html {
            write_report(path, report)?;
        }
        if let Some(path) = &self.trace {
            write_whole(path, |mut out| write_trace(&mut out, timeline, &report.check.model))?;
        }
        Ok(())
    }
}

/// Writes a report with what it was made with.
pub(crate) fn write_report(path: &Path, report: &ReportView<'_>) -> Result<()> {
    let environment = environment();
    write_whole(path, |out| write_html(out, &ReportView { environment: &environment, ..*report }))
}

/// With what the report was made.
fn environment() -> Vec<(String, String)> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let rows = [
        ("onnxfit", env!("CARGO_PKG_VERSION").to_owned()),
        ("made on", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("command", format!("onnxfit {}", command.join(" "))),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Writes beside the place and moves the file there when it is whole.
pub(crate) fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let name = path.file_name().with_context(|| format!("`{}` is no file", path.display()))?;
    let part = path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = File::create(&part).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&part, path)
    });
    if written.is_err() {
        // The failure that brought us here is what is reported.
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_could_not_be_filled_leaves_the_old_one_and_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        std::fs::write(&path, "old").unwrap();
        let failed = write_whole(&path, |out| {
            out.write_all(b"half of it")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("the disk is full"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_whole(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
