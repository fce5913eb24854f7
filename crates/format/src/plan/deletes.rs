//! Which delete files apply to which data file (specification, "Scan Planning").
//!
//! | delete file | applies to data files | of sequence number |
//! |---|---|---|
//! | deletion vector | that it references; position-delete files of that file are superseded | ≤ its own |
//! | position deletes of one file (`referenced_data_file`, or equal bounds of the path) | that file | ≤ its own |
//! | other position deletes | of the same spec and partition, within the bounds of the path | ≤ its own |
//! | equality deletes | of the same spec and partition; all, where its spec is unpartitioned | < its own |
//!
//! A spec of nothing but void fields is unpartitioned: that is what dropping the partition fields of
//! a version 1 table leaves.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, Literal, PrimitiveLiteral, Struct,
    TableMetadata,
};

use super::{DeleteFile, Loaded, ScanTask, sequence_number};
use crate::evaluate::FileFilter;
use crate::storage::normalize;
use crate::{Error, Result};

/// Spec and partition values, in a form in which equal partitions are equal.
type PartitionKey = (i32, Struct);

/// The live delete files of a snapshot, by what they apply to. Paths are in their normal spelling.
pub(super) struct DeleteIndex {
    vectors: HashMap<String, Arc<DeleteFile>>,
    by_file: HashMap<String, Vec<Arc<DeleteFile>>>,
    by_partition: HashMap<PartitionKey, Vec<Arc<DeleteFile>>>,
    equality: HashMap<PartitionKey, Vec<Arc<DeleteFile>>>,
    global_equality: Vec<Arc<DeleteFile>>,
}

impl DeleteIndex {
    /// Indexes the delete files of these manifests. Files of partitions that the filter excludes are
    /// left out: their data files are not read either.
    pub(super) fn new(
        metadata: &TableMetadata,
        filter: &FileFilter,
        manifests: &[Loaded],
    ) -> Result<Self> {
        let mut index = Self {
            vectors: HashMap::new(),
            by_file: HashMap::new(),
            by_partition: HashMap::new(),
            equality: HashMap::new(),
            global_equality: Vec::new(),
        };
        for (manifest, entries) in manifests {
            let spec_id = manifest.partition_spec_id;
            let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
                Error::corrupt("a manifest has a partition spec that the table does not have")
                    .with("path", &manifest.manifest_path)
                    .with("spec", spec_id)
            })?;
            let global = spec.is_unpartitioned();
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                let file = &entry.data_file;
                if !global && !filter.partition_may_match(spec_id, file.partition()) {
                    continue;
                }
                let delete = Arc::new(DeleteFile {
                    file: file.clone(),
                    spec_id,
                    sequence_number: sequence_number(manifest, entry)?,
                });
                index
                    .add(spec_id, global, delete)
                    .map_err(|error| error.with("manifest", &manifest.manifest_path))?;
            }
        }
        Ok(index)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.vectors.is_empty()
            && self.by_file.is_empty()
            && self.by_partition.is_empty()
            && self.equality.is_empty()
            && self.global_equality.is_empty()
    }

    /// `global` says that the delete file's spec is unpartitioned.
    fn add(&mut self, spec_id: i32, global: bool, delete: Arc<DeleteFile>) -> Result<()> {
        let file = &delete.file;
        match (file.content_type(), file.file_format()) {
            (DataContentType::PositionDeletes, DataFileFormat::Puffin) => {
                let path = file.referenced_data_file().ok_or_else(|| {
                    Error::corrupt("a deletion vector references no data file")
                        .with("path", file.file_path())
                })?;
                let target = normalize(&path);
                if let Some(other) = self.vectors.insert(target, delete.clone()) {
                    return Err(Error::corrupt("a data file has two deletion vectors")
                        .with("data-file", path)
                        .with("path", delete.file.file_path())
                        .with("other", other.file.file_path()));
                }
            }
            (DataContentType::PositionDeletes, _) => match target_of(file) {
                Some(path) => self
                    .by_file
                    .entry(normalize(&path))
                    .or_default()
                    .push(delete),
                None => self
                    .by_partition
                    .entry(partition_key(spec_id, file))
                    .or_default()
                    .push(delete),
            },
            (DataContentType::EqualityDeletes, _) if global => {
                self.global_equality.push(delete);
            }
            (DataContentType::EqualityDeletes, _) => self
                .equality
                .entry(partition_key(spec_id, file))
                .or_default()
                .push(delete),
            (DataContentType::Data, _) => {
                return Err(Error::corrupt("a manifest of deletes names a data file")
                    .with("path", file.file_path()));
            }
        }
        Ok(())
    }

    /// Gives the task the delete files that apply to its data file.
    pub(super) fn apply_to(&self, task: &mut ScanTask) -> Result<()> {
        let path = normalize(task.file.file_path());
        let key = partition_key(task.spec_id, &task.file);
        let sequence = task.sequence_number;

        let vector = self
            .vectors
            .get(&path)
            .filter(|vector| vector.sequence_number >= sequence);
        if let Some(vector) = vector {
            task.position_deletes.push(vector.clone());
        } else {
            let of_file = self.by_file.get(&path).into_iter().flatten();
            let of_partition = self
                .by_partition
                .get(&key)
                .into_iter()
                .flatten()
                .filter(|delete| may_name(&delete.file, task.file.file_path()));
            task.position_deletes.extend(
                of_file
                    .chain(of_partition)
                    .filter(|delete| delete.sequence_number >= sequence)
                    .cloned(),
            );
        }
        let of_partition = self.equality.get(&key).into_iter().flatten();
        task.equality_deletes.extend(
            of_partition
                .chain(&self.global_equality)
                .filter(|delete| delete.sequence_number > sequence)
                .cloned(),
        );
        Ok(())
    }
}

