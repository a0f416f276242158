//! What the continuous integration runs, and the tests with what they need.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::runner::{root, run, works};
use crate::tidy::tidy;

/// The Python packages that tests compare against; pinned, for their figures are.
const PYTHON_PACKAGES: [&str; 8] = [
    "onnxruntime==1.31.1",
    "onnx==1.23.2",
    "numpy",
    "maturin==1.16.0",
    "tritonclient[http,grpc]==2.73.0",
    // What `deploy` writes is held against these: the types of Kubernetes' and SageMaker's schemas, 1 MB together.
    "lightkube-models==1.37.0.8",
    "mypy-boto3-sagemaker==1.43.125",
    "pyyaml==6.0.3",
];

/// Everything, the tests last: their summary ends the output.
pub(crate) fn ci() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"], &[])?;
    tidy()?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
    run("cargo", &["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", Path::new("-Dwarnings"))])?;
    test(&[])
}

/// The tests, with ONNX Runtime at hand in a virtual environment of the build folder.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    let venv = python_environment()?;
    let library = library_in(&venv)?;
    let python = venv.join("bin/python");
    let environment =
        [("VIRTUAL_ENV", venv.as_path()), ("ORT_DYLIB_PATH", library.as_path()), ("ONNXFIT_PYTHON", python.as_path())];
    // nextest runs each test in a process of its own, which tests of out-of-memory need.
    if !works("cargo", &["nextest", "--version"]) {
        run("cargo", &["install", "cargo-nextest", "--locked"], &[])?;
    }
    let mut all = vec!["nextest", "run", "--workspace", "--no-fail-fast"];
    all.extend(arguments.iter().map(String::as_str));
    run("cargo", &all, &environment)
}

/// A virtual environment of the build folder with the packages that tests compare against.
pub(crate) fn python_environment() -> Result<PathBuf> {
    environment("venv", &[])
}

/// A virtual environment of the build folder with those packages and more.
pub(crate) fn environment(name: &str, more: &[&str]) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let venv = target.join(name);
    let python = venv.join("bin/python");
    let python_text = python.to_string_lossy().into_owned();
    let ready = target.join(format!("{name}.packages"));
    let packages = [&PYTHON_PACKAGES[..], more].concat();
    let wanted = packages.join(" ");
    if std::fs::read_to_string(&ready).is_ok_and(|have| have == wanted)
        && works(&python_text, &["-c", "import onnxruntime"])
    {
        return Ok(venv);
    }
    run("python3", &["-m", "venv", &venv.to_string_lossy()], &[])?;
    let mut install = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    install.extend(packages);
    run(&python_text, &install, &[])?;
    std::fs::write(&ready, wanted).context("cannot note which packages are installed")?;
    Ok(venv)
}

/// The library of ONNX Runtime in a virtual environment.
pub(crate) fn library_in(venv: &Path) -> Result<PathBuf> {
    let find = || -> Option<PathBuf> {
        for python in std::fs::read_dir(venv.join("lib")).ok()?.flatten() {
            let folder = python.path().join("site-packages/onnxruntime/capi");
            for file in std::fs::read_dir(folder).ok()?.flatten() {
                if file.file_name().to_string_lossy().starts_with("libonnxruntime.so") {
                    return Some(file.path());
                }
            }
        }
        None
    };
    find().context("the onnxruntime package holds no libonnxruntime.so")
}
