//! Which snapshots flows still need.
//!
//! A flow that reads a table has recorded how far it has come in the table that it fills. It goes on
//! from there, over all snapshots after it; so its position and everything newer stays. A flow without
//! a record starts from the table as it is and needs no snapshot.
//!
//! Positions are read from the tables themselves, of whatever pipeline; nobody has to register
//! anything. Whoever knows of readers that leave no records adds them with [`Watermarks::need`].

use std::collections::{BTreeMap, BTreeSet};

use berglake_format::snapshot::NeededSnapshots;
use berglake_format::{Error, Result, Table};
use berglake_ingest::progress::{FlowId, HeadPosition, Position, Progress};

/// Positions in source tables, by the UUIDs of these tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermarks {
    positions: BTreeMap<String, BTreeSet<Watermark>>,
}

/// A position, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Watermark {
    snapshot: i64,
    reader: String,
}

impl Watermarks {
    /// Adds the positions of all flows that fill this table.
    ///
    /// # Errors
    /// [`Corrupt`](berglake_format::ErrorKind::Corrupt) for records that cannot be read: what the flow
    /// needs is not known then, and nothing that it may read should expire.
    pub fn add(&mut self, target: &Table) -> Result<()> {
        let metadata = target.metadata();
        for flow in FlowId::all_of(metadata) {
            let at = |error: Error| error.with("table", target.ident());
            let positions = match Progress::of(metadata, &flow).map_err(at)? {
                Progress::Fresh => vec![],
                Progress::At(position) => vec![position],
                // Whatever a person decides, the flow must be able to go on.
                Progress::RolledBack(rolled_back) => match rolled_back.head {
                    HeadPosition::At(head) => vec![rolled_back.recorded, head],
                    HeadPosition::Start | HeadPosition::Expired => vec![rolled_back.recorded],
                },
            };
            for position in positions {
                if let Position::Table { source, at } = position {
                    let reader = format!("flow {flow} into {}", target.ident());
                    self.need_by_uuid(source.to_string(), at, reader);
                }
            }
        }
        Ok(())
    }

    /// Adds a reader that goes on from a snapshot of a table.
    pub fn need(&mut self, source: &Table, snapshot: i64, reader: impl Into<String>) {
        self.need_by_uuid(
            source.metadata().uuid().to_string(),
            snapshot,
            reader.into(),
        );
    }

    fn need_by_uuid(&mut self, source: String, snapshot: i64, reader: String) {
        let positions = self.positions.entry(source).or_default();
        positions.insert(Watermark { snapshot, reader });
    }

    /// The snapshots of a table that readers of it need.
    pub fn needed(&self, source: &Table) -> NeededSnapshots {
        let mut needed = NeededSnapshots::new();
        let head = source.metadata().current_snapshot_id();
        let positions = self.positions.get(&source.metadata().uuid().to_string());
        for Watermark { snapshot, reader } in positions.into_iter().flatten() {
            if source.metadata().snapshot_by_id(*snapshot).is_none() {
                // Too late: the flow will say that it needs a full refresh.
                continue;
            }
            let mut newer = Vec::new();
            let mut found = false;
            for ancestor in source.ancestors(head) {
                newer.push(ancestor.snapshot_id());
                if ancestor.snapshot_id() == *snapshot {
                    found = true;
                    break;
                }
            }
            if !found {
                // The source was rolled back behind the flow. Until somebody decides what to do about
                // it, both histories stay.
                newer.extend(source.ancestors(Some(*snapshot)).map(|s| s.snapshot_id()));
            }
            for id in newer {
                let reasons = needed.entry(id).or_default();
                reasons.insert(reader.clone());
            }
        }
        needed
    }
}
