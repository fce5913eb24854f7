//! Whether what updates ask for is so.

use iceberg::TableUpdate;
use iceberg::spec::{
    PartitionSpec, Schema, SortOrder, TableMetadata, UnboundPartitionField, UnboundPartitionSpec,
};

/// The id by which an update names what an update before it has added.
const LAST_ADDED: i32 = -1;

/// Whether these updates, made in order, would change nothing. Updates that cannot be told apart from
/// what was there before never hold.
pub(super) fn holds(updates: &[TableUpdate], metadata: &TableMetadata) -> bool {
    let Ok(refs) = crate::table::refs(metadata) else {
        return false;
    };
    let mut added = Added::default();
    updates.iter().all(|update| match update {
        TableUpdate::AssignUuid { uuid } => *uuid == metadata.uuid(),
        TableUpdate::UpgradeFormatVersion { format_version } => {
            metadata.format_version() >= *format_version
        }
        TableUpdate::AddSchema { schema } => {
            added.schema = Some(schema);
            metadata.schemas_iter().any(|own| same_schema(own, schema))
        }
        TableUpdate::SetCurrentSchema { schema_id } => match added.schema {
            Some(schema) if *schema_id == LAST_ADDED => {
                same_schema(metadata.current_schema(), schema)
            }
            _ => metadata.current_schema_id() == *schema_id,
        },
        TableUpdate::AddSpec { spec } => {
            added.spec = Some(spec);
            let mut own = metadata.partition_specs_iter();
            own.any(|own| same_spec(own, spec))
        }
        TableUpdate::SetDefaultSpec { spec_id } => match added.spec {
            Some(spec) if *spec_id == LAST_ADDED => {
                same_spec(metadata.default_partition_spec(), spec)
            }
            _ => metadata.default_partition_spec_id() == *spec_id,
        },
        TableUpdate::AddSortOrder { sort_order } => {
            added.order = Some(sort_order);
            let mut own = metadata.sort_orders_iter();
            own.any(|own| own.fields == sort_order.fields)
        }
        TableUpdate::SetDefaultSortOrder { sort_order_id } => match added.order {
            Some(order) if *sort_order_id == i64::from(LAST_ADDED) => {
                metadata.default_sort_order().fields == order.fields
            }
            _ => metadata.default_sort_order_id() == *sort_order_id,
        },
        TableUpdate::SetSnapshotRef {
            ref_name,
            reference,
        } => refs.get(ref_name) == Some(reference),
        TableUpdate::RemoveSnapshotRef { ref_name } => !refs.contains_key(ref_name),
        TableUpdate::RemoveSnapshots { snapshot_ids } => snapshot_ids
            .iter()
            .all(|id| metadata.snapshot_by_id(*id).is_none()),
        TableUpdate::SetLocation { location } => metadata.location() == location,
        TableUpdate::SetProperties { updates } => updates
            .iter()
            .all(|(key, value)| metadata.properties().get(key) == Some(value)),
        TableUpdate::RemoveProperties { removals } => removals
            .iter()
            .all(|key| !metadata.properties().contains_key(key)),
        _ => false,
    })
}

/// What the updates so far have added last.
#[derive(Default)]
struct Added<'a> {
    schema: Option<&'a Schema>,
    spec: Option<&'a UnboundPartitionSpec>,
    order: Option<&'a SortOrder>,
}

fn same_schema(own: &Schema, wanted: &Schema) -> bool {
    own.as_struct() == wanted.as_struct()
        && own
            .identifier_field_ids()
            .all(|id| wanted.identifier_field_ids().any(|other| other == id))
        && own.identifier_field_ids().count() == wanted.identifier_field_ids().count()
}

fn same_spec(own: &PartitionSpec, wanted: &UnboundPartitionSpec) -> bool {
    let same = |own: &iceberg::spec::PartitionField, wanted: &UnboundPartitionField| {
        own.source_id == wanted.source_id
            && own.name == wanted.name
            && own.transform == wanted.transform
            && wanted.field_id.is_none_or(|id| id == own.field_id)
    };
    own.fields().len() == wanted.fields().len()
        && own
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(own, wanted)| same(own, wanted))
}
