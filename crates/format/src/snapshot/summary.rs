//! The summary of a snapshot: what it added and removed, and the table's totals after it
//! (specification, "Snapshot Summary"; the names are those that all engines write).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, Snapshot, Struct};

use crate::Environment;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    data_files: u64,
    delete_files: u64,
    position_delete_files: u64,
    deletion_vectors: u64,
    equality_delete_files: u64,
    records: u64,
    position_deletes: u64,
    equality_deletes: u64,
    size: u64,
}

impl Counts {
    fn count(&mut self, file: &DataFile) {
        self.size += file.file_size_in_bytes();
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.delete_files += 1;
                self.position_deletes += file.record_count();
                if file.file_format() == DataFileFormat::Puffin {
                    self.deletion_vectors += 1;
                    // A vector is a range of a shared Puffin file; its own bytes are what it adds.
                    let own = file
                        .content_size_in_bytes()
                        .and_then(|n| u64::try_from(n).ok());
                    self.size = self.size - file.file_size_in_bytes() + own.unwrap_or(0);
                } else {
                    self.position_delete_files += 1;
                }
            }
            DataContentType::EqualityDeletes => {
                self.delete_files += 1;
                self.equality_delete_files += 1;
                self.equality_deletes += file.record_count();
            }
        }
    }
}

/// Counts what a snapshot adds and removes.
#[derive(Debug, Default)]
pub(super) struct SummaryBuilder {
    added: Counts,
    removed: Counts,
    partitions: BTreeSet<String>,
}

impl SummaryBuilder {
    pub(super) fn added(&mut self, file: &DataFile, spec_id: i32) {
        self.added.count(file);
        self.touch(file.partition(), spec_id);
    }

    pub(super) fn removed(&mut self, file: &DataFile, spec_id: i32) {
        self.removed.count(file);
        self.touch(file.partition(), spec_id);
    }

    fn touch(&mut self, partition: &Struct, spec_id: i32) {
        if !partition.fields().is_empty() {
            self.partitions.insert(format!("{spec_id}/{partition:?}"));
        }
    }

    /// The summary's entries without the operation. Totals that the parent does not state cannot be
    /// derived and are left out.
    pub(super) fn build(
        &self,
        parent: Option<&Snapshot>,
        emptied: bool,
        environment: &Environment,
        notes: &BTreeMap<String, String>,
    ) -> HashMap<String, String> {
        let mut summary = HashMap::new();
        let (added, removed) = (&self.added, &self.removed);
        for (key, value) in [
            ("added-data-files", added.data_files),
            ("deleted-data-files", removed.data_files),
            ("added-delete-files", added.delete_files),
            ("removed-delete-files", removed.delete_files),
            ("added-position-delete-files", added.position_delete_files),
            (
                "removed-position-delete-files",
                removed.position_delete_files,
            ),
            ("added-dvs", added.deletion_vectors),
            ("removed-dvs", removed.deletion_vectors),
            ("added-equality-delete-files", added.equality_delete_files),
            (
                "removed-equality-delete-files",
                removed.equality_delete_files,
            ),
            ("added-records", added.records),
            ("deleted-records", removed.records),
            ("added-position-deletes", added.position_deletes),
            ("removed-position-deletes", removed.position_deletes),
            ("added-equality-deletes", added.equality_deletes),
            ("removed-equality-deletes", removed.equality_deletes),
            ("added-files-size", added.size),
            ("removed-files-size", removed.size),
            ("changed-partition-count", self.partitions.len() as u64),
        ] {
            if value > 0 {
                summary.insert(key.to_string(), value.to_string());
            }
        }
        for (key, plus, minus) in [
            ("total-data-files", added.data_files, removed.data_files),
            (
                "total-delete-files",
                added.delete_files,
                removed.delete_files,
            ),
            ("total-records", added.records, removed.records),
            (
                "total-position-deletes",
                added.position_deletes,
                removed.position_deletes,
            ),
            (
                "total-equality-deletes",
                added.equality_deletes,
                removed.equality_deletes,
            ),
            ("total-files-size", added.size, removed.size),
        ] {
            let total = match parent {
                // Everything that was there is removed, so what was added is the total.
                _ if emptied => Some(plus),
                None => Some(plus),
                Some(parent) => parent
                    .summary()
                    .additional_properties
                    .get(key)
                    .and_then(|text| text.parse::<u64>().ok())
                    .and_then(|before| (before + plus).checked_sub(minus)),
            };
            if let Some(total) = total {
                summary.insert(key.to_string(), total.to_string());
            }
        }
        let identity = environment.identity();
        for (key, value) in [
            ("engine-name", "berglake"),
            ("engine-version", env!("CARGO_PKG_VERSION")),
            ("berglake.application", identity.application.as_str()),
            ("berglake.principal", identity.principal.as_str()),
        ] {
            summary.insert(key.to_string(), value.to_string());
        }
        summary.extend(
            notes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        summary
    }
}
