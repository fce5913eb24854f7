//! What the rows of materialized views were computed from.
//!
//! A refresh records it in the summary of its snapshot, under `berglake.refresh.<flow>`: for each table
//! that it read, by UUID, the snapshot that this table's rows were from. The view is due when that is
//! another one, so two things of maintenance must not make it look so: files of the view that are
//! replaced take the record along ([`of_head`]), and the snapshot that the rows of a source are from stays
//! as long as they are from it ([`Watermarks`](crate::Watermarks)). A view without a record is computed
//! anew, which costs time and no rows.

use std::collections::BTreeMap;

use berglake_format::Table;
use iceberg::spec::Operation;
use serde::Deserialize;

const KEY_PREFIX: &str = "berglake.refresh.";

/// The records that describe the rows of a table's head, as they stand in a snapshot's summary.
pub(crate) fn of_head(table: &Table) -> BTreeMap<String, String> {
    for snapshot in table.ancestors(table.metadata().current_snapshot_id()) {
        let summary = snapshot.summary();
        let records: BTreeMap<String, String> = summary
            .additional_properties
            .iter()
            .filter(|(key, _)| key.starts_with(KEY_PREFIX))
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect();
        // Files that were replaced since have the same rows; anything else changed them.
        if !records.is_empty() || summary.operation != Operation::Replace {
            return records;
        }
    }
    BTreeMap::new()
}

/// The views in a table: their flows, and the snapshots of the tables that they were computed from.
pub(crate) fn sources_of(table: &Table) -> Vec<(String, BTreeMap<String, i64>)> {
    #[derive(Deserialize)]
    struct Record {
        sources: BTreeMap<String, Option<i64>>,
    }

    of_head(table)
        .into_iter()
        .filter_map(|(key, text)| {
            let flow = key.strip_prefix(KEY_PREFIX)?.to_string();
            // One that cannot be read keeps nothing: the view says itself what is wrong with it.
            let record: Record = serde_json::from_str(&text).ok()?;
            let read = record.sources.into_iter();
            Some((flow, read.filter_map(|(id, at)| Some((id, at?))).collect()))
        })
        .collect()
}

/// The snapshots from a table's head back to this one, if nothing but files was replaced since.
pub(crate) fn only_replaced_since(table: &Table, snapshot: i64) -> Option<Vec<i64>> {
    let mut passed = Vec::new();
    for ancestor in table.ancestors(table.metadata().current_snapshot_id()) {
        passed.push(ancestor.snapshot_id());
        let changed_rows = ancestor.summary().operation != Operation::Replace;
        if changed_rows {
            return (ancestor.snapshot_id() == snapshot).then_some(passed);
        }
    }
    None
}
