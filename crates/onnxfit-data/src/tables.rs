//! Samples that are rows of tables: Parquet and Arrow files, one or a folder of them.
//!
//! A table is read a block at a time: a row group of Parquet, a record batch of Arrow. The order of
//! an epoch keeps the rows of a few blocks together, so that each block is unpacked once an epoch
//! and no more than [`BLOCKS_OPEN_MAX`] of them are in memory.

mod arrow_file;
mod cells;
mod parquet_file;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use crate::error::DataError;
use crate::order::WINDOW_BLOCKS;
use crate::source::{Field, OpenOptions, Samples};
use cells::Cells;

/// Blocks in memory: those whose rows are mixed, and as many of the next where threads run ahead.
const BLOCKS_OPEN_MAX: usize = 2 * WINDOW_BLOCKS;

/// A table that can be read block by block.
trait Table: Send + Sync {
    fn schema(&self) -> &Schema;
    /// The rows of each block.
    fn block_rows(&self) -> &[u64];
    /// The record batches of a block, with these columns at least.
    fn read(&self, block: usize, columns: &[usize]) -> Result<Vec<RecordBatch>, String>;
}

/// Opens a table, or says what is wrong with it.
type Opener = fn(&Path) -> Result<Box<dyn Table>, String>;

/// The formats by extension. A new one is a line here and a file.
const FORMATS: &[(&str, Opener)] =
    &[("parquet", parquet_file::open), ("arrow", arrow_file::open), ("feather", arrow_file::open)];

/// Extensions of tables, for messages.
pub(crate) fn extensions() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|(extension, _)| *extension)
}

/// Whether a file's name says that it is a table.
pub(crate) fn is_table(path: &Path) -> bool {
    opener(path).is_some()
}

fn opener(path: &Path) -> Option<Opener> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    FORMATS.iter().find(|(known, _)| *known == extension).map(|(_, opener)| *opener)
}

/// Tables with the same columns, one after the other.
pub(crate) struct Tables {
    shards: Vec<Shard>,
    fields: Vec<Field>,
    /// How the bytes of each field are found.
    cells: Vec<Cells>,
    blocks: Vec<Block>,
    /// Samples up to and including each block.
    ends: Vec<u64>,
    open: Mutex<Vec<(usize, Arc<Vec<RecordBatch>>)>>,
}

struct Shard {
    path: PathBuf,
    table: Box<dyn Table>,
    /// Which columns the fields are.
    columns: Vec<usize>,
}

/// Where a block is.
struct Block {
    shard: usize,
    /// Which block of its file.
    number: usize,
    /// Rows of its file before it.
    n_before: u64,
}

impl Tables {
    /// Opens tables; the first says what a sample is.
    pub(crate) fn open(paths: Vec<PathBuf>, options: &OpenOptions) -> Result<Self, DataError> {
        let mut tables = Self {
            shards: Vec::new(),
            fields: Vec::new(),
            cells: Vec::new(),
            blocks: Vec::new(),
            ends: Vec::new(),
            open: Mutex::default(),
        };
        for path in paths {
            let Some(opener) = opener(&path) else { continue };
            let table = guarded(|| opener(&path)).map_err(|reason| DataError::Table { path: path.clone(), reason })?;
            let mut n_before = 0;
            for (number, n_rows) in table.block_rows().iter().enumerate().filter(|(_, n_rows)| **n_rows > 0) {
                tables.blocks.push(Block { shard: tables.shards.len(), number, n_before });
                n_before += n_rows;
                tables.ends.push(tables.n_samples() + n_rows);
            }
            tables.shards.push(Shard { path, table, columns: Vec::new() });
        }
        if tables.blocks.is_empty() {
            return Ok(tables);
        }
        tables.look_at_first(options)?;
        for shard in &mut tables.shards {
            shard.columns = columns(shard, &tables.fields, &tables.cells)?;
        }
        // Its columns are known now; what was read has all of them.
        Ok(tables)
    }