/// The one data file that a position-delete file is about, where metadata says so.
pub(crate) fn target_of(delete: &DataFile) -> Option<String> {
    if let Some(path) = delete.referenced_data_file() {
        return Some(path);
    }
    match (
        bound_text(delete.lower_bounds()),
        bound_text(delete.upper_bounds()),
    ) {
        (Some(lower), Some(upper)) if lower == upper => Some(lower.to_string()),
        _ => None,
    }
}

fn bound_text(bounds: &HashMap<i32, Datum>) -> Option<&str> {
    match bounds.get(&RESERVED_FIELD_ID_DELETE_FILE_PATH)?.literal() {
        PrimitiveLiteral::String(path) => Some(path),
        _ => None,
    }
}

/// Whether the bounds of a position-delete file leave room for this path.
///
/// Bounds are cut texts in whatever spelling the writer used, so they are only believed where all
/// three begin alike up to the bucket and nothing in them would be respelled.
fn may_name(delete: &DataFile, path: &str) -> bool {
    // The length of scheme and slashes, none where the rest has doubled slashes.
    let root = |text: &str| {
        let rest = text.split_once(':').map_or(text, |(_, rest)| rest);
        let rest = rest.trim_start_matches('/');
        (!rest.contains("//")).then(|| text.len() - rest.len())
    };
    let comparable = |bound: &str| {
        root(bound).is_some_and(|end| {
            root(path) == Some(end) && bound.as_bytes().get(..end) == path.as_bytes().get(..end)
        })
    };
    let lower = bound_text(delete.lower_bounds());
    let upper = bound_text(delete.upper_bounds());
    let below = lower.is_some_and(|lower| comparable(lower) && path < lower);
    let above = upper.is_some_and(|upper| comparable(upper) && path > upper);
    !below && !above
}

/// Types of partition fields may be promoted between two manifests, so values are compared in their
/// widest form.
fn partition_key(spec_id: i32, file: &DataFile) -> PartitionKey {
    let widened = file.partition().iter().map(|value| {
        value.map(|value| match value {
            Literal::Primitive(PrimitiveLiteral::Int(v)) => Literal::long(i64::from(*v)),
            Literal::Primitive(PrimitiveLiteral::Float(v)) => Literal::double(f64::from(v.0)),
            other => other.clone(),
        })
    });
    (spec_id, widened.collect())
}
