//! The wheel, built and installed into a fresh environment: the drop-in beside `onnxruntime`, the
//! command, and the notebook. Skipped where there is no Python with maturin, onnx and onnxruntime
//! (`cargo xtask test` has one and names it in `ONNXFIT_PYTHON`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The interpreter that has the packages, if there is one.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("ONNXFIT_PYTHON")?);
    let has = Command::new(&python).args(["-c", "import maturin, onnx, onnxruntime"]).output().ok()?;
    has.status.success().then_some(python)
}

fn ran(what: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{what} does not start: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what} failed ({}):\n{out}\n{err}", output.status);
    output
}

/// A fresh environment with the wheel in it; the packages that it needs are those of `python`.
fn installed(python: &Path, folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let wheels = folder.join("wheels");
    ran(
        "maturin",
        Command::new(python)
            .args(["-m", "maturin", "build", "--profile", "dev", "--quiet", "--out"])
            .arg(&wheels)
            .arg("--interpreter")
            .arg(python)
            .current_dir(&root),
    );
    let wheel = std::fs::read_dir(&wheels).expect("a folder of wheels").flatten().next().expect("a wheel").path();
    let venv = folder.join("venv");
    ran("venv", Command::new(python).args(["-m", "venv"]).arg(&venv));
    let fresh = venv.join("bin/python");
    // Nothing is fetched: what the wheel depends on is shared with the other environment.
    let paths = "import site, sysconfig, pathlib, sys; \
                 pathlib.Path(sysconfig.get_path('purelib'), 'shared.pth').write_text(sys.argv[1])";
    let packages =
        ran("python", Command::new(python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]));
    let packages = String::from_utf8_lossy(&packages.stdout).trim().to_owned();
    ran("python", Command::new(&fresh).args(["-c", paths, &packages]));
    ran("pip", Command::new(&fresh).args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]).arg(&wheel));
    venv
}

#[test]
fn the_wheel_brings_the_drop_in_the_command_and_the_notebook() {
    let Some(python) = python() else {
        eprintln!("skipped: ONNXFIT_PYTHON names no Python with maturin, onnx and onnxruntime");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let venv = installed(&python, folder.path());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let without_library = |command: &mut Command| {
        // The package finds the library of its own environment.
        command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV").current_dir(folder.path());
    };

    let mut drop_in = Command::new(venv.join("bin/python"));
    without_library(drop_in.arg(here.join("tests/python/drop_in.py")));
    let output = ran("the drop-in's table", &mut drop_in);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.lines().count() > 20 && !table.contains("DIFFERS"), "{table}");
    println!("{table}");

    let mut soak = Command::new(venv.join("bin/python"));
    without_library(soak.arg(here.join("tests/python/soak.py")).arg("150"));
    let output = ran("the soak", &mut soak);
    println!("{}", String::from_utf8_lossy(&output.stdout));

    let mut command = Command::new(venv.join("bin/onnxfit"));
    let model = here.join("../../examples/resnet50/model.onnx");
    without_library(command.arg("check").arg(&model).args(["--on", "T4", "--dim", "batch=8"]));
    let output = ran("onnxfit check", &mut command);
    assert!(String::from_utf8_lossy(&output.stdout).contains("fits"), "{output:?}");

    let mut notebook = Command::new(venv.join("bin/python"));
    without_library(
        notebook
            .arg(here.join("tests/python/run_notebook.py"))
            .arg(here.join("notebook.ipynb"))
            .arg(here.join("../../examples")),
    );
    ran("the notebook", &mut notebook);

    let mut page = Command::new(venv.join("bin/python"));
    let root = here.join("../..");
    without_library(
        page.arg(here.join("tests/python/run_docs.py")).arg(root.join("docs/python.md")).arg(root.join("examples")),
    );
    ran("the page about Python", &mut page);

    let mut ray = Command::new(venv.join("bin/python"));
    without_library(ray.arg(here.join("tests/python/ray_data.py")));
    let output = ray.output().expect("Python starts");
    if output.status.code() == Some(3) {
        // `ray[data]` is 77 MB to fetch and 240 MB installed; the script takes a quarter of a minute.
        eprintln!("skipped: this Python has no ray, so no dataset is processed");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("complete and equal"), "{said}");
    println!("{said}");
}
