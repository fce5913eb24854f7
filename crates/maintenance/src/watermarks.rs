//! Which snapshots flows still need.
//!
//! A flow that reads a table has recorded how far it has come in the table that it fills. It goes on
//! from there, over all snapshots after it; so its position and everything newer stays. A flow without
//! a record starts from the table as it is and needs no snapshot.
//!
//! Positions are read from the tables themselves, of whatever pipeline; nobody has to register
//! anything. Whoever knows of readers that leave no records adds them with [`Watermarks::need`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use berglake_format::snapshot::NeededSnapshots;
use berglake_format::{Error, Result, Table, TableIdent};
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

    /// Adds all positions of others.
    pub(crate) fn extend(&mut self, others: &Self) {
        for (source, positions) in &others.positions {
            let all = self.positions.entry(source.clone()).or_default();
            all.extend(positions.iter().cloned());
        }
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

/// What flows need, for as long as a run of maintenance takes: the records of a table are decoded once for
/// each of its states, however many tables are maintained.
#[derive(Debug, Default)]
pub(crate) struct Needs(HashMap<TableIdent, (String, Watermarks)>);

impl Needs {
    /// What the flows that fill this table need.
    ///
    /// # Errors
    /// As [`Watermarks::add`].
    pub(crate) fn of(&mut self, target: &Table) -> Result<&Watermarks> {
        // A metadata file is never written twice, so its location says what is in it.
        let location = target.metadata_location();
        let known = self.0.remove(target.ident());
        let watermarks = match known {
            Some((at, watermarks)) if at == location => watermarks,
            _ => {
                let mut watermarks = Watermarks::default();
                watermarks.add(target)?;
                watermarks
            }
        };
        let entry = self.0.entry(target.ident().clone());
        let (_, watermarks) = entry
            .insert_entry((location.to_string(), watermarks))
            .into_mut();
        Ok(watermarks)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berglake_format::Environment;
    use berglake_format::storage::Storage;
    use iceberg::TableCreation;
    use iceberg::spec::{Schema, TableMetadataBuilder};

    use super::*;

    fn table(location: &str, property: Option<(&str, &str)>) -> Table {
        let properties = property.map(|(key, value)| (key.to_string(), value.to_string()));
        let creation = TableCreation::builder()
            .name("t".to_string())
            .location("memory:///wh/t".to_string())
            .schema(Schema::builder().build().unwrap())
            .properties(properties.into_iter().collect::<HashMap<_, _>>())
            .build();
        let builder = TableMetadataBuilder::from_table_creation(creation).unwrap();
        let metadata = Arc::new(builder.build().unwrap().metadata);
        Table::new(
            TableIdent::from_strs(["db", "t"]).unwrap(),
            metadata,
            location,
            Storage::default(),
            Environment::default(),
        )
    }

    #[test]
    fn records_are_decoded_once_for_each_state_of_a_table() {
        let broken = Some(("berglake.flow.clean", "no record"));
        let mut needs = Needs::default();
        needs.of(&table("memory:///wh/t/1", None)).unwrap();
        // If it were decoded again, this would be an error.
        needs.of(&table("memory:///wh/t/1", broken)).unwrap();
        needs.of(&table("memory:///wh/t/2", broken)).unwrap_err();
    }
}
