//! Writing data files and delete files.

use arrow::record_batch::RecordBatch;
use iceberg::spec::DataFile;
use roaring::RoaringTreemap;

use crate::{Result, Table};

/// A file that was written and is not yet committed.
///
/// `DataFile` does not tell the partition spec that its partition tuple belongs to, so the two
/// travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// The file, as it will stand in a manifest.
    pub file: DataFile,
    /// The partition spec of its partition tuple.
    pub spec_id: i32,
}

/// Writes record batches into Parquet files of a table's current schema and default partition spec.
///
/// Rows are routed to their partitions; one file is open per partition as long as memory allows
/// (the largest is closed when the bound is reached), and files roll at the target size.
pub struct DataWriter {
    _table: Table,
}

impl DataWriter {
    /// A writer for this table.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for table properties that make no sense.
    pub fn new(table: &Table) -> Result<Self> {
        todo!("{table:?}")
    }

    /// Bounds the bytes that all open files hold in memory. The default is 256 MiB.
    #[must_use]
    pub fn memory_limit(self, bytes: usize) -> Self {
        let _ = bytes;
        todo!()
    }

    /// Writes rows. Columns are matched by name; a missing optional column is its write default or
    /// NULL, types are cast where no value is lost (`Utf8View` to `Utf8`, `Int32` to `Int64`, …).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown or missing column, a type that
    /// does not fit, or a NULL in a required column, with column and row; errors of the storage.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        todo!("{batch:?}")
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        todo!()
    }

    /// Closes all files and describes them, with metrics, ready to be committed.
    ///
    /// # Errors
    /// Errors of the storage.
    pub async fn finish(self) -> Result<Vec<WrittenFile>> {
        todo!()
    }

    /// Gives up: deletes what was written.
    pub async fn abort(self) {
        todo!()
    }
}

/// Rows of one data file that are deleted.
#[derive(Debug, Clone)]
pub struct DeletedRows {
    /// The data file, as it stands in the manifest.
    pub data_file: DataFile,
    /// The partition spec that the data file was written with.
    pub spec_id: i32,
    /// The positions of the deleted rows, from 0 in file order.
    pub positions: RoaringTreemap,
}

/// Writes deletes in the form of the table's format version: on V2 one position-delete Parquet file
/// per data file (`referenced_data_file` set, bounds of the path equal and untruncated), on V3 one
/// Puffin file of deletion vectors, one vector per data file. On V3 the caller passes the *merged*
/// positions of the new and the existing vector.
///
/// # Errors
/// Errors of the storage; [`InvalidInput`](crate::ErrorKind::InvalidInput) for empty positions.
pub async fn write_deletes(table: &Table, deletes: &[DeletedRows]) -> Result<Vec<WrittenFile>> {
    todo!("{table:?} {deletes:?}")
}

/// Deletes files that were written and will not be committed. A file that stays is an orphan.
pub async fn discard(table: &Table, files: &[WrittenFile]) {
    todo!("{table:?} {files:?}")
}
