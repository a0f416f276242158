//! Samples come out of every kind of file as they went in, in an order that can be gone on with.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use onnxfit_data::{BadSamples, Batch, BatchOptions, DataError, ImageLayout, OpenOptions, Position, Source};
use onnxfit_runtime::{ElementType, Tensor, Tensors, npy, npz};
use parquet::arrow::ArrowWriter;

fn numbers(from: i64, shape: &[u64]) -> Tensor {
    let n: u64 = shape.iter().product();
    let values: Vec<f32> = (0..n as i64).map(|index| (from + index) as f32).collect();
    Tensor::from_f32(shape.to_vec(), &values).unwrap()
}

fn labels(from: i64, n: i64) -> Tensor {
    Tensor::from_i64(vec![n as u64], &(from..from + n).collect::<Vec<_>>()).unwrap()
}

fn tensors(pairs: &[(&str, &Tensor)]) -> Tensors {
    pairs.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect()
}

fn all(source: &Source, options: &BatchOptions, from: Position) -> Vec<Batch> {
    source.batches(options, from).collect::<Result<_, _>>().unwrap()
}

fn seen(batches: &[Batch]) -> Vec<u64> {
    batches.iter().flat_map(|batch| batch.samples.clone()).collect()
}

fn labels_of(batches: &[Batch]) -> Vec<f64> {
    batches.iter().flat_map(|batch| batch.tensors.get("y").unwrap().values().unwrap()).collect()
}

/// Ten samples `x` of shape [2] and `y`, whose values tell which sample they belong to.
fn check_ten(path: &Path) {
    let source = Source::open(path).unwrap();
    assert_eq!(source.len(), 10, "{}", path.display());
    let shapes: Vec<_> = source.schema().iter().map(|field| (field.name.as_str(), field.shape.clone())).collect();
    assert!(shapes.contains(&("x", vec![2])) && shapes.contains(&("y", vec![])), "{shapes:?}");
    let batches = all(&source, &BatchOptions::of(4), Position { seed: Some(3), ..Position::default() });
    assert_eq!(batches.iter().map(|batch| batch.samples.len()).collect::<Vec<_>>(), [4, 4, 2]);
    for batch in &batches {
        let x = batch.tensors.get("x").unwrap().values().unwrap();
        let y = batch.tensors.get("y").unwrap().values().unwrap();
        for (at, sample) in batch.samples.iter().enumerate() {
            assert_eq!(y[at], *sample as f64);
            assert_eq!(x[2 * at..2 * at + 2], [2.0 * *sample as f64, 2.0 * *sample as f64 + 1.0]);
        }
    }
    let mut order = seen(&batches);
    assert_ne!(order, (0..10).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
}

#[test]
fn every_form_of_arrays_gives_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, y) = (numbers(0, &[10, 2]), labels(0, 10));
    npz::write(&at("one.npz"), &tensors(&[("x", &x), ("y", &y)])).unwrap();
    check_ten(&at("one.npz"));

    // A column each.
    std::fs::create_dir(at("columns")).unwrap();
    std::fs::write(at("columns/x.npy"), npy::write(&x).unwrap()).unwrap();
    std::fs::write(at("columns/y.npy"), npy::write(&y).unwrap()).unwrap();
    check_ten(&at("columns"));

    // Files with uneven parts of the rows, and files with a sample each.
    std::fs::create_dir(at("shards")).unwrap();
    std::fs::create_dir(at("samples")).unwrap();
    for (name, rows) in [("a", 0..3), ("b", 3..4), ("c", 4..10)] {
        let part = |tensor: &Tensor| tensor.rows(rows.clone()).unwrap();
        npz::write(&at(&format!("shards/{name}.npz")), &tensors(&[("x", &part(&x)), ("y", &part(&y))])).unwrap();
    }
    check_ten(&at("shards"));
    for index in 0..10 {
        let y = Tensor::from_i64(vec![], &[index]).unwrap();
        let sample = tensors(&[("x", &numbers(2 * index, &[2])), ("y", &y)]);
        npz::write(&at(&format!("samples/{index:02}.npz")), &sample).unwrap();
    }
    check_ten(&at("samples"));

    // A folder for each name.
    for name in ["x", "y"] {
        std::fs::create_dir_all(at("folders").join(name)).unwrap();
    }
    for index in 0..10 {
        let y = Tensor::from_i64(vec![], &[index]).unwrap();
        std::fs::write(at(&format!("folders/x/{index}.npy")), npy::write(&numbers(2 * index, &[2])).unwrap()).unwrap();
        std::fs::write(at(&format!("folders/y/{index}.npy")), npy::write(&y).unwrap()).unwrap();
    }
    check_ten(&at("folders"));
}

