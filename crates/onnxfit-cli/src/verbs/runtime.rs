//! `onnxfit runtime`: which ONNX Runtime is used; install one.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Args, Subcommand};
use onnxfit::runtime::install::InstallRequest;
use onnxfit::runtime::locate::{self, Places};

use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Which libraries were found, and which one is used
    List,
    /// Get a release with this machine's pip and keep its libraries in the user's cache
    Install {
        /// The CUDA build
        #[arg(long)]
        gpu: bool,
        /// The release
        #[arg(long, value_name = "V")]
        version: Option<String>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut stdout = io::stdout().lock();
    match &arguments.action {
        None | Some(Action::List) => {
            let found = locate::find(&Places::of_this_process());
            write!(stdout, "{found}")?;
            Ok(if found.library().is_some() { 0 } else { 1 })
        }
        Some(Action::Install { gpu, version }) => {
            let request = InstallRequest { gpu: *gpu, version: version.clone() };
            let bar = Bar::new();
            let installed = onnxfit::install_runtime(&request, &bar)?;
            drop(bar);
            let how = if installed.was_there { "was installed already" } else { "installed" };
            writeln!(
                stdout,
                "{} {} {how}: {}",
                installed.manifest.package,
                installed.manifest.version,
                installed.library.display()
            )?;
            Ok(0)
        }
    }
}
