//! Writes the manifests and the manifest list of one new snapshot.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, FormatVersion, MAIN_BRANCH, ManifestContentType,
    ManifestEntry, ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder,
    Operation, PartitionSpec, Snapshot, SnapshotReference, SnapshotRetention, Summary,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::manifests::{load_entries, load_list};
use super::summary::SummaryBuilder;
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Mark, PlannedChange, TableChange};
use crate::plan::target_of;
use crate::storage::{Location, normalize};
use crate::write::WrittenFile;
use crate::{Error, Result, Table, failpoint};

/// Files of one manifest, at most: about 8 MiB of Avro, as other engines target.
const ENTRIES_PER_MANIFEST: usize = 20_000;

/// Live files that the snapshot no longer has.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// All data files and all delete files.
    pub(super) everything: bool,
    data_files: HashSet<String>,
    vectors_of: HashSet<String>,
    delete_files: HashSet<DeleteKey>,
}

/// What tells delete files apart: many deletion vectors share one Puffin file.
pub(super) type DeleteKey = (String, Option<i64>);

/// The key of a delete file.
pub(super) fn delete_key(file: &DataFile) -> DeleteKey {
    (normalize(file.file_path()), file.content_offset())
}

impl Removals {
    /// Removes a data file, and the delete files that apply to it alone.
    pub(super) fn data_file(&mut self, path: &str) {
        self.data_files.insert(normalize(path));
    }

    /// Removes the deletion vector of a data file.
    pub(super) fn vector_of(&mut self, data_file: &str) {
        self.vectors_of.insert(normalize(data_file));
    }

    /// Removes a delete file, whatever it applies to.
    pub(super) fn delete_file(&mut self, file: &DataFile) {
        self.delete_files.insert(delete_key(file));
    }

    fn none(&self) -> bool {
        !self.everything
            && self.data_files.is_empty()
            && self.vectors_of.is_empty()
            && self.delete_files.is_empty()
    }

    fn concerns(&self, manifest: &ManifestFile) -> bool {
        match manifest.content {
            ManifestContentType::Data => self.everything || !self.data_files.is_empty(),
            ManifestContentType::Deletes => !self.none(),
        }
    }

    fn covers(&self, file: &DataFile) -> bool {
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

/// A file that the snapshot adds.
#[derive(Debug, Clone)]
struct NewFile {
    file: DataFile,
    /// Its data sequence number, where it does not inherit that of the snapshot.
    sequence_number: Option<i64>,
}

/// Collects the files of one new snapshot of `main` and writes its metadata.
pub(super) struct Producer<'a> {
    base: &'a Table,
    next: NextSnapshot,
    operation: Operation,
    io: FileIO,
    folder: Location,
    attempt: Uuid,
    data: BTreeMap<i32, Vec<NewFile>>,
    deletes: BTreeMap<i32, Vec<NewFile>>,
    summary: SummaryBuilder,
    written: Vec<String>,
}

impl<'a> Producer<'a> {
    pub(super) fn new(base: &'a Table, next: NextSnapshot, operation: Operation) -> Result<Self> {
        if base.metadata().format_version() < FormatVersion::V2 {
            return Err(
                Error::unsupported("tables of format version 1 are read, not written")
                    .with("table", base.ident())
                    .help("upgrade the table to format version 2 with an engine that can"),
            );
        }
        Ok(Self {
            base,
            next,
            operation,
            io: base.storage().file_io(),
            folder: base.metadata_folder()?,
            attempt: base.environment().ids().uuid(),
            data: BTreeMap::new(),
            deletes: BTreeMap::new(),
            summary: SummaryBuilder::default(),
            written: Vec::new(),
        })
    }

    pub(super) fn add_data(&mut self, files: impl IntoIterator<Item = WrittenFile>) -> Result<()> {
        self.add_data_of(files, None)
    }

    /// Adds data files with the rows of older files: deletes that are newer than this sequence
    /// number apply to them.
    pub(super) fn add_rewritten(
        &mut self,
        files: impl IntoIterator<Item = WrittenFile>,
        sequence_number: i64,
    ) -> Result<()> {
        self.add_data_of(files, Some(sequence_number))
    }

    fn add_data_of(
        &mut self,
        files: impl IntoIterator<Item = WrittenFile>,
        sequence_number: Option<i64>,
    ) -> Result<()> {
        for WrittenFile { file, spec_id } in files {
            if file.content_type() != DataContentType::Data {
                return Err(Error::invalid("a delete file was given as a data file")
                    .with("path", file.file_path()));
            }
            self.summary.added(&file, spec_id);
            self.data.entry(spec_id).or_default().push(NewFile {
                file,
                sequence_number,
            });
        }
        Ok(())
    }