#[test]
fn safetensors_written_by_hand_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.safetensors");
    let header = br#"{"x":{"dtype":"F32","shape":[10,2],"data_offsets":[0,80]},"y":{"dtype":"I64","shape":[10],"data_offsets":[80,160]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(numbers(0, &[10, 2]).bytes().unwrap());
    bytes.extend_from_slice(labels(0, 10).bytes().unwrap());
    std::fs::write(&path, &bytes).unwrap();
    check_ten(&path);
    std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    let error = Source::open(&path).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn arrays_in_another_order_are_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    // Big-endian, first axis contiguous: [[1, 2], [3, 4], [5, 6]].
    let mut header = "{'descr': '>i2', 'fortran_order': True, 'shape': (3, 2), }".to_owned();
    header.push_str(&" ".repeat(128 - 10 - header.len() - 1));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend([1u16, 3, 5, 2, 4, 6].iter().flat_map(|value| value.to_be_bytes()));
    std::fs::write(&path, bytes).unwrap();
    let source = Source::open(&path).unwrap();
    let batches = all(&source, &BatchOptions::of(2), Position::default());
    assert_eq!(batches[1].tensors.get("x").unwrap().values().unwrap(), [5.0, 6.0]);
    assert_eq!(source.schema()[0].element_type, ElementType::Int16);
}

#[test]
fn reading_goes_on_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.npz");
    npz::write(&path, &tensors(&[("y", &labels(0, 100))])).unwrap();
    let source = Source::open(&path).unwrap();
    let start = Position { seed: Some(11), epoch: 2, index: 0 };
    let whole = all(&source, &BatchOptions::of(7), start);
    let first: Vec<Batch> = source.batches(&BatchOptions::of(7), start).take(5).map(Result::unwrap).collect();
    let rest = all(&source, &BatchOptions::of(7), first[4].next);
    assert_eq!(labels_of(&whole), [labels_of(&first), labels_of(&rest)].concat());
    let another = all(&source, &BatchOptions::of(7), Position { epoch: 3, ..start });
    assert_ne!(seen(&whole), seen(&another));
    let full = all(&source, &BatchOptions { drops_last: true, ..BatchOptions::of(7) }, start);
    assert_eq!(full.len(), 14);
}

#[test]
fn bad_samples_stop_the_run_or_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sample = |name: &str, x: &Tensor| {
        let y = Tensor::from_i64(vec![], &[1]).unwrap();
        npz::write(&folder.path().join(name), &tensors(&[("x", x), ("y", &y)])).unwrap();
    };
    sample("0.npz", &numbers(0, &[2]));
    sample("1.npz", &numbers(0, &[3]));
    std::fs::write(folder.path().join("2.npz"), b"no zip").unwrap();
    sample("3.npz", &Tensor::from_f32(vec![2], &[1.0, f32::NAN]).unwrap());
    npz::write(&folder.path().join("4.npz"), &tensors(&[("x", &numbers(0, &[2]))])).unwrap();
    sample("5.npz", &numbers(5, &[2]));
    let source = Source::open(folder.path()).unwrap();
    let stop: Result<Vec<Batch>, DataError> = source.batches(&BatchOptions::of(8), Position::default()).collect();
    let error = stop.unwrap_err().to_string();
    assert!(error.ends_with("1.npz` is [3], but samples are [2]"), "{error}");
    let skip = BatchOptions { bad_samples: BadSamples::Skip, ..BatchOptions::of(8) };
    let batches = all(&source, &skip, Position::default());
    assert_eq!(seen(&batches), [0, 5]);
    let reasons = batches[0].skipped.join("\n");
    assert_eq!(batches[0].skipped.len(), 4);
    for reason in ["is [3], but", "is no .npz file", "has 1 values that are no numbers", "has no `y`; it has x"] {
        assert!(reasons.contains(reason), "{reason}: {reasons}");
    }
}

