//! `onnxfit serve` in front of real clients: `xtask/serve/client.py` with few requests.

use std::path::Path;
use std::process::Command;

#[test]
fn real_clients_are_answered_whatever_dies_and_bad_bodies_are_refused() {
    let Some(python) = std::env::var_os("ONNXFIT_PYTHON") else {
        eprintln!("skipped: ONNXFIT_PYTHON names no Python with onnx, onnxruntime and tritonclient");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/serve/client.py");
    let output = Command::new(python)
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_onnxfit"))
        .args(["--requests", "150", "--kills", "2"])
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("every request answered"), "{said}\n{errors}");
}
