//! The metadata of a table that a change creates.
//!
//! Whoever stages a creation has written files with its field ids, so that the ids of the change are
//! kept. `TableMetadataBuilder::new` would assign fresh ones; the first metadata is therefore
//! composed as JSON, of the first schema, partition spec and sort order, and all updates are applied
//! to it: adding what is there gives it no second id.

use iceberg::spec::{
    FormatVersion, PartitionSpec, Schema, SortOrder, TableMetadata, UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};
use serde_json::json;
use uuid::Uuid;

use super::{ConflictReason, TableChange};
use crate::{Environment, Error, Result};

/// The highest partition field id of a table without partition fields.
const UNPARTITIONED: i32 = 999;

impl TableChange {
    /// Whether the change creates its table: it requires that there is none.
    pub fn is_creation(&self) -> bool {
        self.requirements.contains(&TableRequirement::NotExist)
    }

    /// The metadata of the table that this change creates, or the requirement that failed, where
    /// there is no such table. `location` is its folder where the change does not say.
    ///
    /// Ids of columns, schemas and specs are those of the change.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for updates without a schema or that do not
    /// fit each other, [`Unsupported`](crate::ErrorKind::Unsupported) for format version 1.
    pub fn create(
        &self,
        environment: &Environment,
        location: &str,
    ) -> Result<Result<TableMetadata, ConflictReason>> {
        for requirement in &self.requirements {
            if requirement.check(None).is_err() {
                let why = "table does not exist".to_string();
                return Ok(Err(ConflictReason::Requirement(why)));
            }
        }
        let wrong = |error: iceberg::Error| {
            Error::invalid(format!("the table cannot be created: {}", error.message()))
                .with("table", &self.ident)
                .source_error(error)
        };
        let first = First::of(&self.updates, location);
        let mut builder = first
            .metadata(environment)
            .map_err(|error| error.with("table", &self.ident))?
            .into_builder(None);
        for update in &self.updates {
            builder = update.clone().apply(builder).map_err(wrong)?;
        }
        Ok(Ok(builder.build().map_err(wrong)?.metadata))
    }
}

/// What the first metadata is made of.
struct First<'a> {
    uuid: Option<Uuid>,
    version: FormatVersion,
    location: &'a str,
    schema: Option<&'a Schema>,
    spec: Option<&'a UnboundPartitionSpec>,
    order: Option<&'a SortOrder>,
}

impl<'a> First<'a> {
    fn of(updates: &'a [TableUpdate], location: &'a str) -> Self {
        let mut first = Self {
            uuid: None,
            version: FormatVersion::V2,
            location,
            schema: None,
            spec: None,
            order: None,
        };
        for update in updates {
            match update {
                TableUpdate::AssignUuid { uuid } => first.uuid = Some(*uuid),
                TableUpdate::UpgradeFormatVersion { format_version } => {
                    first.version = *format_version;
                }
                TableUpdate::SetLocation { location } => first.location = location,
                TableUpdate::AddSchema { schema } if first.schema.is_none() => {
                    first.schema = Some(schema);
                }
                TableUpdate::AddSpec { spec } if first.spec.is_none() => first.spec = Some(spec),
                TableUpdate::AddSortOrder { sort_order } if first.order.is_none() => {
                    first.order = Some(sort_order);
                }
                _ => {}
            }
        }
        first
    }