#[test]
fn nothing_good_is_an_error_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Source::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(nothing, DataError::Nothing { .. }) && nothing.hint().is_some(), "{nothing}");
    let nan = Tensor::from_f32(vec![3], &[f32::NAN; 3]).unwrap();
    npz::write(&folder.path().join("x.npz"), &tensors(&[("x", &nan)])).unwrap();
    let source = Source::open(folder.path()).unwrap();
    let skip = BatchOptions { bad_samples: BadSamples::Skip, ..BatchOptions::of(8) };
    let read: Result<Vec<Batch>, DataError> = source.batches(&skip, Position::default()).collect();
    assert!(matches!(read, Err(DataError::AllBad { n_samples: 3, .. })), "{read:?}");
    let uneven = folder.path().join("uneven.npz");
    npz::write(&uneven, &tensors(&[("x", &numbers(0, &[4])), ("y", &labels(0, 3))])).unwrap();
    let error = Source::open(&uneven).map(|_| ()).unwrap_err();
    assert!(matches!(error, DataError::Rows { have: 3, want: 4, .. }), "{error}");
}

#[test]
fn images_have_the_class_of_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (class, name, color) in
        [("cat", "a.png", [255, 0, 0]), ("dog", "b.png", [0, 0, 255]), ("dog", "c.jpg", [0, 255, 0])]
    {
        std::fs::create_dir_all(folder.path().join(class)).unwrap();
        let (width, height) = if name == "b.png" { (20, 10) } else { (8, 8) };
        let image = image::RgbImage::from_pixel(width, height, image::Rgb(color));
        image.save(folder.path().join(class).join(name)).unwrap();
    }
    let options =
        OpenOptions { image_size: Some((4, 6)), image_layout: ImageLayout::ChannelsFirst, ..OpenOptions::default() };
    let source = Source::open_with(folder.path(), &options).unwrap();
    let threads = BatchOptions { n_threads: 3, ..BatchOptions::of(3) };
    let batches = all(&source, &threads, Position::default());
    let image = batches[0].tensors.get("image").unwrap();
    assert_eq!((image.element_type(), image.shape()), (ElementType::Uint8, &[3, 3, 4, 6][..]));
    assert_eq!(image.bytes().unwrap()[..24], [255; 24]);
    assert_eq!(image.bytes().unwrap()[72 + 48..144], [255; 24]);
    assert_eq!(batches[0].tensors.get("label").unwrap().values().unwrap(), [0.0, 1.0, 1.0]);

    // Without a size they must agree, and what does not is a bad sample.
    std::fs::write(folder.path().join("cat/broken.png"), b"\x89PNG but not much more").unwrap();
    let source = Source::open(folder.path()).unwrap();
    let skip = BatchOptions { bad_samples: BadSamples::Skip, ..BatchOptions::of(4) };
    let batches = all(&source, &skip, Position::default());
    assert_eq!((seen(&batches), batches[0].skipped.len()), (vec![0, 3], 2));
}

/// A table of the samples `rows`: `x` as lists of two, `y`, and a text that nothing can be fed with.
fn table(rows: std::ops::Range<i64>) -> RecordBatch {
    let x = rows.clone().map(|row| Some([2 * row, 2 * row + 1].map(|number| Some(number as f32))));
    let texts: Vec<String> = rows.clone().map(|row| format!("sample {row}")).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("x", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(x))),
        ("text", Arc::new(StringArray::from(texts))),
        ("y", Arc::new(Int64Array::from_iter_values(rows))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_parquet(path: &Path, batches: &[RecordBatch]) {
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batches[0].schema(), None).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        // A row group each.
        writer.flush().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn tables_give_the_same_samples_by_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let batches = [table(0..3), table(3..4), table(4..10)];
    write_parquet(&at("one.parquet"), &batches);
    check_ten(&at("one.parquet"));
    std::fs::create_dir(at("shards")).unwrap();
    write_parquet(&at("shards/0.parquet"), &batches[..2]);
    write_parquet(&at("shards/1.parquet"), &batches[2..]);
    std::fs::write(at("shards/dataset_info.json"), "{}").unwrap();
    check_ten(&at("shards"));
    // Both kinds of Arrow files.
    let schema = batches[0].schema();
    let mut file = FileWriter::try_new(File::create(at("file.arrow")).unwrap(), &schema).unwrap();
    let mut stream = StreamWriter::try_new(File::create(at("stream.arrow")).unwrap(), &schema).unwrap();
    for batch in &batches {
        file.write(batch).unwrap();
        stream.write(batch).unwrap();
    }
    file.finish().unwrap();
    stream.finish().unwrap();
    check_ten(&at("file.arrow"));
    check_ten(&at("stream.arrow"));
    // Where reading stood it goes on.
    let source = Source::open(at("shards")).unwrap();
    let (start, options) = (Position { seed: Some(9), ..Position::default() }, BatchOptions::of(3));
    let whole = all(&source, &options, start);
    assert_eq!(seen(&all(&source, &options, whole[0].next)), seen(&whole)[3..]);
}

