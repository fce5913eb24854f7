//! Which snapshot, which schema, which columns.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, Schema, SchemaRef, SnapshotRef};

use super::SnapshotSelector;
use crate::evaluate::FileFilter;
use crate::manifest::Metrics;
use crate::{Error, Result, Table};

/// The snapshot and the schema to read it with: branches are read with the current schema, what is
/// fixed (an id, a time, a tag) with the schema of then.
pub(crate) fn snapshot(
    table: &Table,
    selector: &SnapshotSelector,
) -> Result<(Option<SnapshotRef>, SchemaRef)> {
    let metadata = table.metadata();
    match selector {
        SnapshotSelector::Head => {
            Ok((metadata.current_snapshot().cloned(), table.schema().clone()))
        }
        SnapshotSelector::Id(id) => as_written(table, table.snapshot(*id)?),
        SnapshotSelector::AsOf(time) => {
            // The log is in the order of time, but a clock may have been set back in between: the
            // last entry that is not later is the one that was valid.
            let entry = metadata
                .history()
                .iter()
                .rev()
                .find(|entry| entry.timestamp_ms <= *time)
                .ok_or_else(|| {
                    let error = Error::not_found("the table had no snapshot at this time")
                        .with("table", table.ident())
                        .with("time", instant(*time));
                    match metadata.history().first() {
                        Some(first) => error.help(format!(
                            "its history begins at {}",
                            instant(first.timestamp_ms)
                        )),
                        None => error.help("nothing was ever written to it"),
                    }
                })?;
            as_written(table, table.snapshot(entry.snapshot_id)?)
        }
        SnapshotSelector::Ref(name) if name == MAIN_BRANCH => {
            snapshot(table, &SnapshotSelector::Head)
        }
        SnapshotSelector::Ref(name) => {
            let snapshot = metadata.snapshot_for_ref(name).ok_or_else(|| {
                Error::not_found("the table has no such branch or tag")
                    .with("table", table.ident())
                    .with("ref", name)
            })?;
            match table.refs()?.get(name) {
                Some(reference) if !reference.is_branch() => as_written(table, snapshot),
                _ => Ok((Some(snapshot.clone()), table.schema().clone())),
            }
        }
    }
}

fn as_written(table: &Table, snapshot: &SnapshotRef) -> Result<(Option<SnapshotRef>, SchemaRef)> {
    let schema = snapshot.schema(table.metadata()).map_err(|error| {
        Error::corrupt("the snapshot names a schema that the table does not have")
            .with("table", table.ident())
            .with("snapshot", snapshot.snapshot_id())
            .source_error(error)
    })?;
    Ok((Some(snapshot.clone()), schema))
}

/// A time in milliseconds as people write it.
pub(crate) fn instant(millis: i64) -> String {
    chrono::DateTime::from_timestamp_millis(millis).map_or_else(
        || format!("{millis} ms"),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    )
}

/// Of which columns files keep what they say of their columns: of these top-level columns and of those
/// of the filter; of all where none are named.
pub(super) fn metrics(
    schema: &SchemaRef,
    names: Option<&[String]>,
    filter: &FileFilter,
) -> Result<Metrics> {
    let Some(names) = names else {
        return Ok(Metrics::All);
    };
    let mut ids: BTreeSet<i32> = filter.columns().collect();
    let named = columns(schema, Some(names))?;
    ids.extend(named.field_id_to_fields().keys());
    Ok(Metrics::Of(Arc::new(ids)))
}

/// The schema of these top-level columns, in this order; of all columns where none are named.
pub(crate) fn columns(schema: &SchemaRef, names: Option<&[String]>) -> Result<SchemaRef> {
    let Some(names) = names else {
        return Ok(schema.clone());
    };
    let mut seen = HashSet::new();
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let field = schema.as_struct().field_by_name(name).ok_or_else(|| {
            let known: Vec<&str> = schema
                .as_struct()
                .fields()
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            Error::invalid("there is no such column")
                .with("column", name)
                .help(format!("columns are: {}", known.join(", ")))
        })?;
        if !seen.insert(field.id) {
            return Err(Error::invalid("a column is selected twice").with("column", name));
        }
        fields.push(field.clone());
    }
    let key = schema.identifier_field_ids().filter(|id| seen.contains(id));
    let schema = Schema::builder()
        .with_schema_id(schema.schema_id())
        .with_identifier_field_ids(key)
        .with_fields(fields)
        .build()?;
    Ok(Arc::new(schema))
}
