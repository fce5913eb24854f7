//! Which files a new snapshot no longer has, and which manifests may name them.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, ManifestContentType, ManifestFile, Struct,
    TableMetadata,
};

use crate::evaluate::may_hold;
use crate::plan::target_of;
use crate::storage::normalize;

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
    partitions: HashMap<i32, HashSet<Struct>>,
}

/// What tells delete files apart: many deletion vectors share one Puffin file.
pub(super) type DeleteKey = (String, Option<i64>);

/// The key of a delete file.
pub(super) fn delete_key(file: &DataFile) -> DeleteKey {
    (normalize(file.file_path()), file.content_offset())
}

impl Removals {
    /// Removes a data file, and the delete files that apply to it alone.
    pub(super) fn data_file(&mut self, file: &DataFile, spec_id: i32) {
        self.data_files.insert(normalize(file.file_path()));
        self.in_partition(file, spec_id);
    }

    /// Removes the deletion vector of a data file, which this one takes the place of.
    pub(super) fn vector_of(&mut self, data_file: &str, vector: &DataFile, spec_id: i32) {
        self.vectors_of.insert(normalize(data_file));
        self.in_partition(vector, spec_id);
    }

    /// Removes a delete file, whatever it applies to.
    pub(super) fn delete_file(&mut self, file: &DataFile) {
        self.delete_files.insert(delete_key(file));
    }

    fn in_partition(&mut self, file: &DataFile, spec_id: i32) {
        let partitions = self.partitions.entry(spec_id).or_default();
        if !partitions.contains(file.partition()) {
            partitions.insert(file.partition().clone());
        }
    }

    /// Whether nothing is removed.
    pub(super) fn none(&self) -> bool {
        !self.everything
            && self.data_files.is_empty()
            && self.vectors_of.is_empty()
            && self.delete_files.is_empty()
    }

    /// Whether the manifest may name a file that is removed. Most do not: an upsert replaces the
    /// vectors of few files, and the others of the table need not be read for that.
    pub(super) fn concerns(&self, manifest: &ManifestFile, metadata: &TableMetadata) -> bool {
        if self.everything {
            return true;
        }
        match manifest.content {
            ManifestContentType::Data => {
                !self.data_files.is_empty() && self.is_in_partition(manifest, metadata)
            }
            // Where a delete file is that may apply to many data files is not known.
            ManifestContentType::Deletes => {
                !self.delete_files.is_empty()
                    || ((!self.data_files.is_empty() || !self.vectors_of.is_empty())
                        && self.is_in_partition(manifest, metadata))
            }
        }
    }

    fn is_in_partition(&self, manifest: &ManifestFile, metadata: &TableMetadata) -> bool {
        let Some(partitions) = self.partitions.get(&manifest.partition_spec_id) else {
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

    /// Whether this file is removed.
    pub(super) fn covers(&self, file: &DataFile) -> bool {
        if self.everything {
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
