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

/// Whether the writer takes values of a type that [`table_type`] gives for a column of a declared type:
/// it loses no value, parses no text and guesses no time zone. Single values may still not fit.
pub(crate) fn can_be_written(given: &DataType, declared: &DataType) -> bool {
    use DataType as D;
    let field_fits =
        |given: &Arc<Field>, to: &Arc<Field>| can_be_written(given.data_type(), to.data_type());
    match (given, declared) {
        (given, declared) if given == declared => true,
        (D::Null, _) => true,
        (D::RunEndEncoded(_, values), declared) => can_be_written(values.data_type(), declared),
        (D::Int32 | D::Int64, D::Int32 | D::Int64 | D::Decimal128(..)) => true,
        (D::Int32 | D::Float32, D::Float64) => true,
        (
            D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..),
            D::Decimal128(..),
        ) => true,
        (D::FixedSizeBinary(_), D::Binary) | (D::Binary, D::FixedSizeBinary(_)) => true,
        (D::Struct(given), D::Struct(declared)) => {
            let of = |name: &str, fields: &Fields| {
                let mut fields = fields.iter();
                fields.find(|field| field.name() == name).cloned()
            };
            let known = |field: &Arc<Field>| {
                of(field.name(), declared).is_some_and(|to| field_fits(field, &to))
            };
            let there = |to: &Arc<Field>| to.is_nullable() || of(to.name(), given).is_some();
            given.iter().all(known) && declared.iter().all(there)
        }
        (
            D::List(given)
            | D::LargeList(given)
            | D::FixedSizeList(given, _)
            | D::ListView(given)
            | D::LargeListView(given),
            D::List(declared),
        ) => field_fits(given, declared),
        (D::Map(given, _), D::Map(declared, _)) => {
            match (given.data_type(), declared.data_type()) {
                (D::Struct(given), D::Struct(declared)) => {
                    // The names of key and value are nobody's choice.
                    let mut pairs = given.iter().zip(declared);
                    given.len() == declared.len() && pairs.all(|(given, to)| field_fits(given, to))
                }
                _ => false,
            }
        }
        _ => false,
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

#[cfg(test)]
mod tests {
    use arrow::array::new_null_array;
    use arrow::record_batch::RecordBatch;
    use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
    use berglake_format::storage::{Location, Storage};
    use berglake_format::write::DataWriter;
    use berglake_format::{Environment, NamespaceIdent, TableIdent, schema};

    use super::*;

    /// One type of each kind, and some that differ from another in one thing only.
    fn types() -> Vec<DataType> {
        use DataType as D;
        let field = |name: &str, ty: D, nullable| Field::new(name, ty, nullable);
        let record = |fields: Vec<Field>| D::Struct(fields.into());
        let list = |ty: D| D::List(Arc::new(field("element", ty, true)));
        let map = |value: D| {
            let entries = record(vec![
                field("key", D::Utf8, false),
                field("value", value, true),
            ]);
            D::Map(Arc::new(field("key_value", entries, false)), false)
        };
        vec![
            D::Boolean,
            D::Int32,
            D::Int64,
            D::Float32,
            D::Float64,
            D::Decimal128(10, 2),
            D::Decimal128(20, 4),
            D::Utf8,
            D::Binary,
            D::FixedSizeBinary(4),
            D::FixedSizeBinary(8),
            D::Date32,
            D::Time64(TimeUnit::Microsecond),
            D::Timestamp(TimeUnit::Microsecond, None),
            D::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            record(vec![field("x", D::Int32, true)]),
            record(vec![field("x", D::Int64, true), field("y", D::Utf8, true)]),
            record(vec![field("x", D::Int64, true), field("y", D::Utf8, false)]),
            list(D::Int32),
            list(D::Int64),
            list(D::Utf8),
            list(record(vec![field("x", D::Int64, true)])),
            map(D::Int32),
            map(D::Float64),
            map(D::Utf8),
        ]
    }

    #[tokio::test]
    async fn what_can_be_written_is_what_the_writer_takes() {
        let folder = tempfile::tempdir().unwrap();
        let warehouse = Location::from_path(&folder.path().join("warehouse")).unwrap();
        let config = SqlCatalogConfig::new("lake", "sqlite::memory:", warehouse);
        let catalog = SqlCatalog::open(config, Storage::default(), Environment::default());
        let catalog = catalog.await.unwrap();
        let namespace = NamespaceIdent::new("n".to_owned());
        let properties = std::collections::HashMap::new();
        catalog
            .create_namespace(&namespace, properties)
            .await
            .unwrap();
        for (number, declared) in types().into_iter().enumerate() {
            let ident = TableIdent::new(namespace.clone(), format!("t{number}"));
            let columns = Schema::new(vec![Field::new("c", declared.clone(), true)]);
            let table = NewTable::new(ident, schema::from_arrow(&columns).unwrap());
            let table = catalog.create_table(table).await.unwrap();
            for given in types().into_iter().chain([DataType::Null]) {
                let columns = Schema::new(vec![Field::new("c", given.clone(), true)]);
                let nothing = new_null_array(&given, 1);
                let row = RecordBatch::try_new(Arc::new(columns), vec![nothing]).unwrap();
                let mut writer = DataWriter::new(&table).unwrap();
                let written = writer.write(&row).await;
                writer.abort().await;
                assert_eq!(
                    can_be_written(&given, &declared),
                    written.is_ok(),
                    "{given} for {declared}: {written:?}"
                );
            }
        }
    }
}
