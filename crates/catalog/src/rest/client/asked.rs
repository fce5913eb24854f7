//! Whether a table that is there is the one that was asked for.

use std::collections::BTreeSet;

use berglake_format::Table;
use berglake_format::storage::Location;
use iceberg::spec::{
    FormatVersion, NestedFieldRef, NullOrder, Schema, SortDirection, SortOrder, Transform, Type,
};

use super::tables::FORMAT_VERSION;
use crate::NewTable;

/// Whether a table is what this creation makes, and nothing has happened to it since. The ids of its columns
/// are the server's, so columns, partition fields and orders are compared by names.
pub(super) fn is_as_asked(table: &Table, new: &NewTable) -> bool {
    let metadata = table.metadata();
    let schema = metadata.current_schema();
    let version = match new.properties.get(FORMAT_VERSION).map(String::as_str) {
        Some("1") => FormatVersion::V1,
        Some("2") => FormatVersion::V2,
        Some("3") => FormatVersion::V3,
        _ => new.format_version,
    };
    let place = |location: &Location| table.location().is_ok_and(|at| at == *location);
    let there = metadata.default_partition_spec().fields().iter();
    let asked = new.partition_spec.iter().flat_map(|spec| spec.fields());
    metadata.snapshots().len() == 0
        && metadata.metadata_log().is_empty()
        && metadata.format_version() == version
        && same_fields(schema.as_struct().fields(), new.schema.as_struct().fields())
        && key(schema) == key(&new.schema)
        && there
            .map(|field| (name(schema, field.source_id), field.transform, &field.name))
            .eq(asked.map(|field| {
                (
                    name(&new.schema, field.source_id),
                    field.transform,
                    &field.name,
                )
            }))
        && order(schema, Some(metadata.default_sort_order()))
            .eq(order(&new.schema, new.sort_order.as_ref()))
        && new.location.as_ref().is_none_or(place)
        && new
            .properties
            .iter()
            .filter(|(key, _)| *key != FORMAT_VERSION)
            .all(|(key, value)| metadata.properties().get(key) == Some(value))
}

fn name(schema: &Schema, id: i32) -> Option<&str> {
    schema.name_by_field_id(id)
}

/// The names of the identifier fields.
fn key(schema: &Schema) -> BTreeSet<Option<&str>> {
    let ids = schema.identifier_field_ids();
    ids.map(|id| name(schema, id)).collect()
}

fn order<'a>(
    schema: &'a Schema,
    order: Option<&'a SortOrder>,
) -> impl Iterator<Item = (Option<&'a str>, Transform, SortDirection, NullOrder)> {
    order
        .into_iter()
        .flat_map(|order| &order.fields)
        .map(|field| {
            let source = name(schema, field.source_id);
            (source, field.transform, field.direction, field.null_order)
        })
}

fn same_fields(there: &[NestedFieldRef], asked: &[NestedFieldRef]) -> bool {
    there.len() == asked.len() && there.iter().zip(asked).all(|(a, b)| same_field(a, b))
}

fn same_field(there: &NestedFieldRef, asked: &NestedFieldRef) -> bool {
    there.name == asked.name
        && there.initial_default == asked.initial_default
        && there.write_default == asked.write_default
        && same_type(there, asked)
}

/// Without the names, which elements, keys and values do not take along in JSON.
fn same_type(there: &NestedFieldRef, asked: &NestedFieldRef) -> bool {
    there.required == asked.required
        && match (there.field_type.as_ref(), asked.field_type.as_ref()) {
            (Type::Primitive(there), Type::Primitive(asked)) => there == asked,
            (Type::Struct(there), Type::Struct(asked)) => {
                same_fields(there.fields(), asked.fields())
            }
            (Type::List(there), Type::List(asked)) => {
                same_type(&there.element_field, &asked.element_field)
            }
            (Type::Map(there), Type::Map(asked)) => {
                same_type(&there.key_field, &asked.key_field)
                    && same_type(&there.value_field, &asked.value_field)
            }
            _ => false,
        }
}
