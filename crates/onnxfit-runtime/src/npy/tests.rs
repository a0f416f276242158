use proptest::prelude::*;

use super::*;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = MARK.to_vec();
    file.extend([1, 0]);
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn refused(header: &str, data: &[u8]) -> String {
    read(&file(header, data)).expect_err("this is refused").to_string()
}

#[test]
fn writes_the_header_that_numpy_writes() {
    let tensor = Tensor::from_f32(vec![2], &[1.0, 2.0]).expect("two floats");
    let bytes = write(&tensor).expect("floats have a NumPy type");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert!(bytes[10..].starts_with(header.as_bytes()));
    assert_eq!((bytes.len() - 8) % 64, 0);
    assert_eq!(read(&bytes), Ok(tensor));
}

#[test]
fn every_type_that_numpy_has_comes_back() {
    for (_, element_type) in TYPES {
        for shape in [vec![], vec![0, 3], vec![2, 3], vec![2, 1, 2]] {
            let bytes = element_type.packed_bytes(element_count(&shape).expect("small")).expect("small");
            let tensor = Tensor::from_bytes(*element_type, shape, vec![1; bytes as usize]).expect("it fits");
            assert_eq!(read(&write(&tensor).expect("it has a type")), Ok(tensor), "{element_type}");
        }
    }
    let strings = Tensor::from_strings(vec![2], vec!["héé".to_owned(), String::new()]).expect("two strings");
    assert_eq!(read(&write(&strings).expect("strings have a type")), Ok(strings));
    let small = Tensor::from_bytes(ElementType::Int4, vec![2], vec![0x21]).expect("two halves of a byte");
    assert_eq!(write(&small), Err(NpyError::Type("int4".to_owned())));
}

#[test]
fn fortran_order_and_big_endian_are_turned_around() {
    let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3)}";
    let columns: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|value| value.to_be_bytes()).collect();
    let tensor = read(&file(header, &columns)).expect("a matrix");
    assert_eq!(tensor.shape(), [2, 3]);
    assert_eq!(tensor.values(), Some(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
}

#[test]
fn what_cannot_be_read_says_why() {
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(refused(good, &[0; 7]), "is cut off: 8 bytes are needed, 7 are there");
    assert_eq!(refused(good, &[0; 9]), "has 1 bytes after its array");
    let object = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(refused(object, &[]), "has elements of type `|O`, which no ONNX input takes");
    let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 16), }";
    assert_eq!(refused(huge, &[]), "a double tensor of shape [4611686018427387904, 16] is larger than any memory");
    assert_eq!(refused("{}", &[]), "has a header that cannot be read: no descr in `{}`");
    assert_eq!(read(b"PK").expect_err("a zip").to_string(), "is no .npy array: it does not begin with NumPy's mark");
    assert!(matches!(read(b"\x93NUM"), Err(NpyError::Truncated { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        header in "\\{'descr': '[<>|]?[a-zA-Z][0-9]{0,3}', 'fortran_order': (True|False), 'shape': \\([0-9, ]{0,12}\\),? \\}",
        data in proptest::collection::vec(any::<u8>(), 0..64),
        cut in 0usize..128,
    ) {
        let mut bytes = file(&header, &data);
        let _ = read(&bytes);
        bytes.truncate(cut);
        let _ = read(&bytes);
    }
}