    pub(super) fn add_deletes(
        &mut self,
        files: impl IntoIterator<Item = WrittenFile>,
    ) -> Result<()> {
        for WrittenFile { file, spec_id } in files {
            if file.content_type() == DataContentType::Data {
                return Err(Error::invalid("a data file was given as a delete file")
                    .with("path", file.file_path()));
            }
            self.summary.added(&file, spec_id);
            self.deletes.entry(spec_id).or_default().push(NewFile {
                file,
                sequence_number: None,
            });
        }
        Ok(())
    }

    /// Writes manifests and manifest list, and plans the change.
    pub(super) async fn finish(
        mut self,
        notes: &CommitNotes,
        removals: Removals,
    ) -> Result<PlannedChange> {
        let result = self.write(notes, &removals).await;
        if result.is_err() {
            // What was written so far belongs to nobody.
            for path in &self.written {
                if let Ok(location) = Location::parse(path) {
                    self.base.storage().delete(&location).await.ok();
                }
            }
        }
        result
    }

    async fn write(&mut self, notes: &CommitNotes, removals: &Removals) -> Result<PlannedChange> {
        let base = self.base;
        let metadata = base.metadata().clone();
        let parent = metadata.current_snapshot().cloned();

        let mut manifests = Vec::new();
        for (content, files) in [
            (ManifestContentType::Data, std::mem::take(&mut self.data)),
            (
                ManifestContentType::Deletes,
                std::mem::take(&mut self.deletes),
            ),
        ] {
            for (spec_id, files) in files {
                for chunk in files.chunks(ENTRIES_PER_MANIFEST) {
                    let mut writer = self.manifest_writer(spec_id, content)?;
                    for new in chunk {
                        // A negative number means: inherit that of the manifest.
                        writer
                            .add_file(new.file.clone(), new.sequence_number.unwrap_or(-1))
                            .map_err(|error| self.error(error))?;
                    }
                    manifests.push(
                        writer
                            .write_manifest_file()
                            .await
                            .map_err(|error| self.error(error))?,
                    );
                }
            }
        }
        if let Some(parent) = &parent {
            for manifest in load_list(base.storage(), &metadata, parent).await? {
                if !removals.concerns(&manifest) {
                    manifests.push(manifest);
                } else if let Some(kept) = self.filter(manifest, removals).await? {
                    manifests.push(kept);
                }
            }
        }

        failpoint::hit(failpoint::MANIFESTS_WRITTEN);
        let list = self
            .folder
            .join(&format!("snap-{}-1-{}.avro", self.next.id, self.attempt))
            .to_string();
        self.written.push(list.clone());
        let row_range = self.write_list(&list, parent.as_deref(), manifests).await?;
        failpoint::hit(failpoint::MANIFEST_LIST_WRITTEN);
        let summary = Summary {
            operation: self.operation.clone(),
            additional_properties: self.summary.build(
                parent.as_deref(),
                removals.everything,
                base.environment(),
                &notes.summary,
            ),
        };
        let builder = Snapshot::builder()
            .with_snapshot_id(self.next.id)
            .with_parent_snapshot_id(parent.as_ref().map(|parent| parent.snapshot_id()))
            .with_sequence_number(self.next.sequence_number)
            // Time travel needs time to run forward, whatever the writers' clocks show.
            .with_timestamp_ms(
                base.environment()
                    .clock()
                    .now_millis()
                    .max(metadata.last_updated_ms()),
            )
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id());
        let snapshot = match row_range {
            Some((first, added)) => builder.with_row_range(first, added).build(),
            None => builder.build(),
        };
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_string(),
                reference: self.main_reference()?,
            },
        ];
        if !notes.properties.is_empty() {
            updates.push(TableUpdate::SetProperties {
                updates: notes.properties.clone(),
            });
        }
        Ok(PlannedChange {
            change: TableChange {
                ident: base.ident().clone(),
                requirements: vec![
                    TableRequirement::UuidMatch {
                        uuid: metadata.uuid(),
                    },
                    TableRequirement::RefSnapshotIdMatch {
                        r#ref: MAIN_BRANCH.to_string(),
                        snapshot_id: parent.map(|parent| parent.snapshot_id()),
                    },
                ],
                updates,
            },
            mark: Mark::Snapshot(self.next.id),
            scratch: std::mem::take(&mut self.written),
        })
    }

    /// `main` keeps the retention that it has.
    fn main_reference(&self) -> Result<SnapshotReference> {
        let retention = match self.base.refs()?.remove(MAIN_BRANCH) {
            Some(main) => main.retention,
            None => SnapshotRetention::branch(None, None, None),
        };
        Ok(SnapshotReference::new(self.next.id, retention))
    }

    /// The manifest without the removed files: itself if it has none of them, nothing if no file is
    /// left and none was removed, else a new manifest that says which are gone.
    async fn filter(
        &mut self,
        manifest: ManifestFile,
        removals: &Removals,
    ) -> Result<Option<ManifestFile>> {
        if !manifest.has_added_files() && !manifest.has_existing_files() {
            return Ok(None);
        }
        let entries = load_entries(&self.io, &manifest).await?;
        let live: Vec<&Arc<ManifestEntry>> =
            entries.iter().filter(|entry| entry.is_alive()).collect();
        if !live.iter().any(|entry| removals.covers(entry.data_file())) {
            return Ok((!live.is_empty()).then_some(manifest));
        }
        let spec_id = manifest.partition_spec_id;
        let mut writer = self.manifest_writer(spec_id, manifest.content)?;
        for entry in live {
            let missing = || {
                Error::corrupt(
                    "a manifest entry has neither its own nor an inherited sequence number",
                )
                .with("path", &manifest.manifest_path)
            };
            let sequence = entry.sequence_number().ok_or_else(missing)?;
            let file_sequence = Some(entry.file_sequence_number.ok_or_else(missing)?);
            let file = entry.data_file().clone();
            let result = if removals.covers(&file) {
                self.summary.removed(&file, spec_id);
                writer.add_delete_file(file, sequence, file_sequence)
            } else {
                let added_by = entry.snapshot_id().ok_or_else(missing)?;
                writer.add_existing_file(file, added_by, sequence, file_sequence)
            };
            result.map_err(|error| self.error(error))?;
        }
        writer
            .write_manifest_file()
            .await
            .map(Some)
            .map_err(|error| self.error(error))
    }

    fn manifest_writer(
        &mut self,
        spec_id: i32,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let metadata = self.base.metadata();
        let spec: PartitionSpec = metadata
            .partition_spec_by_id(spec_id)
            .ok_or_else(|| {
                Error::corrupt("the table has no such partition spec")
                    .with("table", self.base.ident())
                    .with("spec-id", spec_id)
            })?
            .as_ref()
            .clone();
        let path = self
            .folder
            .join(&format!("{}-m{}.avro", self.attempt, self.written.len()))
            .to_string();
        let output = self.io.new_output(&path)?;
        self.written.push(path);
        let builder = ManifestWriterBuilder::new(
            output,
            Some(self.next.id),
            metadata.current_schema().clone(),
            spec,
        );
        Ok(
            match (metadata.format_version() >= FormatVersion::V3, content) {
                (false, ManifestContentType::Data) => builder.build_v2_data(),
                (false, ManifestContentType::Deletes) => builder.build_v2_deletes(),
                (true, ManifestContentType::Data) => builder.build_v3_data(),
                (true, ManifestContentType::Deletes) => builder.build_v3_deletes(),
            },
        )
    }

    /// Writes the manifest list; on V3 gives the snapshot's first row id and the rows it assigned.
    async fn write_list(
        &self,
        path: &str,
        parent: Option<&Snapshot>,
        manifests: Vec<ManifestFile>,
    ) -> Result<Option<(u64, u64)>> {
        let writer = self.io.new_output(path)?.writer().await?;
        let parent = parent.map(Snapshot::snapshot_id);
        let NextSnapshot {
            id,
            sequence_number,
        } = self.next;
        let metadata = self.base.metadata();
        let lineage = metadata.format_version() >= FormatVersion::V3;
        let first = metadata.next_row_id();
        let mut list = if lineage {
            ManifestListWriter::v3(writer, id, parent, sequence_number, Some(first))
        } else {
            ManifestListWriter::v2(writer, id, parent, sequence_number)
        };
        list.add_manifests(manifests.into_iter())
            .map_err(|error| self.error(error))?;
        let next = list.next_row_id();
        list.close().await.map_err(|error| self.error(error))?;
        Ok(match next {
            Some(next) if lineage => Some((first, next - first)),
            _ => None,
        })
    }

    fn error(&self, error: iceberg::Error) -> Error {
        Error::from(error).with("table", self.base.ident())
    }
}
