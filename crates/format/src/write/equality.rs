//! Equality-delete files, written on demand (specification, "Equality Delete Files").
//!
//! berglake's own upserts write positions: a reader has to compare every row of every older file with
//! an equality delete. They are for writers that cannot look rows up.

use arrow::array::RecordBatch;
use iceberg::spec::{
    DataContentType, FormatVersion, NestedFieldRef, PrimitiveType, Schema, SchemaRef, Struct, Type,
};
use parquet::file::metadata::KeyValue;

use super::conform::Conformer;
use super::deletes::{parquet, undescribed};
use super::{WrittenFile, file, file_name, route};
use crate::properties::{MetricsProperties, WriteProperties};
use crate::{Error, Result, Table, failpoint};

/// Which data files an equality-delete file applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteScope {
    /// All older data files of the table.
    Table,
    /// Those of one partition.
    Partition {
        /// The partition spec.
        spec_id: i32,
        /// The partition's values in it.
        values: Struct,
    },
}

/// Writes a file that deletes every older row that has one of these keys, NULL being equal to NULL.
/// `keys` has the key columns alone, by name; each row is a key. "Older" are data files of earlier
/// commits: rows that are added in the same commit stay.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for no keys, for columns that the table does not
/// have at its top level, of floats or of nested types, for a partition that does not fit its spec, and
/// for the whole table where it has no unpartitioned spec;
/// [`Unsupported`](crate::ErrorKind::Unsupported) on format version 1; errors of the storage.
pub async fn write_equality_deletes(
    table: &Table,
    keys: &RecordBatch,
    scope: &DeleteScope,
) -> Result<WrittenFile> {
    write(table, keys, scope)
        .await
        .map_err(|error| error.with("table", table.ident()))
}

async fn write(table: &Table, keys: &RecordBatch, scope: &DeleteScope) -> Result<WrittenFile> {
    let metadata = table.metadata();
    if metadata.format_version() < FormatVersion::V2 {
        return Err(Error::unsupported("tables of version 1 have no deletes")
            .help("upgrade the table to version 2"));
    }
    if keys.num_rows() == 0 {
        return Err(Error::invalid("no keys to delete are given"));
    }
    let schema = key_schema(table.schema(), keys)?;
    let keys = Conformer::new(schema.clone())?.conform(keys)?;
    let (spec_id, partition) = place(table, scope)?;
    let spec = metadata
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| no_spec(spec_id))?;
    let properties = WriteProperties::of(metadata)?;
    let ids: Vec<i32> = schema.as_struct().fields().iter().map(|f| f.id).collect();
    let name = file_name(0, table, "-eq-deletes.parquet");
    let below = route::folder(spec, table.schema(), &partition).unwrap_or_default();
    let folder = table.data_location()?;
    let location = match below.as_str() {
        "" => folder.join(&name),
        below => folder.join(&format!("{below}/{name}")),
    };
    let rows = keys.num_rows() as u64;
    let encoding = {
        let (schema, ids) = (schema.clone(), ids.clone());
        tokio::task::spawn_blocking(move || {
            let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
            let footer = [
                ("delete-type", "equality".to_string()),
                ("delete-field-ids", ids.join(",")),
            ]
            .map(|(key, value)| KeyValue::new(key.to_string(), value));
            let metrics = MetricsProperties::default();
            let batches = std::iter::once(Ok(keys));
            parquet(&schema, &metrics, &properties, footer.into(), batches)
        })
    };
    let (bytes, metrics) = encoding
        .await
        .map_err(|error| {
            Error::internal("a task that encodes deletes has stopped").source_error(error)
        })?
        .map_err(|error| error.with("path", &location))?;
    let size = bytes.len() as u64;
    table.storage().write(&location, bytes).await?;
    failpoint::hit(failpoint::DATA_FILE_WRITTEN);
    let file = file::data_file(
        DataContentType::EqualityDeletes,
        &location,
        partition,
        spec_id,
        rows,
        size,
        metrics,
    )
    .equality_ids(Some(ids))
    .build()
    .map_err(undescribed)?;
    Ok(WrittenFile { file, spec_id })
}

/// The schema of the key columns, with the ids that they have in the table.
fn key_schema(table: &SchemaRef, keys: &RecordBatch) -> Result<SchemaRef> {
    let of = |name: &String| -> Result<NestedFieldRef> {
        let known = table.as_struct().field_by_name(name);
        let field = known.ok_or_else(|| {
            Error::invalid("the table has no such key column").with("column", name)
        })?;
        match field.field_type.as_ref() {
            Type::Primitive(PrimitiveType::Float | PrimitiveType::Double) => Err(Error::invalid(
                "floats make no keys: NaN and the two zeros have no one value",
            )
            .with("column", name)),
            Type::Primitive(_) => Ok(field.clone()),
            _ => {
                Err(Error::invalid("a key column must be of a primitive type").with("column", name))
            }
        }
    };
    let schema = keys.schema();
    let names = schema.fields().iter().map(|field| field.name());
    let fields = names.map(of).collect::<Result<Vec<_>>>()?;
    if fields.is_empty() {
        return Err(Error::invalid("an equality delete needs key columns"));
    }
    Ok(Schema::builder().with_fields(fields).build()?.into())
}

fn place(table: &Table, scope: &DeleteScope) -> Result<(i32, Struct)> {
    let metadata = table.metadata();
    match scope {
        DeleteScope::Table => {
            // A spec of nothing but void fields is an unpartitioned one; the plainest comes first.
            let specs = metadata.partition_specs_iter();
            let spec = specs
                .filter(|spec| spec.is_unpartitioned())
                .min_by_key(|spec| (spec.fields().len(), spec.spec_id()));
            let spec = spec.ok_or_else(|| {
                Error::invalid(
                    "deletes of the whole table need an unpartitioned spec, and it has none",
                )
                .help("write a delete file for each partition")
            })?;
            let values = spec.fields().iter().map(|_| None);
            Ok((spec.spec_id(), values.collect()))
        }
        DeleteScope::Partition { spec_id, values } => {
            let spec = metadata.partition_spec_by_id(*spec_id);
            let spec = spec.ok_or_else(|| no_spec(*spec_id))?;
            if spec.fields().len() != values.fields().len() {
                return Err(Error::invalid("a partition has other fields than its spec")
                    .with("spec", spec_id)
                    .with("fields", spec.fields().len())
                    .with("found", values.fields().len()));
            }
            Ok((*spec_id, values.clone()))
        }
    }
}

fn no_spec(spec_id: i32) -> Error {
    Error::invalid("the table has no such partition spec").with("spec", spec_id)
}
