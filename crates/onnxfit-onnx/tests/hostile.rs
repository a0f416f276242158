//! Files that nobody vouches for: an error that names the place, and nothing else happens.

mod common;

use std::path::Path;

use common::{field, names, rich_model, write_model};
use onnxfit_base::{Bytes, Limits};
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{ModelFile, OnnxError, SaveOptions, TensorSource, save, text};
use prost::Message;

/// The error of opening `path`; the folder is the same afterwards.
fn refused(path: &Path) -> OnnxError {
    let before = names(path.parent().unwrap());
    let error = ModelFile::open(path).map(|_| ()).expect_err("the file is bad");
    assert_eq!(names(path.parent().unwrap()), before);
    error
}

fn refused_bytes(bytes: Vec<u8>) -> OnnxError {
    ModelFile::from_bytes("bad.onnx", bytes).map(|_| ()).expect_err("the bytes are bad")
}

/// A weight of eight bytes in another file.
fn external(entries: &str) -> String {
    format!("g () => () <float[2] w = [{entries}]> {{}}")
}

/// Opening refuses the external data; so does reading and saving when nobody looked on opening.
fn refused_data(folder: &Path, entries: &str, message: &str) {
    let path = write_model(folder, &external(entries));
    let error = refused(&path);
    assert_eq!(error.to_string(), message);
    let file = ModelFile::from_bytes(&path, std::fs::read(&path).unwrap()).unwrap();
    let tensor = &file.proto.graph.as_ref().unwrap().initializer[0];
    assert_eq!(file.weights().tensor_bytes(tensor).unwrap_err().to_string(), message);
    let out = tempfile::tempdir().unwrap();
    let saved = save(&file.proto, &out.path().join("out.onnx"), &SaveOptions::new(file.weights()));
    assert_eq!(saved.unwrap_err().to_string(), message);
    assert_eq!(names(out.path()), [""; 0], "nothing is written");
}

#[test]
fn a_model_cut_short_anywhere_never_panics() {
    let bytes = rich_model().encode_to_vec();
    let mut n_refused = 0;
    for end in 0..bytes.len() {
        if let Err(error) = ModelFile::from_bytes("cut.onnx", bytes[..end].to_vec()) {
            n_refused += 1;
            assert!(error.to_string().starts_with("`cut.onnx` is no ONNX model: "), "{error}");
        }
    }
    // Between two fields of the model itself, what is left is a model.
    assert!(n_refused > bytes.len() * 9 / 10, "{n_refused} of {}", bytes.len());
    let error = refused_bytes(bytes[..bytes.len() / 2].to_vec());
    assert_eq!(
        error.to_string(),
        "`bad.onnx` is no ONNX model: a field of 437 bytes where 259 are left at byte 11, in the model"
    );
}

