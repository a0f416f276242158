//! An Arrow file, of the file or the stream kind; its blocks are its record batches.
//!
//! Both kinds hold the same messages one after the other. Their heads say how many rows each has,
//! so that opening reads no values.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::Schema;

use super::Table;

/// What a file of the file kind begins with; messages follow after padding.
const MAGIC: &[u8; 6] = b"ARROW1";
/// What the place of its first message is a multiple of.
const ALIGNMENT: u64 = 8;
/// Most bytes of padding.
const PADDING_BYTES_MAX: u64 = 4096;
/// What comes before the length of a message's head.
const CONTINUATION: u32 = 0xffff_ffff;
/// Most bytes of a message's head.
const HEAD_BYTES_MAX: u32 = 64 << 20;

struct ArrowFile {
    path: PathBuf,
    schema: Schema,
    /// Where the messages begin.
    start: u64,
    /// Where each record batch begins.
    places: Vec<u64>,
    block_rows: Vec<u64>,
}

/// Finds the record batches; reads no values.
pub(super) fn open(path: &Path) -> Result<Box<dyn Table>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(text)?;
    let file_bytes = file.metadata().map_err(text)?.len();
    let mut magic = [0; 6];
    let is_file = file.read_exact(&mut magic).is_ok() && magic == *MAGIC;
    let start = if is_file { first_message(&mut file).map_err(text)? } else { 0 };
    file.seek(SeekFrom::Start(start)).map_err(text)?;
    let reader = StreamReader::try_new(&file, None).map_err(|error| format!("it is no Arrow file: {error}"))?;
    let schema = reader.schema().as_ref().clone();
    let (mut places, mut block_rows) = (Vec::new(), Vec::new());
    let mut at = start;
    while let Some(message) = head(&mut file, at, file_bytes)? {
        if let Some(n_rows) = message.n_rows {
            places.push(at);
            block_rows.push(n_rows);
        }
        at = message.end;
    }
    Ok(Box::new(ArrowFile { path: path.to_owned(), schema, start, places, block_rows }))
}

/// Where the first message of a file of the file kind is: behind the zeros after its first bytes.
fn first_message(file: &mut File) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(ALIGNMENT))?;
    file.take(PADDING_BYTES_MAX).read_to_end(&mut bytes)?;
    let n_zeros = bytes.iter().take_while(|byte| **byte == 0).count() as u64;
    Ok(ALIGNMENT + n_zeros / ALIGNMENT * ALIGNMENT)
}

/// What the head of a message says.
struct Head {
    /// Rows, if it is a record batch.
    n_rows: Option<u64>,
    /// Where the next message begins.
    end: u64,
}

/// The head of the message at a place; `None` at the end of them all.
fn head(file: &mut File, at: u64, file_bytes: u64) -> Result<Option<Head>, String> {
    let io = |error: std::io::Error| error.to_string();
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    let mut word = || -> Result<Option<u32>, String> {
        let mut bytes = [0; 4];
        let n_read = file.take(4).read(&mut bytes).map_err(io)?;
        Ok((n_read == 4).then(|| u32::from_le_bytes(bytes)))
    };
    // Old writers leave the continuation mark out.
    let (length, prefix_bytes) = match word()? {
        Some(CONTINUATION) => (word()?.unwrap_or(0), 8),
        first => (first.unwrap_or(0), 4),
    };
    if length == 0 {
        return Ok(None);
    }
    let cut_off = || format!("it is cut off or damaged at byte {at}");
    if length > HEAD_BYTES_MAX || u64::from(length) > file_bytes.saturating_sub(at) {
        return Err(cut_off());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).map_err(io)?;
    let message = root_as_message(&bytes).map_err(|error| format!("{}: {error}", cut_off()))?;
    let body_bytes = u64::try_from(message.bodyLength()).map_err(|_| cut_off())?;
    let end = (at + prefix_bytes + u64::from(length)).checked_add(body_bytes).filter(|end| *end <= file_bytes);
    let n_rows = if message.header_type() == MessageHeader::RecordBatch {
        let n_rows = message.header_as_record_batch().and_then(|batch| u64::try_from(batch.length()).ok());
        Some(n_rows.ok_or_else(cut_off)?)
    } else {
        None
    };
    Ok(Some(Head { n_rows, end: end.ok_or_else(cut_off)? }))
}

impl Table for ArrowFile {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn block_rows(&self) -> &[u64] {
        &self.block_rows
    }

    fn read(&self, block: usize, columns: &[usize]) -> Result<Vec<RecordBatch>, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut file = File::open(&self.path).map_err(text)?;
        file.seek(SeekFrom::Start(self.start)).map_err(text)?;
        let mut reader = StreamReader::try_new(file, Some(columns.to_vec())).map_err(|error| error.to_string())?;
        let place = self.places.get(block).copied().ok_or("it has no such record batch")?;
        reader.get_mut().seek(SeekFrom::Start(place)).map_err(text)?;
        let batch = reader.next().ok_or("it is cut off")?.map_err(|error| error.to_string())?;
        Ok(vec![batch])
    }
}
