//! Which files a new snapshot no longer has, and which manifests may name them.

use std::collections::{HashMap, HashSet};

use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, ManifestContentType, ManifestFile, Struct,
    TableMetadata,
};

use super::CommitNotes;
use crate::evaluate::may_hold;
use crate::plan::target_of;
use crate::storage::normalize;
use crate::{Error, Result, Table};

/// Live files that the snapshot no longer has.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// All data files and all delete files.
    pub(super) everything: bool,
    data_files: HashSet<String>,
    vectors_of: HashSet<String>,
    delete_files: HashSet<DeleteKey>,
    /// The partitions of the data files, by spec. A delete file that applies to one data file alone is
    /// in the same partition (specification, "Scan Planning"), so that these are its partitions, too.
    partitions: Partitions,
    /// Partitions that lose all their files, by spec.
    dropped: Partitions,
}

/// Partition values by spec.
type Partitions = HashMap<i32, HashSet<Struct>>;

/// What tells delete files apart: many deletion vectors share one Puffin file.
pub(super) type DeleteKey = (String, Option<i64>);

/// The key of a delete file.
pub(super) fn delete_key(file: &DataFile) -> DeleteKey {
    (normalize(file.file_path()), file.content_offset())
}

impl Removals {
    /// Removes all data files whose rows match a filter, and the delete files that apply to them alone.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where a file matches only partly; errors of the
    /// storage.
    pub(super) async fn matching(
        base: &Table,
        notes: &CommitNotes,
        filter: &Predicate,
    ) -> Result<Self> {
        let mut removals = Self::default();
        if *filter == Predicate::AlwaysTrue {
            removals.everything = true;
            return Ok(removals);
        }
        let plan = notes.scan(base).filter(filter.clone()).plan().await?;
        for task in &plan.tasks {
            if task.residual != Predicate::AlwaysTrue {
                return Err(Error::invalid(
                    "the filter matches some rows of a file and not others, and only whole files can be removed",
                )
                .with("path", task.file.file_path())
                .with("filter", filter)
                .help("filter by whole partitions, or delete the rows first"));
            }
            removals.data_file(&task.file, task.spec_id);
        }
        Ok(removals)
    }

    /// Removes a data file, and the delete files that apply to it alone.
    pub(super) fn data_file(&mut self, file: &DataFile, spec_id: i32) {
        self.data_files.insert(normalize(file.file_path()));
        add(&mut self.partitions, file.partition(), spec_id);
    }

    /// Removes all data files and all delete files of a partition. Its values are in the types of now.
    pub(super) fn partition(&mut self, partition: &Struct, spec_id: i32) {
        add(&mut self.dropped, partition, spec_id);
    }

    /// Removes the deletion vector of a data file, which this one takes the place of.
    pub(super) fn vector_of(&mut self, data_file: &str, vector: &DataFile, spec_id: i32) {
        self.vectors_of.insert(normalize(data_file));
        add(&mut self.partitions, vector.partition(), spec_id);
    }

    /// Removes a delete file, whatever it applies to.
    pub(super) fn delete_file(&mut self, file: &DataFile) {
        self.delete_files.insert(delete_key(file));
    }

    /// Whether nothing is removed.
    pub(super) fn none(&self) -> bool {
        !self.everything
            && self.data_files.is_empty()
            && self.vectors_of.is_empty()
            && self.delete_files.is_empty()
            && self.dropped.is_empty()
    }

    /// Whether the manifest may name a file that is removed. Most do not: an upsert replaces the
    /// vectors of few files, and the others of the table need not be read for that.
    pub(super) fn concerns(&self, manifest: &ManifestFile, metadata: &TableMetadata) -> bool {
        if self.everything || may_name(manifest, &self.dropped, metadata) {
            return true;
        }
        let in_partitions = || may_name(manifest, &self.partitions, metadata);
        match manifest.content {
            ManifestContentType::Data => !self.data_files.is_empty() && in_partitions(),
            // Where a delete file is that may apply to many data files is not known.
            ManifestContentType::Deletes => {
                !self.delete_files.is_empty()
                    || ((!self.data_files.is_empty() || !self.vectors_of.is_empty())
                        && in_partitions())
            }
        }
    }

    /// Whether this file of this spec is removed. The partition is its own, with values in the types
    /// of now.
    pub(super) fn covers(&self, file: &DataFile, partition: &Struct, spec_id: i32) -> bool {
        if self.everything {
            return true;
        }
        let dropped = self.dropped.get(&spec_id);
        if dropped.is_some_and(|dropped| dropped.contains(partition)) {
            return true;
        }
        if file.content_type() != DataContentType::Data
            && !self.delete_files.is_empty()
            && self.delete_files.contains(&delete_key(file))
        {
            return true;
        }
        match file.content_type() {
            DataContentType::Data => self.data_files.contains(&normalize(file.file_path())),
            DataContentType::PositionDeletes => target_of(file)
                .map(|path| normalize(&path))
                .is_some_and(|path| {
                    self.data_files.contains(&path)
                        || (file.file_format() == DataFileFormat::Puffin
                            && self.vectors_of.contains(&path))
                }),
            DataContentType::EqualityDeletes => false,
        }
    }
}

fn add(partitions: &mut Partitions, partition: &Struct, spec_id: i32) {
    let partitions = partitions.entry(spec_id).or_default();
    if !partitions.contains(partition) {
        partitions.insert(partition.clone());
    }
}

/// Whether the manifest may name files of these partitions.
fn may_name(manifest: &ManifestFile, partitions: &Partitions, metadata: &TableMetadata) -> bool {
    let Some(partitions) = partitions.get(&manifest.partition_spec_id) else {
        return false;
    };
    let types = metadata
        .partition_spec_by_id(manifest.partition_spec_id)
        .and_then(|spec| spec.partition_type(metadata.current_schema()).ok());
    let Some(types) = types else {
        return true;
    };
    let mut partitions = partitions.iter();
    partitions.any(|partition| may_hold(manifest, &types, partition))
}