#[test]
fn a_bad_row_of_a_table_is_counted_and_a_damaged_table_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The third sample has three numbers, the fifth none, the seventh no label.
    let x = (0..8).map(|row| match row {
        2 => Some(vec![Some(1.0), Some(2.0), Some(3.0)]),
        4 => None,
        _ => Some(vec![Some(row as f32), Some(f32::from(row as i8))]),
    });
    let y: Vec<Option<i64>> = (0..8).map(|row| (row != 6).then_some(row)).collect();
    let columns: [(&str, ArrayRef); 2] =
        [("x", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(x))), ("y", Arc::new(Int64Array::from(y)))];
    write_parquet(&at("bad.parquet"), &[RecordBatch::try_from_iter(columns).unwrap()]);
    let source = Source::open(at("bad.parquet")).unwrap();
    let stop = source.batches(&BatchOptions::of(8), Position::default()).next().unwrap().unwrap_err();
    assert!(
        stop.to_string().contains("`x` of `") && stop.to_string().contains("is [3], but samples are [2]"),
        "{stop}"
    );
    let options = BatchOptions { bad_samples: BadSamples::Skip, ..BatchOptions::of(8) };
    let batches = all(&source, &options, Position::default());
    assert_eq!(labels_of(&batches), [0.0, 1.0, 3.0, 5.0, 7.0]);
    assert!(batches[0].skipped.len() == 3 && batches[0].skipped[1].contains("`x` is null"), "{:?}", batches[0].skipped);

    // Cut off anywhere, a table is an error or a shorter table, and never the end of the process.
    write_parquet(&at("whole.parquet"), &[table(0..10)]);
    let mut stream = StreamWriter::try_new(File::create(at("whole.arrow")).unwrap(), &table(0..10).schema()).unwrap();
    stream.write(&table(0..10)).unwrap();
    stream.finish().unwrap();
    for name in ["whole.parquet", "whole.arrow"] {
        let bytes = std::fs::read(at(name)).unwrap();
        let path = at(&format!("cut-{name}"));
        for length in (0..bytes.len()).step_by(bytes.len() / 24) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Ok(source) = Source::open(&path) {
                let read: Result<Vec<_>, _> = source.batches(&BatchOptions::of(4), Position::default()).collect();
                assert!(read.is_err() || length > bytes.len() / 2, "{name} of {length} bytes reads");
            }
        }
    }
    let texts: [(&str, ArrayRef); 1] = [("text", Arc::new(StringArray::from(vec!["a"])))];
    write_parquet(&at("text.parquet"), &[RecordBatch::try_from_iter(texts).unwrap()]);
    let error = Source::open(at("text.parquet")).err().unwrap().to_string();
    assert!(error.contains("none of its columns holds numbers or images: `text` is Utf8"), "{error}");
}

#[test]
fn images_in_a_table_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.parquet");
    let encoded = |gray: u8| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(4, 2, image::Rgb([gray; 3])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let files: Vec<Vec<u8>> = (0..5).map(|gray| encoded(gray * 10)).collect();
    let columns: [(&str, ArrayRef); 2] = [
        ("image", Arc::new(BinaryArray::from_iter_values(&files))),
        ("label", Arc::new(Int64Array::from_iter_values(0..5))),
    ];
    write_parquet(&path, &[RecordBatch::try_from_iter(columns).unwrap()]);
    let options = OpenOptions { image_layout: ImageLayout::ChannelsFirst, ..OpenOptions::default() };
    let source = Source::open_with(&path, &options).unwrap();
    assert_eq!(source.schema()[0].shape, [3, 2, 4]);
    let batches = all(&source, &BatchOptions::of(5), Position::default());
    let pixels = batches[0].tensors.get("image").unwrap().values().unwrap();
    assert_eq!(pixels.chunks(24).map(|image| image[0]).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0, 40.0]);
}