#[test]
fn data_outside_the_folder_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outside.path().join("secret"), [0; 8]).unwrap();
    refused_data(
        &folder,
        r#""location": "../secret""#,
        "tensor `w` points to `../secret`, which leaves the model's folder",
    );
    let message = "tensor `w` points to `a/../../secret`, which leaves the model's folder";
    refused_data(&folder, r#""location": "a/../../secret""#, message);
    let secret = outside.path().join("secret").display().to_string();
    let message = format!("tensor `w` points to `{secret}`, which is an absolute path");
    refused_data(&folder, &format!(r#""location": "{secret}""#), &message);
    let message = r"tensor `w` points to `..\secret`, which is no plain relative path";
    refused_data(&folder, r#""location": "..\\secret""#, message);
    let message = "tensor `w` has external data with a bad `location`: ``";
    refused_data(&folder, r#""location": """#, message);
    refused_data(&folder, r#""offset": "0""#, message);
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outside.path().join("secret"), [0; 8]).unwrap();
    symlink("../secret", folder.join("link")).unwrap();
    let message = "tensor `w` points to `link`, which is a link that leaves the model's folder";
    refused_data(&folder, r#""location": "link""#, message);
    symlink(outside.path(), folder.join("parent")).unwrap();
    let message = "tensor `w` points to `parent/secret`, which is a link that leaves the model's folder";
    refused_data(&folder, r#""location": "parent/secret""#, message);
    symlink("nothing", folder.join("broken")).unwrap();
    let message = "tensor `w` points to `broken`, which is a link to nothing that can be read";
    refused_data(&folder, r#""location": "broken""#, message);
    symlink("loop", folder.join("loop")).unwrap();
    let message = "tensor `w` points to `loop`, which is a link to nothing that can be read";
    refused_data(&folder, r#""location": "loop""#, message);
}

#[cfg(unix)]
#[test]
fn links_that_stay_are_followed() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    // The cache of Hugging Face: names that are links to blobs, the model's own name too.
    let (names, blobs) = (outside.path().join("snapshot"), outside.path().join("blobs"));
    std::fs::create_dir(&names).unwrap();
    std::fs::create_dir(&blobs).unwrap();
    std::fs::rename(write_model(&names, &external(r#""location": "w.bin""#)), blobs.join("1")).unwrap();
    std::fs::write(blobs.join("2"), [7; 8]).unwrap();
    symlink("../blobs/1", names.join("model.onnx")).unwrap();
    symlink("../blobs/2", names.join("w.bin")).unwrap();
    let file = ModelFile::open(names.join("model.onnx")).unwrap();
    let tensor = &file.proto.graph.as_ref().unwrap().initializer[0];
    assert_eq!(file.weights().tensor_bytes(tensor).unwrap().as_ref(), [7; 8]);
    // A hard link is a file of this folder like any other.
    std::fs::hard_link(blobs.join("2"), blobs.join("hard")).unwrap();
    let path = write_model(&blobs, &external(r#""location": "./hard", "length": "8""#));
    assert!(ModelFile::open(path).unwrap().absent_weights.is_empty());
}

#[test]
fn data_that_does_not_hold_the_tensor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("w"), [0; 100]).unwrap();
    let message = "external data `w` has 100 B, but `w` ends at byte 108";
    refused_data(folder, r#""location": "w", "offset": "100""#, message);
    let message = "external data `w` has 100 B, but `w` ends at byte 18446744073709551615";
    refused_data(folder, r#""location": "w", "offset": "18446744073709551610""#, message);
    let message = "tensor `w` holds 12 B, but its shape needs 8 B";
    refused_data(folder, r#""location": "w", "length": "12""#, message);
    let message = "tensor `w` has external data with a bad `offset`: `-8`";
    refused_data(folder, r#""location": "w", "offset": "-8""#, message);
    std::fs::create_dir(folder.join("d")).unwrap();
    refused_data(folder, r#""location": "d""#, "tensor `w` points to `d`, which is no file");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfifo");
        return;
    }
    refused_data(folder.path(), r#""location": "pipe""#, "tensor `w` points to `pipe`, which is no file");
    assert!(refused(&pipe).to_string().ends_with("it is no regular file"));
}

#[test]
fn a_missing_data_file_is_no_error_but_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_model(folder.path(), &external(r#""location": "w.bin""#));
    let file = ModelFile::open(path).unwrap();
    assert_eq!(file.absent_weights, ["w"]);
    let tensor = &file.proto.graph.as_ref().unwrap().initializer[0];
    let error = file.weights().tensor_bytes(tensor).unwrap_err();
    assert_eq!(error.to_string(), "the weights of `w` (8 B) are absent: `w.bin` does not have them");
}

#[test]
fn a_dimension_of_2_to_62_is_refused() {
    for dims in [vec![1i64 << 62], vec![-1], vec![1 << 40, 1 << 40]] {
        let mut model = rich_model();
        let tensor = TensorProto { dims: dims.clone(), ..TensorProto::from_f32("big", &[], &[]) };
        let branch = model.graph.as_mut().unwrap().node[1].attribute[0].g.as_mut().unwrap();
        branch.initializer.push(tensor);
        let error = refused_bytes(model.encode_to_vec());
        assert_eq!(error.to_string(), format!("tensor `big` has the impossible shape {dims:?}"));
    }
}

#[test]
fn ten_thousand_nested_subgraphs_are_refused() {
    let mut graph = Vec::new();
    for _ in 0..10_000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    let error = refused_bytes(field(7, &graph));
    assert_eq!(
        error.to_string(),
        "`bad.onnx` nests subgraphs more than 32 deep (in graph.node[0].attribute[0].g.node[0].attribute[0]. … \
         .attribute[0].g.node[0].attribute[0])"
    );
    let mut types = Vec::new();
    for _ in 0..10_000 {
        types = field(4, &field(1, &types));
    }
    let error = refused_bytes(field(7, &field(11, &field(2, &types))));
    assert!(matches!(error, OnnxError::TooDeep { .. }), "{error}");
}

#[test]
fn thirty_nested_subgraphs_are_fine() {
    let mut inner = "y = Identity (x)".to_owned();
    for _ in 0..30 {
        inner = format!("y = If (x) <then_branch = g () => (float y) {{ {inner} }}>");
    }
    let model = text::parse(&format!("g (bool x) => (float y) {{ {inner} }}")).unwrap();
    let file = ModelFile::from_bytes("deep.onnx", model.encode_to_vec()).unwrap();
    assert_eq!(file.proto, model);
}

#[test]
fn a_bomb_of_empty_attributes_is_refused_before_it_takes_memory() {
    // 20 million attributes of two bytes, which would be gigabytes once decoded.
    let node = [0x2a, 0x00].repeat(20_000_000);
    let error = refused_bytes(field(7, &field(1, &node)));
    let message = error.to_string();
    assert!(
        message.starts_with(
            "`bad.onnx` would take more than 2.00 GiB of memory for its structure alone (reached in graph.node[0]"
        ),
        "{message}"
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kib < 1 << 20, "{peak_kib} KiB for a file of 40 MB");
    }
}

#[test]
fn other_bombs_are_refused_too() {
    let limits = Limits { structure_bytes_max: Bytes::mib(64), ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.onnx");
    let bombs = [
        ("empty nodes", field(7, &[0x0a, 0x00].repeat(1_000_000))),
        ("empty names", field(7, &field(1, &[0x0a, 0x00].repeat(3_000_000)))),
        ("packed dimensions", field(7, &field(5, &field(1, &[0].repeat(10_000_000))))),
        ("packed integers", field(7, &field(1, &field(5, &field(8, &[0].repeat(10_000_000)))))),
        ("plain integers", field(7, &field(1, &field(5, &[0x40, 0x00].repeat(10_000_000))))),
        ("packed int32 data", field(7, &field(5, &field(5, &[0].repeat(20_000_000))))),
        ("metadata", [0x72, 0x00].repeat(1_000_000)),
    ];
    for (name, bytes) in bombs {
        std::fs::write(&path, bytes).unwrap();
        let result = ModelFile::open_within(&path, &limits);
        assert!(matches!(result, Err(OnnxError::TooLarge { .. })), "{name}: {:?}", result.map(|_| ()));
    }
}

#[test]
fn files_that_are_no_models_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.onnx");
    let cases = [
        ("", "it is empty at byte 0, in the model"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "it is a Git LFS pointer"),
        ("<!DOCTYPE html><html>", "is no ONNX model"),
        ("not found", "is no ONNX model"),
        ("\x08\x0a", "it has no graph"),
    ];
    for (content, problem) in cases {
        std::fs::write(&path, content).unwrap();
        let message = refused(&path).to_string();
        assert!(message.contains(problem), "{message}");
        assert!(message.contains("bad.onnx"), "{message}");
    }
    let lfs = OnnxError::Malformed {
        path: path.clone(),
        problem: "it is a Git LFS pointer".to_owned(),
        offset: 0,
        place: String::new(),
    };
    assert!(lfs.hint().unwrap().contains("git lfs pull"));
    assert!(refused(folder.path()).to_string().ends_with("it is a folder"));
    let missing = refused(&folder.path().join("missing.onnx"));
    assert!(missing.to_string().starts_with("cannot open `"), "{missing}");
    assert!(missing.hint().is_some());
}

#[test]
fn a_tensor_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.onnx");
    let mut model: ModelProto = text::parse("g () => () <float[2] w = {1, 2}> {}").unwrap();
    model.graph.as_mut().unwrap().initializer[0].dims = vec![3];
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    assert_eq!(refused(&path).to_string(), "tensor `w` holds 8 B, but its shape needs 12 B");
    model.graph.as_mut().unwrap().initializer[0].data_type = Some(99);
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let file = ModelFile::open(&path).unwrap();
    let error = save(&file.proto, &folder.path().join("out.onnx"), &SaveOptions::new(file.weights())).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w` has data type number 99, which ONNX does not define");
    assert_eq!(names(folder.path()), ["bad.onnx"]);
}
