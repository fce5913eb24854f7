//! Delete files: loading them, and turning them into selections of rows.

use std::sync::Arc;

use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringTreemap;

use crate::Result;
use crate::plan::ScanTask;
use crate::storage::Storage;

/// The positions that the task's position-delete files and deletion vector delete in its data file.
///
/// A file that serves many tasks is loaded once per loader.
#[derive(Debug, Clone)]
pub struct DeleteLoader {
    _storage: Storage,
}

impl DeleteLoader {
    /// A loader with an empty cache.
    pub fn new(storage: Storage) -> Self {
        todo!("{storage:?}")
    }

    /// The deleted positions of the task's data file, or none if no position is deleted.
    ///
    /// # Errors
    /// Errors of the storage and [`Corrupt`](crate::ErrorKind::Corrupt), with the delete file's path.
    pub async fn positions(&self, task: &ScanTask) -> Result<Option<Arc<RoaringTreemap>>> {
        todo!("{task:?}")
    }
}

/// The rows that are left in each row group, or none where no row of the group is deleted.
///
/// `row_counts` are the row groups' sizes in file order.
pub fn selections(deleted: &RoaringTreemap, row_counts: &[u64]) -> Vec<Option<RowSelection>> {
    todo!("{deleted:?} {row_counts:?}")
}
