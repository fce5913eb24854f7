//! Reading a plan into Arrow batches, with all deletes applied and columns mapped by field id.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;

use crate::Result;
use crate::plan::{ScanPlan, ScanTask};

/// How to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Rows per batch, at most.
    pub batch_size: usize,
    /// Adds the columns `_file` (string) and `_pos` (long), the row's place in its data file.
    pub positions: bool,
    /// Files that are read at the same time. Batches keep the order of the tasks at 1.
    pub concurrency: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            batch_size: 8_192,
            positions: false,
            concurrency: 1,
        }
    }
}

/// Name of the metadata column with a row's data file (specification, reserved field ids).
pub const FILE_COLUMN: &str = "_file";
/// Name of the metadata column with a row's position in its data file.
pub const POS_COLUMN: &str = "_pos";

/// Reads all tasks of a plan. The residual filter is *not* applied to rows.
///
/// # Errors
/// Each item may be an error that names the file: missing, truncated, corrupt, or lacking a required
/// column that has no default.
pub fn read(plan: &ScanPlan, options: ReadOptions) -> BoxStream<'static, Result<RecordBatch>> {
    todo!("{plan:?} {options:?}")
}

/// Reads one task of a plan.
///
/// # Errors
/// As [`read`].
pub fn read_task(
    plan: &ScanPlan,
    task: &ScanTask,
    options: ReadOptions,
) -> BoxStream<'static, Result<RecordBatch>> {
    todo!("{plan:?} {task:?} {options:?}")
}

/// Brings an array of a file's field into the shape of the table's field: nested fields by their ids,
/// missing ones as their default or NULL, types promoted as the specification allows.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a type that cannot become the table's, or a missing
/// required field, with the field's name.
pub fn reshape(array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef> {
    todo!("{array:?} {from:?} {to:?}")
}
