use std::io::Cursor;
use std::process::Command;

use super::*;
use crate::ElementType;

fn some_tensors() -> Tensors {
    let half = Tensor::from_f64(ElementType::Float16, vec![2, 2], &[0.5, -1.0, 2.0, 65504.0]);
    [
        ("ids".to_owned(), Tensor::from_i64(vec![1, 3], &[1, 2, 3]).expect("three ids")),
        ("pixels/half".to_owned(), half.expect("half has numbers").expect("four halves")),
    ]
    .into_iter()
    .collect()
}

#[test]
fn arrays_come_back_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inputs.npz");
    write(&path, &some_tensors()).expect("a file");
    assert_eq!(read(&path).expect("the same file"), some_tensors());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing temporary stays");
}

#[test]
fn a_cut_file_is_refused_at_every_length() {
    let mut bytes = Cursor::new(Vec::new());
    write_to(&mut bytes, "x.npz", &some_tensors()).expect("in memory");
    let bytes = bytes.into_inner();
    for length in 0..bytes.len() {
        let cut = read_from(Cursor::new(&bytes[..length]), "x.npz", UNPACKED_BYTES_MAX);
        assert!(matches!(cut, Err(NpzError::NotNpz { .. })), "{length}");
    }
}

#[test]
fn a_file_that_would_unpack_beyond_the_limit_is_refused_before_it_is_unpacked() {
    let mut bytes = Cursor::new(Vec::new());
    let mut archive = ZipWriter::new(&mut bytes);
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    archive.start_file("zeros.npy", packed).expect("an entry");
    archive.write_all(&vec![0u8; 4 << 20]).expect("four megabytes of nothing");
    archive.finish().expect("a zip");
    assert!(bytes.get_ref().len() < 64 << 10);
    let error = read_from(bytes, "bomb.npz", Bytes::MIB).expect_err("too large");
    assert_eq!(error.to_string(), "`bomb.npz` would unpack to 4.00 MiB, more than 1.00 MiB");
}

#[test]
fn numpy_reads_what_is_written_and_is_read_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("ours.npz"), &some_tensors()).expect("a file");
    let program = "import numpy as np\n\
        a = np.load('ours.npz')\n\
        assert a['ids'].dtype == np.int64 and a['ids'].tolist() == [[1, 2, 3]]\n\
        assert a['pixels/half'].dtype == np.float16 and a['pixels/half'][1, 1] == 65504\n\
        np.savez_compressed('theirs.npz', m=np.asfortranarray(np.arange(6, dtype='>i4').reshape(2, 3)), b=np.array([True, False]), s=np.array(['a', 'bc']), z=np.float32(2.5))\n";
    let python =
        std::env::var_os("VIRTUAL_ENV").map_or_else(|| "python3".into(), |root| Path::new(&root).join("bin/python"));
    let ran = Command::new(python).args(["-c", program]).current_dir(folder.path()).output();
    match ran {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("No module named 'numpy'") => {
            eprintln!("skipped: this Python has no numpy");
        }
        Err(error) => eprintln!("skipped: no Python ({error})"),
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs = read(&folder.path().join("theirs.npz")).expect("numpy's file");
            let numbers = theirs.get("m").expect("m");
            assert_eq!(numbers.values(), Some(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
            assert_eq!(theirs.get("b").map(Tensor::element_type), Some(ElementType::Bool));
            assert_eq!(theirs.get("s").and_then(Tensor::strings), Some(&["a".to_owned(), "bc".to_owned()][..]));
            assert_eq!(theirs.get("z").and_then(Tensor::values), Some(vec![2.5]));
        }
    }
}
