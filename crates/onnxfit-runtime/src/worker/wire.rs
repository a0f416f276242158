//! Messages between the two processes: a mark, two lengths, JSON, raw tensor bytes.
//!
//! The reader looks for the mark, so that a line which some library prints on stdout does no harm.
//! Lengths are bounded before anything is allocated, and memory grows with what arrives.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ElementType, Tensor, Tensors};

const MARK: [u8; 8] = *b"\0onnxfit";
const HEADER_BYTES_MAX: u64 = 1 << 30;
const PAYLOAD_BYTES_MAX: u64 = 1 << 40;
const BELIEVED_BYTES_MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Frame<M> {
    message: M,
    tensors: Vec<TensorHeader>,
}

#[derive(Serialize, Deserialize)]
struct TensorHeader {
    name: String,
    element_type: ElementType,
    shape: Vec<u64>,
    bytes: u64,
}

/// Sends a message and the tensors that belong to it.
pub fn send(writer: &mut impl Write, message: &impl Serialize, tensors: &Tensors) -> io::Result<()> {
    let blocks: Vec<_> = tensors.iter().map(|(_, tensor)| block(tensor)).collect();
    let headers = tensors.iter().zip(&blocks).map(|((name, tensor), block)| TensorHeader {
        name: name.to_owned(),
        element_type: tensor.element_type(),
        shape: tensor.shape().to_vec(),
        bytes: block.len() as u64,
    });
    let header = serde_json::to_vec(&Frame { message, tensors: headers.collect() })?;
    let payload: u64 = blocks.iter().map(|block| block.len() as u64).sum();
    writer.write_all(&MARK)?;
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(&payload.to_le_bytes())?;
    writer.write_all(&header)?;
    for block in blocks {
        writer.write_all(&block)?;
    }
    writer.flush()
}

/// Receives the next message; `None` when the other side has closed its end between messages.
pub fn receive<M: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<(M, Tensors)>> {
    if !skip_to_mark(reader)? {
        return Ok(None);
    }
    let mut lengths = [0u8; 16];
    reader.read_exact(&mut lengths)?;
    let (halves, _) = lengths.as_chunks::<8>();
    let [header, payload] = [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])];
    if header > HEADER_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
        return Err(damaged("a message is longer than any that is sent"));
    }
    let frame: Frame<M> = serde_json::from_slice(&take(reader, header)?)?;
    let claimed = frame.tensors.iter().try_fold(0u64, |sum, tensor| sum.checked_add(tensor.bytes));
    if claimed != Some(payload) {
        return Err(damaged("a message's tensors are not as long as it says"));
    }
    let mut tensors = Tensors::new();
    for header in frame.tensors {
        let bytes = take(reader, header.bytes)?;
        let tensor = match header.element_type {
            ElementType::String => Tensor::from_strings(header.shape, strings(&bytes)?),
            element_type => Tensor::from_bytes(element_type, header.shape, bytes),
        };
        tensors.insert(header.name, tensor.map_err(|error| damaged(&error.to_string()))?);
    }
    Ok(Some((frame.message, tensors)))
}

/// Reads up to and over the mark; `false` at the end of the stream.
fn skip_to_mark(reader: &mut impl Read) -> io::Result<bool> {
    let mut matched = 0;
    let mut byte = [0u8];
    while matched < MARK.len() {
        match reader.read(&mut byte) {
            Ok(0) => return Ok(false),
            // The mark's first byte occurs only once in it, so a broken match restarts there.
            Ok(_) if byte[0] == MARK[matched] => matched += 1,
            Ok(_) => matched = usize::from(byte[0] == MARK[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn take(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    // What it says is believed up to a point; beyond, memory grows with what arrives.
    let mut bytes = Vec::with_capacity(length.min(BELIEVED_BYTES_MAX) as usize);
    reader.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A tensor's bytes as they travel; each string with its length before it.
fn block(tensor: &Tensor) -> std::borrow::Cow<'_, [u8]> {
    match (tensor.bytes(), tensor.strings()) {
        (Some(bytes), _) => bytes.into(),
        (None, strings) => {
            let mut bytes = Vec::new();
            for text in strings.unwrap_or_default() {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes.into()
        }
    }
}

fn strings(mut bytes: &[u8]) -> io::Result<Vec<String>> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged("a string is too long"))?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(|| damaged("a string is cut off"))?;
        strings.push(String::from_utf8(text.to_vec()).map_err(|_| damaged("a string is no UTF-8"))?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(strings) } else { Err(damaged("a string is cut off")) }
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Tensors {
        [
            ("n".to_owned(), Tensor::from_i64(vec![2], &[1, -1]).expect("two")),
            ("s".to_owned(), Tensor::from_strings(vec![2], vec![String::new(), "é".to_owned()]).expect("two")),
            ("e".to_owned(), Tensor::from_f32(vec![0, 3], &[]).expect("none")),
        ]
        .into_iter()
        .collect()
    }

    fn frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        send(&mut bytes, &"hello", &some()).expect("in memory");
        bytes
    }

    #[test]
    fn a_message_arrives_as_it_was_sent_whatever_is_printed_between() {
        let mut stream = b"running 1 test\n\0onn".to_vec();
        stream.extend(frame());
        stream.extend(b"noise\0");
        stream.extend(frame());
        stream.extend(b"the end");
        let mut reader = stream.as_slice();
        for _ in 0..2 {
            let received = receive::<String>(&mut reader).expect("a message");
            assert_eq!(received, Some(("hello".to_owned(), some())));
        }
        assert!(receive::<String>(&mut reader).expect("the end").is_none());
    }

    #[test]
    fn a_cut_message_is_an_error_at_every_length() {
        let bytes = frame();
        for length in MARK.len()..bytes.len() {
            assert!(receive::<String>(&mut &bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_read() {
        let mut bytes = frame();
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(receive::<String>(&mut bytes.as_slice()).is_err());
    }
}
