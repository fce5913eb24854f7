//! Reading a plan into Arrow batches, with all deletes applied and columns mapped by field id.

mod changes;
mod checked;
pub(crate) mod constant;
pub(crate) mod file;
mod footer;
mod levels;
mod metadata;
mod missing;
pub(crate) mod names;
mod page_index;
mod pages;
mod reshape;
mod scan;
mod thrift;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_PARTITION, RESERVED_COL_NAME_SPEC_ID, last_updated_sequence_number_field,
    row_id_field,
};
use iceberg::spec::NestedFieldRef;

use crate::Result;
use crate::deletes::DeleteLoader;
use crate::plan::{ScanPlan, ScanTask};

pub use changes::{
    CHANGE_ORDINAL_COLUMN, CHANGE_TYPE_COLUMN, COMMIT_SNAPSHOT_ID_COLUMN, ChangeOptions,
    ChangeType, UpdateImages, change_schema, read_changes,
};
pub use checked::{CheckedParquet, Known};
pub use file::{check_form, check_rows, check_widths};
pub use missing::{IdentityValues, identity_values, missing_column};
pub use names::{name_mapping, with_field_ids};
pub use reshape::{reshape, reshape_to};

use scan::FileScan;

/// How to read.
///
/// There is no `_deleted` column: rows that are deleted are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Rows per batch, at most.
    pub batch_size: usize,
    /// Adds the columns `_file` (string) and `_pos` (long), the row's place in its data file.
    pub positions: bool,
    /// Adds the columns `_row_id` and `_last_updated_sequence_number` (long, NULL where a row has
    /// none): the row lineage of format version 3.
    pub lineage: bool,
    /// Adds the columns `_spec_id` (int), the partition spec of a row's data file, and `_partition`,
    /// the file's partition values: a struct of the partition fields of all specs of the table, in which
    /// those that the file's spec does not have are NULL. On a table that was never partitioned it has
    /// no fields, and is NULL as in Java.
    pub partitions: bool,
    /// Files that are read at the same time. Batches keep the order of the tasks at 1.
    pub concurrency: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            batch_size: 8_192,
            positions: false,
            lineage: false,
            partitions: false,
            concurrency: 1,
        }
    }
}

/// Name of the metadata column with a row's data file (specification, reserved field ids).
pub const FILE_COLUMN: &str = "_file";
/// Name of the metadata column with a row's position in its data file.
pub const POS_COLUMN: &str = "_pos";
/// Name of the metadata column with the id of the partition spec of a row's data file.
pub const SPEC_ID_COLUMN: &str = RESERVED_COL_NAME_SPEC_ID;
/// Name of the metadata column with the partition values of a row's data file.
pub const PARTITION_COLUMN: &str = RESERVED_COL_NAME_PARTITION;

/// The columns of the batches that a plan is read into.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a type without Arrow form, with the column.
pub fn schema(plan: &ScanPlan, options: ReadOptions) -> Result<SchemaRef> {
    let columns = crate::schema::to_arrow(&plan.schema)?;
    let own = metadata::fields(&plan.table, options)?;
    if own.is_empty() {
        return Ok(columns);
    }
    let fields = columns.fields().iter().cloned().chain(own);
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The fields of row lineage as data files may have them: the row's id, and the sequence number of
/// the snapshot that last changed it (specification, "Row Lineage").
pub(crate) fn lineage_fields() -> [NestedFieldRef; 2] {
    let optional = |field: &NestedFieldRef| {
        let mut field = field.as_ref().clone();
        field.required = false;
        Arc::new(field)
    };
    [
        optional(row_id_field()),
        optional(last_updated_sequence_number_field()),
    ]
}

/// Reads all tasks of a plan. The residual filter is *not* applied to rows.
///
/// Files are read by tasks of the current Tokio runtime, which end when the stream is dropped.
///
/// # Errors
/// Each item may be an error that names the file: missing, truncated, corrupt, or lacking a required
/// column that has no default.
pub fn read(plan: &ScanPlan, options: ReadOptions) -> BoxStream<'static, Result<RecordBatch>> {
    let loader = DeleteLoader::new(plan.table.storage().clone());
    let scans: Vec<_> = plan
        .tasks
        .iter()
        .map(|task| FileScan::new(plan, task, options, loader.clone()))
        .collect();
    let files = stream::iter(scans).map(FileScan::start);
    if options.concurrency > 1 {
        files.flatten_unordered(options.concurrency).boxed()
    } else {
        files.flatten().boxed()
    }
}

/// Reads one task of a plan. Whoever reads several uses [`read_task_with`], so that a delete file that
/// they share is loaded once.
///
/// # Errors
/// As [`read`].
pub fn read_task(
    plan: &ScanPlan,
    task: &ScanTask,
    options: ReadOptions,
) -> BoxStream<'static, Result<RecordBatch>> {
    let loader = DeleteLoader::new(plan.table.storage().clone());
    read_task_with(plan, task, options, &loader)
}

/// Reads one task of a plan, with delete files that the loader has loaded already or keeps for the
/// next task. It keeps them as long as one of its clones lives, so it should not outlive the scan.
///
/// # Errors
/// As [`read`].
pub fn read_task_with(
    plan: &ScanPlan,
    task: &ScanTask,
    options: ReadOptions,
    loader: &DeleteLoader,
) -> BoxStream<'static, Result<RecordBatch>> {
    FileScan::new(plan, task, options, loader.clone()).start()
}

#[cfg(test)]
mod tests;
