//! The metadata columns of rows: their lineage, their file's partition, and their place
//! (specification, "Reserved Field IDs").

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use iceberg::metadata_columns::{
    RESERVED_FIELD_ID_FILE, RESERVED_FIELD_ID_PARTITION, RESERVED_FIELD_ID_POS,
    RESERVED_FIELD_ID_SPEC_ID,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::{
    FILE_COLUMN, PARTITION_COLUMN, POS_COLUMN, ReadOptions, SPEC_ID_COLUMN, constant,
    lineage_fields,
};
use crate::inspect::partition::PartitionColumns;
use crate::plan::ScanTask;
use crate::{Error, Result, Table};

/// The field of a metadata column.
pub(super) fn metadata_column(name: &str, ty: DataType, id: i32, nullable: bool) -> FieldRef {
    let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())];
    Arc::new(Field::new(name, ty, nullable).with_metadata(id.into()))
}

/// The metadata columns that are asked for, in the order in which they stand behind the table's.
pub(super) fn fields(table: &Table, options: ReadOptions) -> Result<Vec<FieldRef>> {
    let mut fields = Vec::new();
    if options.lineage {
        for field in lineage_fields() {
            fields.push(metadata_column(
                &field.name,
                DataType::Int64,
                field.id,
                true,
            ));
        }
    }
    if options.partitions {
        fields.push(metadata_column(
            SPEC_ID_COLUMN,
            DataType::Int32,
            RESERVED_FIELD_ID_SPEC_ID,
            false,
        ));
        fields.push(metadata_column(
            PARTITION_COLUMN,
            PartitionColumns::of(table)?.data_type(),
            RESERVED_FIELD_ID_PARTITION,
            true,
        ));
    }
    if options.positions {
        fields.push(metadata_column(
            FILE_COLUMN,
            DataType::Utf8,
            RESERVED_FIELD_ID_FILE,
            false,
        ));
        fields.push(metadata_column(
            POS_COLUMN,
            DataType::Int64,
            RESERVED_FIELD_ID_POS,
            false,
        ));
    }
    Ok(fields)
}

/// The metadata columns of one file's rows.
pub(super) struct MetadataColumns<'a> {
    task: &'a ScanTask,
    options: ReadOptions,
    /// The partition values as one row, where they are wanted.
    partition: Option<ArrayRef>,
}

impl<'a> MetadataColumns<'a> {
    pub(super) fn new(table: &Table, task: &'a ScanTask, options: ReadOptions) -> Result<Self> {
        let partition = match options.partitions {
            true => Some(partition(table, task)?),
            false => None,
        };
        Ok(Self {
            task,
            options,
            partition,
        })
    }

    /// Adds the columns of rows at these positions. `own` is the lineage that the file itself has.
    pub(super) fn add_to(
        &self,
        columns: &mut Vec<ArrayRef>,
        own: &[ArrayRef],
        positions: Int64Array,
    ) -> Result<()> {
        let rows = positions.len();
        if self.options.lineage {
            columns.extend(lineage(self.task, own, &positions)?);
        }
        if let Some(partition) = &self.partition {
            columns.push(Arc::new(Int32Array::from_value(self.task.spec_id, rows)));
            columns.push(take(partition, &UInt32Array::from_value(0, rows), None)?);
        }
        if self.options.positions {
            columns.push(constant::text(self.task.file.file_path(), rows));
            columns.push(Arc::new(positions));
        }
        Ok(())
    }
}

fn partition(table: &Table, task: &ScanTask) -> Result<ArrayRef> {
    let columns = PartitionColumns::of(table)?;
    if columns.is_empty() {
        return Ok(new_null_array(&columns.data_type(), 1));
    }
    columns.array(&[columns.values(task.spec_id, task.file.partition())])
}

/// The lineage of rows: what the file says of a row, else what the row inherits from its file.
pub(super) fn lineage(
    task: &ScanTask,
    own: &[ArrayRef],
    positions: &Int64Array,
) -> Result<[ArrayRef; 2]> {
    let [ids, updated] = own else {
        return Err(Error::internal("the columns of row lineage are missing"));
    };
    let ids = ids.as_primitive::<Int64Type>();
    let updated = updated.as_primitive::<Int64Type>();
    let first = task.file.first_row_id();
    let inherited = positions
        .values()
        .iter()
        .map(|position| first.and_then(|first| first.checked_add(*position)));
    let ids: Int64Array = ids
        .iter()
        .zip(inherited)
        .map(|(own, inherited)| own.or(inherited))
        .collect();
    let updated: Int64Array = updated
        .iter()
        .map(|own| own.or(Some(task.sequence_number)))
        .collect();
    Ok([Arc::new(ids), Arc::new(updated)])
}
