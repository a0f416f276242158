use super::*;

/// The first bytes of a library for this processor.
fn library_bytes() -> Vec<u8> {
    let mut bytes = b"\x7fELF".to_vec();
    bytes.resize(64, 0);
    bytes[18] = if env::consts::ARCH == "aarch64" { 183 } else { 62 };
    bytes
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(path, bytes).expect("a file");
}

fn told(root: &Path, found: &Found) -> String {
    found.to_string().replace(&format!("{}/", root.display()), "")
}

#[test]
#[cfg(target_os = "linux")]
fn tells_every_place_and_takes_the_first_good_one() {
    let root = tempfile::tempdir().expect("a folder");
    let capi = "venv/lib/python3.11/site-packages/onnxruntime/capi";
    put(root.path(), &format!("{capi}/libonnxruntime.so.1.31.1"), &library_bytes());
    put(root.path(), &format!("{capi}/libonnxruntime_providers_shared.so"), &library_bytes());
    put(root.path(), "old/lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.20.1", &library_bytes());
    put(root.path(), "cache/runtime/onnxruntime-1.30.0/libonnxruntime.so.1.30.0", &library_bytes());
    put(root.path(), "cache/runtime/onnxruntime-gpu-1.31.1/libonnxruntime.so.1.31.1", &library_bytes());
    put(root.path(), "cache/runtime/onnxruntime-gpu-1.31.1/libonnxruntime_providers_cuda.so", &library_bytes());
    put(root.path(), "cache/runtime/onnxruntime-1.30.0/manifest.json", b"{}");
    put(root.path(), "cache/runtime/onnxruntime-gpu-1.31.1/manifest.json", b"{}");
    put(root.path(), "cache/runtime/.installing-1.32.0/libonnxruntime.so.1.32.0", &library_bytes());
    put(root.path(), "system/libonnxruntime.so", b"not a library at all, but long enough");
    let places = Places {
        explicit: Some(root.path().join("absent.so")),
        python_environments: vec![root.path().join("old"), root.path().join("venv"), root.path().join("empty")],
        python_programs: Vec::new(),
        cache: Some(root.path().join("cache")),
        system_folders: vec![root.path().join("system")],
    };
    let found = find(&places);
    expect_test::expect![[r#"
        ORT_DYLIB_PATH  absent.so: does not exist
        Python          old/lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.20.1: is older than 1.23, the oldest that onnxfit can measure
        Python          venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1: 1.31.1
        Python          empty: has no onnxruntime package with a library
        cache           cache/runtime/onnxruntime-gpu-1.31.1/libonnxruntime.so.1.31.1: 1.31.1
        cache           cache/runtime/onnxruntime-1.30.0/libonnxruntime.so.1.30.0: 1.30.0
        system          system/libonnxruntime.so: is no ELF library
    "#]]
    .assert_eq(&told(root.path(), &found));
    let chosen = found.library().expect("one is good");
    assert!(chosen.ends_with(format!("{capi}/libonnxruntime.so.1.31.1")));
    assert!(found.with_cuda().is_some_and(|candidate| candidate.origin == Origin::Cache));
}

#[test]
fn finds_nothing_in_no_place() {
    let found = find(&Places::default());
    assert_eq!(found, Found::default());
    assert_eq!(found.library(), None);
}

#[test]
fn a_python_without_the_package_is_told() {
    let places = Places { python_programs: vec![PathBuf::from("no-such-python")], ..Places::default() };
    assert_eq!(
        find(&places).to_string(),
        "Python          no-such-python: is not there, or has no onnxruntime package\n"
    );
}
