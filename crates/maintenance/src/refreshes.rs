//! What the rows of materialized views were computed from.
//!
//! A refresh records it in the summary of its snapshot, under `berglake.refresh.<flow>`. When the files of
//! the view are replaced, that snapshot may expire; so the snapshot that replaces them takes the record
//! along. A view without a record is computed anew, which costs time and no rows.

use std::collections::BTreeMap;

use berglake_format::Table;
use iceberg::spec::Operation;

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