    /// Tells from the first block what a sample is.
    fn look_at_first(&mut self, options: &OpenOptions) -> Result<(), DataError> {
        let Some(shard) = self.blocks.first().and_then(|block| self.shards.get_mut(block.shard)) else { return Ok(()) };
        shard.columns = (0..shard.table.schema().fields().len()).collect();
        let path = shard.path.clone();
        let first = self.block(0)?;
        let mut left_out = Vec::new();
        let Some(schema) = first.first().map(RecordBatch::schema) else { return Ok(()) };
        for (column, info) in schema.fields().iter().enumerate() {
            let arrays: Vec<_> = first.iter().map(|batch| Arc::clone(batch.column(column))).collect();
            match Cells::of(info, &arrays, options, &path)? {
                Some((cells, field)) => {
                    self.fields.push(field);
                    self.cells.push(cells);
                }
                None => left_out.push(format!("`{}` is {}", info.name(), info.data_type())),
            }
        }
        if self.fields.is_empty() {
            let reason = format!("none of its columns holds numbers or images: {}", left_out.join(", "));
            return Err(DataError::Nothing { path, reason });
        }
        Ok(())
    }

    /// The record batches of a block, read now or kept.
    fn block(&self, at: usize) -> Result<Arc<Vec<RecordBatch>>, DataError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.iter().position(|(block, _)| *block == at) {
            // What was used last goes last.
            let entry = open.remove(found);
            let batches = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(batches);
        }
        let place = self.blocks.get(at).and_then(|block| Some((self.shards.get(block.shard)?, block.number)));
        let Some((shard, number)) = place else {
            return Err(DataError::Position { index: at as u64, n_samples: self.n_samples() });
        };
        let batches = guarded(|| shard.table.read(number, &shard.columns))
            .map_err(|reason| DataError::Damaged { path: shard.path.clone(), reason })?;
        let batches = Arc::new(batches);
        while open.len() >= BLOCKS_OPEN_MAX {
            open.remove(0);
        }
        open.push((at, Arc::clone(&batches)));
        Ok(batches)
    }

    /// The block of a sample, and its row in there.
    fn locate(&self, index: u64) -> (usize, u64) {
        let block = self.ends.partition_point(|end| *end <= index);
        (block, index - block.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0))
    }
}

/// A decoder that panics has met a damaged file.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("its decoder gave up".to_owned()))
}

/// Which columns of a table the fields are.
fn columns(shard: &Shard, fields: &[Field], cells: &[Cells]) -> Result<Vec<usize>, DataError> {
    let schema = shard.table.schema();
    let mut found = Vec::new();
    for (field, cells) in fields.iter().zip(cells) {
        let (path, key) = (shard.path.clone(), field.name.clone());
        let Ok(column) = schema.index_of(&key) else {
            let have = schema.fields().iter().map(|info| info.name().clone()).collect();
            return Err(DataError::NoKey { path, key, have });
        };
        let data_type = schema.field(column).data_type();
        if !cells.can_be(data_type, field.element_type) {
            let reason = format!("`{key}` is {data_type}, but {} in the files before", field.element_type);
            return Err(DataError::Damaged { path, reason });
        }
        found.push(column);
    }
    Ok(found)
}

impl Samples for Tables {
    fn n_samples(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, index: u64) -> Result<Vec<Vec<u8>>, DataError> {
        let (at, mut row) = self.locate(index);
        let batches = self.block(at)?;
        let path = self.place(index).0;
        for batch in batches.iter() {
            if row >= batch.num_rows() as u64 {
                row -= batch.num_rows() as u64;
                continue;
            }
            let one = |(field, cells): (&Field, &Cells)| {
                let Some(array) = batch.column_by_name(&field.name) else {
                    let (path, key, have) = (path.to_owned(), field.name.clone(), Vec::new());
                    return Err(DataError::NoKey { path, key, have });
                };
                cells.read(array, row as usize, field, path)
            };
            return self.fields.iter().zip(&self.cells).map(one).collect();
        }
        Err(DataError::Damaged { path: path.to_owned(), reason: "a block has fewer rows than it claims".to_owned() })
    }

    fn place(&self, index: u64) -> (&Path, u64) {
        let (at, row) = self.locate(index);
        let place = self.blocks.get(at).and_then(|block| Some((self.shards.get(block.shard)?, block.n_before)));
        place.map_or((Path::new(""), row), |(shard, n_before)| (shard.path.as_path(), n_before + row))
    }

    fn is_slow(&self) -> bool {
        self.cells.iter().any(Cells::is_image)
    }

    fn block_ends(&self) -> &[u64] {
        &self.ends
    }
}
