//! The columns that a table has or had.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    NestedField, PartitionSpec, PrimitiveType, Schema, TableMetadata, Transform, Type,
};
use itertools::Itertools;

/// The primitive columns that a table has or had, nested ones too, by id. Each has the type that it had
/// last, which every older value can be read as.
#[derive(Debug)]
pub(crate) struct Columns(HashMap<i32, PrimitiveType>);

impl Columns {
    pub(crate) fn of(metadata: &TableMetadata) -> Self {
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let mut columns = HashMap::new();
        for schema in std::iter::once(metadata.current_schema()).chain(schemas) {
            for (id, field) in schema.field_id_to_fields() {
                if let Type::Primitive(ty) = field.field_type.as_ref() {
                    columns.entry(*id).or_insert_with(|| ty.clone());
                }
            }
        }
        Self(columns)
    }

    /// Their types.
    pub(super) fn types(&self) -> &HashMap<i32, PrimitiveType> {
        &self.0
    }

    /// The schema with the columns that it lacks behind its own; none if it lacks none. They have ids
    /// and types. Their names say nothing, because other columns may have the old ones now, and are no
    /// names that a partition field can have.
    pub(crate) fn complete(&self, schema: &Schema) -> Option<Schema> {
        let missing = self
            .0
            .iter()
            .filter(|(id, _)| schema.field_by_id(**id).is_none())
            .sorted_by_key(|(id, _)| **id);
        let missing: Vec<_> = missing
            .map(|(id, ty)| {
                let mut name = format!("dropped column {id}");
                while schema.field_by_name_case_insensitive(&name).is_some() {
                    name.push('\'');
                }
                let ty = Type::Primitive(ty.clone());
                Arc::new(NestedField::optional(*id, name, ty))
            })
            .collect();
        if missing.is_empty() {
            return None;
        }
        let own = schema.as_struct().fields().iter().cloned();
        let completed = Schema::builder()
            .with_schema_id(schema.schema_id())
            .with_fields(own.chain(missing))
            .with_identifier_field_ids(schema.identifier_field_ids());
        completed.build().ok()
    }
}

/// The schema under other names, where a column has the name of a partition field of the spec and is not
/// its column; none where no name has to change. Columns were renamed and added since the spec was the
/// default one, and the decoder binds a spec by names, too.
pub(crate) fn renamed(schema: &Schema, spec: &PartitionSpec) -> Option<Schema> {
    let is_in_the_way = |column: &NestedField| {
        spec.fields().iter().any(|field| {
            field.name == column.name
                && (field.source_id != column.id || field.transform != Transform::Identity)
        })
    };
    let columns = schema.as_struct().fields();
    if !columns.iter().any(|column| is_in_the_way(column)) {
        return None;
    }
    let columns = columns.iter().map(|column| {
        if !is_in_the_way(column) {
            return column.clone();
        }
        let mut column = NestedField::clone(column);
        column.name = format!("column {}", column.id);
        while schema
            .field_by_name_case_insensitive(&column.name)
            .is_some()
        {
            column.name.push('\'');
        }
        Arc::new(column)
    });
    let renamed = Schema::builder()
        .with_schema_id(schema.schema_id())
        .with_fields(columns)
        .with_identifier_field_ids(schema.identifier_field_ids());
    renamed.build().ok()
}
