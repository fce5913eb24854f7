//! What goes with a column when it is renamed or dropped: the name mapping, and properties that are
//! about one column.

use std::collections::{BTreeMap, HashMap};

use iceberg::TableUpdate;
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping, NestedFieldRef, Schema, TableMetadata,
    Type,
};

use crate::read::name_mapping;
use crate::{Error, Result};

/// Properties that end with the name of a column.
const OF_COLUMNS: [&str; 5] = [
    "write.metadata.metrics.column.",
    "write.parquet.bloom-filter-enabled.column.",
    "write.parquet.bloom-filter-fpp.column.",
    "write.parquet.bloom-filter-ndv.column.",
    "write.parquet.stats-enabled.column.",
];

/// The updates of properties that go with the way from one schema to the other.
pub(super) fn carried(
    metadata: &TableMetadata,
    old: &Schema,
    new: &Schema,
) -> Result<Vec<TableUpdate>> {
    let (mut set, mut removed) = properties_of_columns(metadata, old, new);
    match name_mapping(metadata) {
        Ok(None) => {}
        Ok(Some(mapping)) => {
            let children: Vec<&NestedFieldRef> = new.as_struct().fields().iter().collect();
            let fields: Vec<&MappedField> = mapping.fields().iter().collect();
            let next = NameMapping::new(mapped(&fields, &children, old));
            if next != mapping {
                let json = serde_json::to_string(&next).map_err(|error| {
                    Error::internal("a name mapping has no form in JSON").source_error(error)
                })?;
                set.insert(DEFAULT_SCHEMA_NAME_MAPPING.to_string(), json);
            }
        }
        // It was unreadable before; columns can be changed all the same.
        Err(error) => {
            tracing::warn!(%error, "the name mapping stays as it is");
        }
    }
    removed.retain(|key| !set.contains_key(key));
    let mut updates = Vec::new();
    if !removed.is_empty() {
        updates.push(TableUpdate::RemoveProperties { removals: removed });
    }
    if !set.is_empty() {
        updates.push(TableUpdate::SetProperties {
            updates: set.into_iter().collect(),
        });
    }
    Ok(updates)
}

/// Properties to set and to remove, so that each stays with its column.
fn properties_of_columns(
    metadata: &TableMetadata,
    old: &Schema,
    new: &Schema,
) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut set, mut removed) = (BTreeMap::new(), Vec::new());
    for (key, value) in metadata.properties() {
        let parts = OF_COLUMNS
            .iter()
            .find_map(|prefix| Some((prefix, key.strip_prefix(prefix)?)));
        let Some((prefix, column)) = parts else {
            continue;
        };
        let Some(id) = old.field_id_by_name(column) else {
            continue;
        };
        let name = new.name_by_field_id(id);
        if name == old.name_by_field_id(id) {
            continue;
        }
        removed.push(key.clone());
        if let Some(name) = name {
            set.insert(format!("{prefix}{name}"), value.clone());
        }
    }
    removed.sort();
    (set, removed)
}

/// The mapping of what is inside of one parent. Columns keep the names that they had, so that older
/// files are found by them; a name that another column has taken is that one's alone.
fn mapped(fields: &[&MappedField], children: &[&NestedFieldRef], old: &Schema) -> Vec<MappedField> {
    let is_new_name = |child: &NestedFieldRef| {
        let before = old.field_by_id(child.id);
        before.is_none_or(|before| before.name != child.name)
    };
    let taken: HashMap<&str, i32> = children
        .iter()
        .filter(|child| is_new_name(child))
        .map(|child| (child.name.as_str(), child.id))
        .collect();
    let mut all: Vec<MappedField> = fields
        .iter()
        .map(|field| {
            let id = field.field_id();
            let child = children.iter().find(|child| Some(child.id) == id);
            let is_others = |name: &&String| {
                taken
                    .get(name.as_str())
                    .is_some_and(|owner| Some(*owner) != id)
            };
            let mut names: Vec<String> = field
                .names()
                .iter()
                .filter(|name| !is_others(name))
                .cloned()
                .collect();
            if let Some(child) = child
                && is_new_name(child)
                && !names.contains(&child.name)
            {
                names.push(child.name.clone());
            }
            let inside: Vec<&MappedField> = field.fields().iter().map(AsRef::as_ref).collect();
            let inside = match child {
                Some(child) => mapped(&inside, &inside_of(&child.field_type), old),
                None => inside.into_iter().cloned().collect(),
            };
            MappedField::new(id, names, inside)
        })
        .collect();
    let known = |id: i32| fields.iter().any(|field| field.field_id() == Some(id));
    for child in children {
        if old.field_by_id(child.id).is_none() && !known(child.id) {
            all.push(MappedField::new(
                Some(child.id),
                vec![child.name.clone()],
                mapped(&[], &inside_of(&child.field_type), old),
            ));
        }
    }
    all
}

fn inside_of(ty: &Type) -> Vec<&NestedFieldRef> {
    match ty {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(fields) => fields.fields().iter().collect(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
    }
}
