use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

/// A certificate for this machine and its key, in PEM.
pub(in crate::front) fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("two names make a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The files of a folder.
pub(in crate::front) fn written(folder: &Path, certificate: &str, key: &str) -> TlsFiles {
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
    files
}

fn says(certificate: &str, key: &str, want: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), certificate, key);
    let error = Tls::open(&files).err().expect("these cannot be used");
    want.assert_eq(&error.to_string().replace(&format!("{}/", folder.path().display()), ""));
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_its_file() {
    let (certificate, key) = made();
    let (_, other) = made();
    says(&certificate, &other, &expect!["the key in `key.pem` does not belong to the certificate in `cert.pem`"]);
    says(&certificate, "", &expect!["`key.pem` holds no key in PEM: there is no such section in it"]);
    says(&certificate, &certificate, &expect!["`key.pem` holds no key in PEM: there is no such section in it"]);
    says(&key, &key, &expect!["`cert.pem` holds no certificate in PEM: there is no such section in it"]);
    says("no PEM", &key, &expect!["`cert.pem` holds no certificate in PEM: there is no such section in it"]);
    let cut = &certificate[..certificate.len() / 2];
    says(cut, &key, &expect!["`cert.pem` holds no certificate in PEM: a section of it has no end"]);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let want = expect![
        "the key in `key.pem` is encrypted, and nobody is asked for its password; decrypt it with `openssl pkey -in key.pem -out FILE` and let nobody else read FILE"
    ];
    says(&certificate, &encrypted, &want);
    let older = key.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n");
    says(&certificate, &older, &want);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let files = written(folder.path(), &certificate, &key);
    std::fs::remove_file(&files.key).unwrap();
    let said = Tls::open(&files).err().unwrap().to_string();
    assert!(said.starts_with("cannot read the key in `") && said.contains("key.pem"), "{said}");
}

#[test]
fn a_renewal_is_read_and_a_broken_one_leaves_the_certificate_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let files = written(folder.path(), &certificate, &key);
    let tls = Tls::open(&files).unwrap();
    assert!(!tls.reload_changed().unwrap());

    let touch = |seconds| {
        let later = SystemTime::now() + std::time::Duration::from_secs(seconds);
        std::fs::File::options().append(true).open(&files.certificate).unwrap().set_modified(later).unwrap();
    };
    let (renewed, renewed_key) = made();
    std::fs::write(&files.certificate, &renewed).unwrap();
    touch(10);
    assert!(matches!(tls.reload_changed(), Err(TlsError::Mismatch { .. })));
    // Said once, not every few seconds.
    assert!(!tls.reload_changed().unwrap());

    std::fs::write(&files.key, renewed_key).unwrap();
    touch(20);
    assert!(tls.reload_changed().unwrap());
}
