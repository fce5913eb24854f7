//! Field ids for files that have none, from the table's name mapping (specification, "Name Mapping
//! Serialization").

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping, TableMetadata};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::schema::field_id;
use crate::{Error, Result};

/// The table's name mapping, where it has one.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) if the property is no name mapping.
pub fn name_mapping(metadata: &TableMetadata) -> Result<Option<NameMapping>> {
    metadata
        .properties()
        .get(DEFAULT_SCHEMA_NAME_MAPPING)
        .map(|json| {
            serde_json::from_str(json).map_err(|error| {
                Error::corrupt("the table's name mapping cannot be read")
                    .with("property", DEFAULT_SCHEMA_NAME_MAPPING)
                    .source_error(error)
            })
        })
        .transpose()
}

/// A file's fields with their ids: those that the file has, else those that the table's name mapping
/// gives them. Fields that it does not name have none, and so are not read.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) if the file has no ids and the table no name mapping: which
/// column is which cannot be told then.
pub fn with_field_ids(fields: &Fields, mapping: Option<&NameMapping>) -> Result<Fields> {
    if has_ids(fields) {
        return Ok(fields.clone());
    }
    let mapping = mapping.ok_or_else(no_ids)?;
    Ok(with_ids(fields, &top_level(mapping)))
}

/// The error of a file of which no column can be told.
pub(crate) fn no_ids() -> Error {
    Error::corrupt("the file has no field ids and the table no name mapping")
        .help("set the table property schema.name-mapping.default")
}

/// Whether any field, nested ones too, carries an id.
pub(crate) fn has_ids(fields: &Fields) -> bool {
    fields.iter().any(|field| {
        field_id(field).is_some()
            || match field.data_type() {
                DataType::Struct(inner) => has_ids(inner),
                DataType::List(inner)
                | DataType::LargeList(inner)
                | DataType::FixedSizeList(inner, _)
                | DataType::Map(inner, _) => has_ids(&Fields::from(vec![inner.clone()])),
                _ => false,
            }
    })
}

/// The fields with the ids that the mapping gives them. Fields that it does not name have none.
pub(crate) fn with_ids(fields: &Fields, mapping: &[Arc<MappedField>]) -> Fields {
    fields
        .iter()
        .map(|field| {
            let mapped = find(mapping, field.name());
            identified(field, mapped)
        })
        .collect()
}

fn find<'a>(mapping: &'a [Arc<MappedField>], name: &str) -> Option<&'a MappedField> {
    mapping
        .iter()
        .find(|mapped| mapped.names().iter().any(|known| known == name))
        .map(Arc::as_ref)
}

fn identified(field: &FieldRef, mapped: Option<&MappedField>) -> FieldRef {
    let children = mapped.map(MappedField::fields).unwrap_or_default();
    let ty = match field.data_type() {
        DataType::Struct(inner) => DataType::Struct(with_ids(inner, children)),
        // Writers name what is inside a list in many ways; mappings call it `element`.
        DataType::List(inner) => DataType::List(identified(inner, find(children, "element"))),
        DataType::LargeList(inner) => {
            DataType::LargeList(identified(inner, find(children, "element")))
        }
        DataType::FixedSizeList(inner, length) => {
            DataType::FixedSizeList(identified(inner, find(children, "element")), *length)
        }
        DataType::Map(entries, sorted) => DataType::Map(map_entries(entries, children), *sorted),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.remove(PARQUET_FIELD_ID_META_KEY);
    if let Some(id) = mapped.and_then(MappedField::field_id) {
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string());
    }
    Arc::new(Field::new(field.name(), ty, field.is_nullable()).with_metadata(metadata))
}

fn map_entries(entries: &FieldRef, children: &[Arc<MappedField>]) -> FieldRef {
    let DataType::Struct(pair) = entries.data_type() else {
        return entries.clone();
    };
    let pair: Fields = pair
        .iter()
        .zip(["key", "value"])
        .map(|(field, name)| identified(field, find(children, name)))
        .collect();
    Arc::new(Field::new(
        entries.name(),
        DataType::Struct(pair),
        entries.is_nullable(),
    ))
}

/// The top-level fields as a mapping wants them.
pub(crate) fn top_level(mapping: &NameMapping) -> Vec<Arc<MappedField>> {
    mapping.fields().iter().cloned().map(Arc::new).collect()
}
