//! The summary of a snapshot: what it added and removed, and the table's totals after it
//! (specification, "Snapshot Summary"; the names are those that all engines write).

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, PartitionSpec, Snapshot, Struct};

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

/// What a summary is made from beside the files.
pub(super) struct SummaryContext<'a> {
    pub(super) parent: Option<&'a Snapshot>,
    /// Whether everything that was there before is removed.
    pub(super) emptied: bool,
    pub(super) environment: &'a Environment,
    /// Up to how many changed partitions there is a summary of each.
    pub(super) partition_limit: usize,
    pub(super) notes: &'a BTreeMap<String, String>,
}

/// What a snapshot adds and removes, in all or in one partition.
#[derive(Debug, Default, Clone)]
struct Changes {
    added: Counts,
    removed: Counts,
}

impl Changes {
    /// The counts that are not 0, under their names.
    fn entries(&self) -> Vec<(&'static str, u64)> {
        let (added, removed) = (&self.added, &self.removed);
        let mut entries = vec![
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
        ];
        entries.retain(|(_, count)| *count > 0);
        entries
    }
}

/// A partition: the spec and the values. All of what is not partitioned is one.
type Key = Option<(i32, Struct)>;

/// Counts what a snapshot adds and removes.
#[derive(Debug, Default)]
pub(super) struct SummaryBuilder {
    all: Changes,
    partitions: HashMap<Key, Changes>,
}

impl SummaryBuilder {
    pub(super) fn added(&mut self, file: &DataFile, spec: &PartitionSpec) {
        self.all.added.count(file);
        self.partition(file, spec).added.count(file);
    }

    pub(super) fn removed(&mut self, file: &DataFile, spec: &PartitionSpec) {
        self.all.removed.count(file);
        self.partition(file, spec).removed.count(file);
    }

    fn partition(&mut self, file: &DataFile, spec: &PartitionSpec) -> &mut Changes {
        let key = match spec.is_unpartitioned() {
            true => None,
            false => Some((spec.spec_id(), file.partition().clone())),
        };
        self.partitions.entry(key).or_default()
    }

    /// What was changed in each partition, where there are at most so many; `name` gives the name of
    /// one. As in the Java implementation, a table that is not partitioned has none of this.
    fn of_partitions(
        &self,
        limit: usize,
        name: impl Fn(i32, &Struct) -> Option<String>,
    ) -> BTreeMap<String, String> {
        let mut summaries = BTreeMap::new();
        if self.partitions.len() > limit {
            return summaries;
        }
        for (key, changes) in &self.partitions {
            let Some((spec_id, values)) = key else {
                continue;
            };
            let Some(name) = name(*spec_id, values) else {
                continue;
            };
            let counts = changes.entries().into_iter();
            let counts: Vec<_> = counts.map(|(key, n)| format!("{key}={n}")).collect();
            summaries.insert(format!("partitions.{name}"), counts.join(","));
        }
        if !summaries.is_empty() {
            summaries.insert("partition-summaries-included".into(), "true".into());
        }
        summaries
    }

    /// The summary's entries without the operation. Totals that the parent does not state cannot be
    /// derived and are left out.
    ///
    /// `changed-partition-count` is always there, and counts what is not partitioned as one partition,
    /// both as in the Java implementation.
    pub(super) fn build(
        &self,
        context: &SummaryContext<'_>,
        partition_name: impl Fn(i32, &Struct) -> Option<String>,
    ) -> HashMap<String, String> {
        let mut summary: HashMap<String, String> = self
            .all
            .entries()
            .into_iter()
            .map(|(key, count)| (key.to_string(), count.to_string()))
            .collect();
        summary.insert(
            "changed-partition-count".to_string(),
            self.partitions.len().to_string(),
        );
        summary.extend(self.of_partitions(context.partition_limit, partition_name));
        let Changes { added, removed } = &self.all;
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
            let total = match context.parent {
                // Everything that was there is removed, so what was added is the total.
                _ if context.emptied => Some(plus),
                None => Some(plus),
                Some(parent) => parent
                    .summary()
                    .additional_properties
                    .get(key)
                    .and_then(|text| text.parse::<u64>().ok())
                    .and_then(|before| before.checked_add(plus)?.checked_sub(minus)),
            };
            if let Some(total) = total {
                summary.insert(key.to_string(), total.to_string());
            }
        }
        let identity = context.environment.identity();
        for (key, value) in [
            ("engine-name", "berglake"),
            ("engine-version", env!("CARGO_PKG_VERSION")),
            ("berglake.application", identity.application.as_str()),
            ("berglake.principal", identity.principal.as_str()),
        ] {
            summary.insert(key.to_string(), value.to_string());
        }
        summary.extend(
            context
                .notes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        summary
    }
}
