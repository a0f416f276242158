//! `onnxfit serve` in front of real clients: `xtask/serve/client.py` with few requests, plain and over TLS.

use std::path::Path;
use std::process::Command;

#[test]
fn real_clients_are_answered_whatever_dies_and_bad_bodies_are_refused() {
    let Some(python) = std::env::var_os("ONNXFIT_PYTHON") else {
        eprintln!("skipped: ONNXFIT_PYTHON names no Python with onnx, onnxruntime and tritonclient");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/serve/client.py");
    let folder = tempfile::tempdir().expect("a folder for the certificate");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("two names make a certificate");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("the folder can be written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the folder can be written");
    let output = Command::new(python)
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_onnxfit"))
        .args(["--requests", "150", "--kills", "2"])
        .args(["--tls-cert".as_ref(), certificate.as_os_str(), "--tls-key".as_ref(), key.as_os_str()])
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("every request answered"), "{said}\n{errors}");
    assert!(said.contains("tls: tritonclient over grpc"), "{said}\n{errors}");
}
