//! A stand-in for Python plays pip, so that every way to fail can be had without a network.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const WHEEL: &str = "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl";

struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    /// A machine whose pip runs `script` with `$*` as its arguments.
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let program = root.path().join("python");
        let text = format!("#!/bin/sh\nROOT={}\n{script}\n", root.path().display());
        fs::write(&program, text).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        Self { root }
    }

    /// A pip that has one wheel and tells `sha256` of it.
    fn with_wheel(wheel: &[u8], sha256: &str) -> Self {
        let machine = Self::new(&format!(
            "case \"$*\" in\n\
             *--version) echo pip 26 ;;\n\
             *' install '*) while [ \"$1\" != --report ]; do shift; done\n\
               echo '{{\"install\":[{{\"download_info\":{{\"url\":\"https://index/{WHEEL}\",\"archive_info\":{{\"hashes\":{{\"sha256\":\"{sha256}\"}}}}}}}}]}}' > \"$2\" ;;\n\
             *' download '*) while [ \"$1\" != --dest ]; do shift; done; cp \"$ROOT/wheel\" \"$2/{WHEEL}\" ;;\n\
             esac"
        ));
        fs::write(machine.root.path().join("wheel"), wheel).expect("a wheel");
        machine
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn install(&self) -> Result<Installed, InstallError> {
        let python = Python::first_of([self.root.path().join("python")])?;
        install(&InstallRequest::default(), &self.cache(), &python, &mut |_| {})
    }

    fn left_in_cache(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache().join("runtime")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn wheel(files: &[(&str, &[u8])], recorded: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    let mut archive = ZipWriter::new(&mut bytes);
    let mut record = String::new();
    for (path, content) in files {
        archive.start_file(*path, SimpleFileOptions::default()).expect("an entry");
        archive.write_all(content).expect("in memory");
        record += &format!("{path},sha256={},{}\n", recorded(content), content.len());
    }
    archive.start_file("onnxruntime-1.31.1.dist-info/RECORD", SimpleFileOptions::default()).expect("an entry");
    archive.write_all(record.as_bytes()).expect("in memory");
    archive.finish().expect("a zip");
    bytes.into_inner()
}

fn base64(content: &[u8]) -> String {
    wheel::base64_url(&Sha256::digest(content))
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn good_wheel() -> Vec<u8> {
    let files: &[(&str, &[u8])] = &[
        ("onnxruntime/__init__.py", b"import os"),
        ("onnxruntime/LICENSE", b"MIT"),
        ("onnxruntime/capi/onnxruntime_pybind11_state.so", b"python"),
        ("onnxruntime/capi/libonnxruntime.so.1.31.1", b"the library"),
        ("onnxruntime/capi/libonnxruntime_providers_shared.so", b"shared"),
        ("onnxruntime/capi/../../../libonnxruntime.so.evil", b"outside"),
    ];
    wheel(files, base64)
}

#[test]
fn keeps_only_the_libraries_and_their_licence() {
    let bytes = good_wheel();
    let machine = Machine::with_wheel(&bytes, &hex(&bytes));
    let installed = machine.install().expect("a good wheel installs");
    assert!(!installed.was_there);
    assert_eq!(fs::read(&installed.library).expect("the library"), b"the library");
    let manifest = serde_json::to_string_pretty(&installed.manifest).expect("plain data");
    expect_test::expect![[r#"
        {
          "package": "onnxruntime",
          "version": "1.31.1",
          "wheel": "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
          "sha256": "SHA",
          "sha256_confirmed_by_index": true,
          "library": "libonnxruntime.so.1.31.1",
          "files": [
            "LICENSE",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime_providers_shared.so"
          ]
        }"#]]
    .assert_eq(&manifest.replace(&hex(&bytes), "SHA"));
    assert_eq!(machine.left_in_cache(), ["onnxruntime-1.31.1"]);
    assert!(machine.install().expect("it is there").was_there);
    assert_eq!(super::installed(&machine.cache()).len(), 1);
}

#[test]
fn a_runtime_that_lost_a_file_is_installed_again() {
    let bytes = good_wheel();
    let machine = Machine::with_wheel(&bytes, &hex(&bytes));
    let first = machine.install().expect("a good wheel installs");
    fs::remove_file(&first.library).expect("the library");
    let again = machine.install().expect("it installs again");
    assert!(!again.was_there && again.library.is_file());
    assert_eq!(machine.left_in_cache(), ["onnxruntime-1.31.1"]);
}

#[test]
fn another_hash_than_the_index_told_leaves_nothing() {
    let machine = Machine::with_wheel(&good_wheel(), &"0".repeat(64));
    assert!(matches!(machine.install(), Err(InstallError::Hash { .. })));
    assert_eq!(machine.left_in_cache(), [""; 0]);
}

#[test]
fn a_library_that_is_not_the_recorded_one_leaves_nothing() {
    let bytes = wheel(&[("onnxruntime/capi/libonnxruntime.so.1.31.1", b"changed")], |_| base64(b"the library"));
    let machine = Machine::with_wheel(&bytes, &hex(&bytes));
    let error = machine.install().expect_err("a changed library is refused");
    assert!(error.to_string().ends_with("does not have the hash that its record says"), "{error}");
    assert_eq!(machine.left_in_cache(), [""; 0]);
}

#[test]
fn damaged_and_empty_wheels_are_refused() {
    let bytes = good_wheel();
    let cut = &bytes[..bytes.len() / 2];
    let machine = Machine::with_wheel(cut, &hex(cut));
    assert!(matches!(machine.install(), Err(InstallError::Wheel { .. })));
    let empty = wheel(&[("onnxruntime/__init__.py", b"")], base64);
    let machine = Machine::with_wheel(&empty, &hex(&empty));
    let error = machine.install().expect_err("nothing to load");
    assert!(error.to_string().ends_with("it holds no ONNX Runtime library"), "{error}");
}

#[test]
fn says_what_is_missing() {
    let absent = Python::first_of([PathBuf::from("no-such-python")]).expect_err("there is none");
    assert_eq!(absent.to_string(), "no Python was found (tried no-such-python)");
    let machine = Machine::new("echo 'No module named pip' >&2; exit 1");
    assert!(matches!(machine.install(), Err(InstallError::NoPip { .. })));

    let machine = Machine::new(
        "case \"$*\" in *--version) ;; *) echo 'ERROR: Could not find a version that satisfies the requirement onnxruntime==1.31.1 (from versions: 1.20.0, 1.20.1)'; \
         echo 'ERROR: No matching distribution found for onnxruntime==1.31.1'; exit 1 ;; esac",
    );
    let error = machine.install().expect_err("there is no such release");
    assert_eq!(
        error.to_string(),
        "the package index has no onnxruntime 1.31.1 for this machine; it has 1.20.1, 1.20.0"
    );

    let machine = Machine::new("case \"$*\" in *--version) ;; *) echo 'Connection refused'; exit 1 ;; esac");
    let error = machine.install().expect_err("no network");
    assert_eq!(error.to_string(), "pip could not fetch onnxruntime==1.31.1: Connection refused");
    assert!(error.hint().is_some());
    assert_eq!(machine.left_in_cache(), [""; 0]);
}

#[test]
fn a_release_number_cannot_be_a_path_or_an_option() {
    for version in ["", "../1", "-e", "1.0 --index", "1..2", "1/2"] {
        assert!(matches!(check_version(version), Err(InstallError::Version(_))), "{version}");
    }
    assert!(check_version("1.31.1").is_ok() && check_version("1.32.0rc1").is_ok());
}

#[test]
fn the_real_pip_installs_a_library_that_loads() {
    if std::env::var_os("ONNXFIT_TEST_NETWORK").is_none() {
        eprintln!("skipped: set ONNXFIT_TEST_NETWORK to fetch a real wheel");
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let python = Python::of_this_machine().expect("a Python with pip");
    let installed = install(&InstallRequest::default(), cache.path(), &python, &mut |step| eprintln!("{step:?}"))
        .expect("it installs");
    eprintln!("{:#?}", installed.manifest);
    let library = crate::Library::load(&installed.library).expect("it loads");
    assert_eq!(library.version(), DEFAULT_VERSION);
}
