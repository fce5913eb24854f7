//! The rows that are appended.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use berglake_benches::Error;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows handed on at a time: what an engine would pass along.
const BATCH_ROWS: usize = 8192;

/// Decodes the input.
pub fn read(path: &Path) -> Result<Vec<RecordBatch>, Error> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?
        .with_batch_size(BATCH_ROWS)
        .build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}
