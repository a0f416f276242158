//! A file that appears under its name only when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::OnnxError;

/// A file written under a temporary name in the folder where it shall be; dropped before
/// [`Self::commit`], it leaves nothing behind.
pub(crate) struct PendingFile {
    path: PathBuf,
    temporary: PathBuf,
    is_committed: bool,
}

impl PendingFile {
    /// Writes all of it and flushes it to the disk, under the temporary name.
    pub(crate) fn write(
        path: &Path,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<Self, OnnxError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let fail = |source| OnnxError::Io { action: "write", path: path.to_owned(), source };
        let Some(name) = path.file_name() else {
            return Err(fail(io::Error::other("it is no name of a file")));
        };
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary =
            path.with_file_name(format!(".{}.{}-{counter}.part", name.to_string_lossy(), std::process::id()));
        // `create_new` follows no link that somebody laid under this name.
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(fail)?;
        let pending = Self { path: path.to_owned(), temporary, is_committed: false };
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        fill(&mut writer).map_err(fail)?;
        let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
        file.sync_all().map_err(fail)?;
        Ok(pending)
    }

    /// Gives the file its name, in place of what had it before.
    pub(crate) fn commit(mut self) -> Result<(), OnnxError> {
        std::fs::rename(&self.temporary, &self.path).map_err(|source| OnnxError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // The reason is reported already; that the leftover is gone is no new one.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
