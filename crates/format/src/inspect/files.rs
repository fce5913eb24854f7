//! `$files`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, FieldRef, Fields, Int32Type, Int64Type, Schema, SchemaRef};
use iceberg::spec::{DataFile, Datum, Type};
use itertools::Itertools;

use super::partition::PartitionColumns;
use super::values::{
    bounds, counts, datums, list_type, lists, longs, map_type, optional, required, signed,
};
use crate::evaluate::value::promote;
use crate::plan::Loaded;
use crate::schema::to_arrow_type;
use crate::{Result, Table};

/// A primitive column, for its readable metrics.
struct Leaf {
    id: i32,
    name: String,
    ty: iceberg::spec::PrimitiveType,
    arrow: DataType,
}

impl Leaf {
    fn fields(&self) -> Fields {
        let count = |name| optional(name, DataType::Int64);
        vec![
            count("column_size"),
            count("value_count"),
            count("null_value_count"),
            count("nan_value_count"),
            optional("lower_bound", self.arrow.clone()),
            optional("upper_bound", self.arrow.clone()),
        ]
        .into()
    }

    fn array(&self, files: &[(i32, &DataFile)]) -> Result<ArrayRef> {
        let count = |get: fn(&DataFile) -> &std::collections::HashMap<i32, u64>| -> ArrayRef {
            let counts = files.iter().map(|(_, file)| get(file).get(&self.id));
            Arc::new(Int64Array::from_iter(
                counts.map(|count| count.map(|count| signed(*count))),
            ))
        };
        let bound = |get: fn(&DataFile) -> &std::collections::HashMap<i32, Datum>| {
            let bounds: Vec<_> = files
                .iter()
                .map(|(_, file)| promote(get(file).get(&self.id)?, &self.ty))
                .collect();
            datums(&bounds, &self.arrow)
        };
        let columns = vec![
            count(DataFile::column_sizes),
            count(DataFile::value_counts),
            count(DataFile::null_value_counts),
            count(DataFile::nan_value_counts),
            bound(DataFile::lower_bounds)?,
            bound(DataFile::upper_bounds)?,
        ];
        Ok(Arc::new(StructArray::try_new(
            self.fields(),
            columns,
            None,
        )?))
    }
}

/// The primitive columns of the current schema, those in lists and maps too, by name.
fn leaves(table: &Table) -> Result<Vec<Leaf>> {
    let schema = table.schema();
    schema
        .field_id_to_name_map()
        .iter()
        .sorted_by_key(|(_, name)| name.as_str())
        .filter_map(|(id, name)| {
            let field = schema.field_by_id(*id)?;
            let Type::Primitive(ty) = field.field_type.as_ref() else {
                return None;
            };
            Some(to_arrow_type(&field.field_type, name).map(|arrow| Leaf {
                id: *id,
                name: name.clone(),
                ty: ty.clone(),
                arrow,
            }))
        })
        .collect()
}

pub(super) fn schema(table: &Table) -> Result<SchemaRef> {
    Ok(build_schema(&PartitionColumns::of(table)?, &leaves(table)?))
}

fn build_schema(partition: &PartitionColumns, leaves: &[Leaf]) -> SchemaRef {
    let metric = |name| optional(name, map_type(DataType::Int32, DataType::Int64));
    let bound = |name| optional(name, map_type(DataType::Int32, DataType::Binary));
    let mut fields: Vec<FieldRef> = vec![
        required("content", DataType::Int32),
        required("file_path", DataType::Utf8),
        required("file_format", DataType::Utf8),
        required("spec_id", DataType::Int32),
    ];
    if !partition.is_empty() {
        fields.push(required("partition", partition.data_type()));
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
        required("readable_metrics", DataType::Struct(metrics_fields(leaves))),
    ]);
    Arc::new(Schema::new(fields))
}

fn metrics_fields(leaves: &[Leaf]) -> Fields {
    leaves
        .iter()
        .map(|leaf| optional(&leaf.name, DataType::Struct(leaf.fields())))
        .collect()
}

pub(super) fn read(table: &Table, manifests: &[Loaded]) -> Result<RecordBatch> {
    let partition = PartitionColumns::of(table)?;
    let leaves = leaves(table)?;
    let files: Vec<(i32, &DataFile)> = manifests
        .iter()
        .flat_map(|(manifest, entries)| {
            let live = entries.iter().filter(|entry| entry.is_alive());
            live.map(|entry| (manifest.partition_spec_id, &entry.data_file))
        })
        .collect();
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
    if !partition.is_empty() {
        let rows: Vec<_> = files
            .iter()
            .map(|(spec_id, file)| partition.values(*spec_id, file.partition()))
            .collect();
        columns.push(partition.array(&rows)?);
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
    let metrics = leaves
        .iter()
        .map(|leaf| leaf.array(&files))
        .collect::<Result<Vec<_>>>()?;
    columns.push(Arc::new(StructArray::try_new(
        metrics_fields(&leaves),
        metrics,
        None,
    )?));
    Ok(RecordBatch::try_new(
        build_schema(&partition, &leaves),
        columns,
    )?)
}
