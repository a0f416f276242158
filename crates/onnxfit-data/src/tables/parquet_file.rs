//! A Parquet file; its blocks are its row groups.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;

use super::Table;

/// Rows that are unpacked into one record batch.
const BATCH_ROWS: usize = 4096;

struct ParquetFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    block_rows: Vec<u64>,
}

/// Reads what the file says of itself; no row yet.
pub(super) fn open(path: &Path) -> Result<Box<dyn Table>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .map_err(|error| format!("it is no Parquet file: {error}"))?;
    let groups = metadata.metadata().row_groups();
    for column in groups.iter().flat_map(|group| group.columns()) {
        if matches!(column.compression(), Compression::ZSTD(_) | Compression::BROTLI(_) | Compression::LZO) {
            return Err(format!(
                "column `{}` is compressed with {}, which is not read: write it with snappy, gzip, lz4 or none",
                column.column_path().string(),
                column.compression()
            ));
        }
    }
    let rows = groups.iter().map(|group| u64::try_from(group.num_rows()));
    let block_rows = rows.collect::<Result<_, _>>().map_err(|_| "a row group has less than no rows".to_owned())?;
    Ok(Box::new(ParquetFile { path: path.to_owned(), metadata, block_rows }))
}

impl Table for ParquetFile {
    fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    fn block_rows(&self) -> &[u64] {
        &self.block_rows
    }

    fn read(&self, block: usize, columns: &[usize]) -> Result<Vec<RecordBatch>, String> {
        // Opened anew: a handle that threads share has one place to read from.
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![block])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| error.to_string())?;
        reader.map(|batch| batch.map_err(|error| error.to_string())).collect()
    }
}