    fn metadata(&self, environment: &Environment) -> Result<TableMetadata> {
        let schema = self.schema.ok_or_else(|| {
            Error::invalid("a table cannot be created without a schema")
                .help("add a schema and set it as the current one")
        })?;
        let wrong = |error: iceberg::Error| {
            Error::invalid(format!("the table cannot be created: {}", error.message()))
                .source_error(error)
        };
        let spec: PartitionSpec = match self.spec {
            Some(spec) => spec.clone().bind(schema.clone()).map_err(wrong)?,
            None => PartitionSpec::unpartition_spec(),
        };
        let order = match self.order {
            Some(order) => order.clone(),
            None => SortOrder::unsorted_order(),
        };
        let last_partition_id = spec.fields().iter().map(|field| field.field_id).max();
        let version = match self.version {
            FormatVersion::V1 => {
                return Err(
                    Error::unsupported("new tables of format version 1 are not made")
                        .help("use 2, which every engine reads, or 3"),
                );
            }
            FormatVersion::V2 => 2,
            FormatVersion::V3 => 3,
        };
        let mut json = json!({
            "format-version": version,
            "table-uuid": self.uuid.unwrap_or_else(|| environment.ids().uuid()),
            "location": self.location.trim_end_matches('/'),
            "last-sequence-number": 0,
            "last-updated-ms": environment.clock().now_millis(),
            "last-column-id": schema.highest_field_id(),
            "current-schema-id": schema.schema_id(),
            "schemas": [schema],
            "default-spec-id": spec.spec_id(),
            "partition-specs": [spec],
            "last-partition-id": last_partition_id.unwrap_or(UNPARTITIONED).max(UNPARTITIONED),
            "default-sort-order-id": order.order_id,
            "sort-orders": [order],
            "properties": {},
        });
        if self.version == FormatVersion::V3 {
            json["next-row-id"] = json!(0);
        }
        serde_json::from_value(json).map_err(|error| {
            Error::invalid("the table cannot be created: its schema, partitions or order do not fit each other")
                .source_error(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{
        NestedField, NullOrder, PrimitiveType, SortDirection, SortField, Transform, Type,
    };
    use iceberg::{NamespaceIdent, TableIdent};

    use super::*;
    use crate::ErrorKind;

    fn schema() -> Schema {
        let field = |id, name| {
            Arc::new(NestedField::optional(
                id,
                name,
                Type::Primitive(PrimitiveType::Long),
            ))
        };
        Schema::builder()
            .with_schema_id(0)
            .with_fields([field(7, "a"), field(3, "b")])
            .build()
            .unwrap()
    }

    fn change(updates: Vec<TableUpdate>) -> TableChange {
        TableChange {
            ident: TableIdent::new(NamespaceIdent::new("n".into()), "t".into()),
            requirements: vec![TableRequirement::NotExist],
            updates,
        }
    }

    /// As a client sends what a server staged.
    fn updates(format_version: FormatVersion) -> Vec<TableUpdate> {
        let spec: UnboundPartitionSpec = serde_json::from_value(json!({
            "spec-id": 0,
            "fields": [
                {"source-id": 3, "field-id": 1005, "name": "b_bucket", "transform": "bucket[4]"}
            ],
        }))
        .unwrap();
        let sort_order = SortOrder::builder()
            .with_order_id(1)
            .with_fields(vec![
                SortField::builder()
                    .source_id(7)
                    .direction(SortDirection::Ascending)
                    .null_order(NullOrder::First)
                    .transform(Transform::Identity)
                    .build(),
            ])
            .build_unbound()
            .unwrap();
        vec![
            TableUpdate::AssignUuid {
                uuid: Uuid::from_u128(5),
            },
            TableUpdate::UpgradeFormatVersion { format_version },
            TableUpdate::AddSchema { schema: schema() },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
            TableUpdate::AddSpec { spec },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
            TableUpdate::AddSortOrder { sort_order },
            TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
            TableUpdate::SetLocation {
                location: "memory:///n/t".into(),
            },
            TableUpdate::SetProperties {
                updates: [("a".to_string(), "b".to_string())].into(),
            },
        ]
    }

    #[test]
    fn ids_and_all_else_are_those_of_the_change() {
        for version in [FormatVersion::V2, FormatVersion::V3] {
            let made = change(updates(version))
                .create(&Environment::default(), "memory:///elsewhere")
                .unwrap()
                .unwrap();
            assert_eq!(made.format_version(), version);
            assert_eq!(made.uuid(), Uuid::from_u128(5));
            assert_eq!(made.location(), "memory:///n/t");
            assert_eq!(made.properties()["a"], "b");
            assert_eq!(made.last_column_id(), 7);
            assert_eq!(made.current_schema_id(), 0);
            assert_eq!(made.current_schema().as_struct(), schema().as_struct());
            assert_eq!(made.schemas_iter().count(), 1);
            assert_eq!(made.default_partition_spec_id(), 0);
            assert_eq!(made.partition_specs_iter().count(), 1);
            assert_eq!(made.default_partition_spec().fields()[0].field_id, 1005);
            assert_eq!(made.default_sort_order_id(), 1);
            // What is read back is what was made.
            let json = serde_json::to_vec(&made).unwrap();
            let again: TableMetadata = serde_json::from_slice(&json).unwrap();
            assert_eq!(again, made);
        }
    }

    #[test]
    fn a_schema_is_enough() {
        let made = change(vec![
            TableUpdate::AddSchema { schema: schema() },
            TableUpdate::SetCurrentSchema { schema_id: 0 },
        ])
        .create(&Environment::default(), "memory:///n/t/")
        .unwrap()
        .unwrap();
        assert_eq!(made.location(), "memory:///n/t");
        assert_eq!(made.format_version(), FormatVersion::V2);
        assert!(made.default_partition_spec().is_unpartitioned());
        assert!(made.default_sort_order().is_unsorted());
    }

    #[test]
    fn what_makes_no_table_is_refused() {
        let environment = Environment::default();
        let kind = |updates| {
            let made = change(updates).create(&environment, "memory:///n/t");
            made.unwrap_err().kind()
        };
        assert_eq!(kind(Vec::new()), ErrorKind::InvalidInput);
        assert_eq!(kind(updates(FormatVersion::V1)), ErrorKind::Unsupported);
        let mut dangling = updates(FormatVersion::V2);
        dangling.push(TableUpdate::SetCurrentSchema { schema_id: 9 });
        assert_eq!(kind(dangling), ErrorKind::InvalidInput);
    }

    #[test]
    fn requirements_that_need_a_table_fail_where_there_is_none() {
        let mut change = change(updates(FormatVersion::V2));
        change.requirements.push(TableRequirement::UuidMatch {
            uuid: Uuid::from_u128(5),
        });
        let made = change.create(&Environment::default(), "memory:///n/t");
        assert!(matches!(made, Ok(Err(ConflictReason::Requirement(_)))));
    }
}
