//! The columns that describe a data or delete file: of `$files`, and in `data_file` of `$entries`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, FieldRef, Int32Type, Int64Type};
use iceberg::spec::DataFile;

use super::partition::PartitionColumns;
use super::values::{bounds, counts, list_type, lists, longs, map_type, optional, required};
use crate::{Result, Table};

/// A file, and the partition spec of its manifest.
pub(super) type Row<'a> = (i32, &'a DataFile);

/// The fields of `data_file` (specification, "Manifests"), with the partition values of all specs in
/// one struct. A table that was never partitioned has no column for them, as in Java.
pub(super) struct FileColumns {
    partition: PartitionColumns,
}

impl FileColumns {
    pub(super) fn of(table: &Table) -> Result<Self> {
        Ok(Self {
            partition: PartitionColumns::of(table)?,
        })
    }

    pub(super) fn fields(&self) -> Vec<FieldRef> {
        let metric = |name| optional(name, map_type(DataType::Int32, DataType::Int64));
        let bound = |name| optional(name, map_type(DataType::Int32, DataType::Binary));
        let mut fields: Vec<FieldRef> = vec![
            required("content", DataType::Int32),
            required("file_path", DataType::Utf8),
            required("file_format", DataType::Utf8),
            required("spec_id", DataType::Int32),
        ];
        if !self.partition.is_empty() {
            fields.push(required("partition", self.partition.data_type()));
        }
        fields.extend([
            required("record_count", DataType::Int64),
            required("file_size_in_bytes", DataType::Int64),
            metric("column_sizes"),
            metric("value_counts"),
            metric("null_value_counts"),
            metric("nan_value_counts"),
            bound("lower_bounds"),
            bound("upper_bounds"),
            optional("key_metadata", DataType::Binary),
            optional("split_offsets", list_type(DataType::Int64)),
            optional("equality_ids", list_type(DataType::Int32)),
            optional("sort_order_id", DataType::Int32),
            optional("first_row_id", DataType::Int64),
            optional("referenced_data_file", DataType::Utf8),
            optional("content_offset", DataType::Int64),
            optional("content_size_in_bytes", DataType::Int64),
        ]);
        fields
    }

    pub(super) fn arrays(&self, files: &[Row<'_>]) -> Result<Vec<ArrayRef>> {
        let of = || files.iter().map(|(_, file)| *file);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(
                of().map(|file| file.content_type() as i32),
            )),
            Arc::new(StringArray::from_iter_values(of().map(DataFile::file_path))),
            Arc::new(StringArray::from_iter_values(
                of().map(|file| file.file_format().to_string().to_ascii_uppercase()),
            )),
            Arc::new(Int32Array::from_iter_values(
                files.iter().map(|(spec_id, _)| *spec_id),
            )),
        ];
        if !self.partition.is_empty() {
            let rows: Vec<_> = files
                .iter()
                .map(|(spec_id, file)| self.partition.values(*spec_id, file.partition()))
                .collect();
            columns.push(self.partition.array(&rows)?);
        }
        columns.extend([
            longs(of().map(DataFile::record_count)),
            longs(of().map(DataFile::file_size_in_bytes)),
            counts(of().map(DataFile::column_sizes))?,
            counts(of().map(DataFile::value_counts))?,
            counts(of().map(DataFile::null_value_counts))?,
            counts(of().map(DataFile::nan_value_counts))?,
            bounds(of().map(DataFile::lower_bounds))?,
            bounds(of().map(DataFile::upper_bounds))?,
            Arc::new(BinaryArray::from_iter(of().map(DataFile::key_metadata))),
            lists::<Int64Type>(of().map(|file| file.split_offsets().map(<[i64]>::to_vec))),
            lists::<Int32Type>(of().map(DataFile::equality_ids)),
            Arc::new(Int32Array::from_iter(of().map(DataFile::sort_order_id))),
            Arc::new(Int64Array::from_iter(of().map(DataFile::first_row_id))),
            Arc::new(StringArray::from_iter(
                of().map(DataFile::referenced_data_file),
            )),
            Arc::new(Int64Array::from_iter(of().map(DataFile::content_offset))),
            Arc::new(Int64Array::from_iter(
                of().map(DataFile::content_size_in_bytes),
            )),
        ]);
        Ok(columns)
    }
}
