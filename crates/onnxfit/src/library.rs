//! Which ONNX Runtime runs things, found or installed.

use std::path::PathBuf;

use onnxfit_runtime::install::{self, InstallRequest, InstallStep, Installed, Python};
use onnxfit_runtime::locate::{self, Places};

use crate::Error;
use crate::progress::Progress;

/// The library to load: found, or installed unless `offline`.
pub(crate) fn ensure(offline: bool, progress: &dyn Progress) -> Result<PathBuf, Error> {
    let found = locate::find(&Places::of_this_process());
    if let Some(library) = found.library() {
        return Ok(library.to_owned());
    }
    let missing = "ONNX Runtime is not installed: no libonnxruntime was found";
    if offline {
        let hint = "run `onnxfit runtime install`, or `pip install onnxruntime`".to_owned();
        return Err(Error::Runtime { message: missing.to_owned(), hint: Some(hint) });
    }
    progress.said(&format!("{missing}; installing onnxruntime {} with pip", install::DEFAULT_VERSION));
    Ok(install_runtime(&InstallRequest::default(), progress)?.library)
}

/// Installs a release into the user's cache, or returns the one that is there.
pub fn install_runtime(request: &InstallRequest, progress: &dyn Progress) -> Result<Installed, Error> {
    let cache = locate::cache_folder().ok_or_else(|| Error::Runtime {
        message: "this user has no folder for caches".to_owned(),
        hint: Some("set ONNXFIT_CACHE to a folder that can be written".to_owned()),
    })?;
    let fail = |error: install::InstallError| Error::Runtime {
        message: error.to_string(),
        hint: error.hint().map(str::to_owned),
    };
    let python = Python::of_this_machine().map_err(fail)?;
    let name = format!("{} {}", request.package(), request.version());
    install::install(request, &cache, &python, &mut |step| match step {
        InstallStep::Asking => progress.doing(&format!("asking for the hash of {name}")),
        InstallStep::Fetching => progress.doing(&format!("fetching {name}")),
        InstallStep::Checking(size) => progress.doing(&format!("checking {size} of {name}")),
        InstallStep::Unpacking => progress.doing(&format!("unpacking {name}")),
    })
    .map_err(fail)
}
