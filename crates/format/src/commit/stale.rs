//! Snapshots that were planned on a table as it is no more.
//!
//! A requirement on one branch notices neither a commit to another branch nor a new format version.
//! But sequence numbers, row ids and the form of deletes are the whole table's: planned on older
//! metadata, they do not fit. Planning again helps.

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, Snapshot, TableMetadata};

use super::ConflictReason;

/// Why a snapshot among these updates does not fit the metadata although it once did.
pub(super) fn stale_snapshot(
    updates: &[TableUpdate],
    current: &TableMetadata,
) -> Option<ConflictReason> {
    let mut table = Counters {
        version: current.format_version(),
        upgraded: false,
        sequence_number: current.last_sequence_number(),
        next_row_id: current.next_row_id(),
    };
    for update in updates {
        match update {
            TableUpdate::UpgradeFormatVersion { format_version } => {
                table.upgraded |= *format_version != table.version;
                table.version = *format_version;
            }
            TableUpdate::AddSnapshot { snapshot } => {
                if let Some(why) = table.add(snapshot) {
                    let why = format!("snapshot {} {why}", snapshot.snapshot_id());
                    return Some(ConflictReason::Requirement(why));
                }
            }
            _ => {}
        }
    }
    None
}

/// What a snapshot must fit, before it and after.
struct Counters {
    version: FormatVersion,
    /// Whether the change itself raised the version: then its snapshots were planned for that.
    upgraded: bool,
    sequence_number: i64,
    next_row_id: u64,
}

impl Counters {
    fn add(&mut self, snapshot: &Snapshot) -> Option<String> {
        let number = snapshot.sequence_number();
        // One without a parent has no older rows that its deletes could meet, so that two
        // replacements of a table may have one number. Going back is never possible.
        let taken = match snapshot.parent_snapshot_id() {
            Some(_) => number <= self.sequence_number,
            None => number < self.sequence_number,
        };
        if self.version != FormatVersion::V1 && taken {
            let last = self.sequence_number;
            return Some(format!(
                "has the sequence number {number}, and the table is at {last}"
            ));
        }
        self.sequence_number = self.sequence_number.max(number);
        if self.version < FormatVersion::V3 {
            return None;
        }
        match snapshot.row_range() {
            Some((first, _)) if first < self.next_row_id => {
                let next = self.next_row_id;
                return Some(format!(
                    "starts at row id {first}, and the table is at {next}"
                ));
            }
            Some((first, added)) => self.next_row_id = first.saturating_add(added),
            None if !self.upgraded => {
                return Some(
                    "gives its rows no ids, and the table is of format version 3 now".to_string(),
                );
            }
            None => {}
        }
        // Writers say in the summary what they add; one that does not is not noticed here.
        let summary = &snapshot.summary().additional_properties;
        let added = summary.get("added-position-delete-files")?;
        (added.trim() != "0").then(|| {
            format!(
                "adds {added} position delete files, and a table of format version 3 takes deletion vectors"
            )
        })
    }
}
