//! Types of the pipeline language as Arrow types, and the types that queries may give.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::language::{ColumnDef, SqlType};

/// Declared columns as an Arrow schema.
pub(crate) fn declared_schema(columns: &[ColumnDef]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(declared_field).collect::<Vec<_>>(),
    ))
}

/// A declared column as an Arrow field.
pub(crate) fn declared_field(column: &ColumnDef) -> Field {
    Field::new(&column.name, arrow_type(&column.ty), column.nullable)
}

fn arrow_type(ty: &SqlType) -> DataType {
    match ty {
        SqlType::Boolean => DataType::Boolean,
        SqlType::Int => DataType::Int32,
        SqlType::Long => DataType::Int64,
        SqlType::Float => DataType::Float32,
        SqlType::Double => DataType::Float64,
        SqlType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        SqlType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
        SqlType::String => DataType::Utf8,
        SqlType::Binary => DataType::Binary,
        SqlType::Uuid => DataType::FixedSizeBinary(16),
        SqlType::Time => DataType::Time64(TimeUnit::Microsecond),
        SqlType::Fixed(length) => {
            DataType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX))
        }
        SqlType::Struct(fields) => {
            DataType::Struct(fields.iter().map(declared_field).collect::<Vec<_>>().into())
        }
        SqlType::Array(element) => {
            DataType::List(Arc::new(Field::new("element", arrow_type(element), true)))
        }
        SqlType::Map(key, value) => {
            let entries = Fields::from(vec![
                Field::new("key", arrow_type(key), false),
                Field::new("value", arrow_type(value), true),
            ]);
            let entries = Field::new("key_value", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
    }
}

/// The type that a table column gets for a type that a query gives.
///
/// Iceberg has no unsigned 64-bit integers (window functions give them) and, on format version 2, no
/// nanoseconds (`current_timestamp()` gives them); zones other than UTC are only ways to print.
pub(crate) fn table_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        }
        DataType::Dictionary(_, value) => table_type(value),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(table_field).collect()),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(Arc::new(
                table_field(item).as_ref().clone().with_name("element"),
            ))
        }
        other => other.clone(),
    }
}

fn table_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::new(
        field.name(),
        table_type(field.data_type()),
        field.is_nullable(),
    ))
}

/// The columns of a table that holds what a query gives. All are optional, as with `CREATE TABLE AS`.
pub(crate) fn table_schema(query: &Schema) -> SchemaRef {
    let fields: Vec<_> = query
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), table_type(field.data_type()), true))
        .collect();
    Arc::new(Schema::new(fields))
}
