//! Writes the manifests and the manifest list of one new snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntry,
    ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation,
    PartitionSpecRef, Snapshot, SnapshotReference, SnapshotRetention, StructType, Summary,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::manifests::rebuild;
use super::removals::Removals;
use super::summary::SummaryBuilder;
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Mark, PlannedChange, TableChange};
use crate::partition::widened;
use crate::plan::{Loaded, load_manifests, manifest_list};
use crate::storage::Location;
use crate::write::WrittenFile;
use crate::{Error, Result, Table, failpoint};

/// Files of one manifest, at most: about 8 MiB of Avro, as other engines target.
const ENTRIES_PER_MANIFEST: usize = 20_000;
/// Manifests of the parent that are held in memory at the same time.
const MANIFESTS_HELD: usize = 64;
/// Manifests that are written at the same time.
const WRITTEN_AT_ONCE: usize = 8;

/// A file that the snapshot adds.
#[derive(Debug, Clone)]
struct NewFile {
    file: DataFile,
    /// Its data sequence number, where it does not inherit that of the snapshot.
    sequence_number: Option<i64>,
}

/// What became of a manifest from which files were removed.
enum Filtered {
    /// None of its files was.
    Same(ManifestFile),
    /// It is written anew, and says which are gone.
    Other(Box<ManifestWriter>),
    /// It had no live file.
    Empty,
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
    /// The types of partition values by spec, as the table has them now.
    types: HashMap<i32, Arc<StructType>>,
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
            types: HashMap::new(),
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
            let file = self.with_types_of_now(file, spec_id)?;
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
            let file = self.with_types_of_now(file, spec_id)?;
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
            let older = manifest_list(base, parent).await?;
            manifests.extend(self.without(older, removals).await?);
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

    /// These manifests without the removed files, in their order.
    async fn without(
        &mut self,
        manifests: Vec<ManifestFile>,
        removals: &Removals,
    ) -> Result<Vec<ManifestFile>> {
        let metadata = self.base.metadata().clone();
        let (mut kept, mut concerned) = (Vec::with_capacity(manifests.len()), Vec::new());
        for (at, manifest) in manifests.into_iter().enumerate() {
            let is_live = manifest.has_added_files() || manifest.has_existing_files();
            if !is_live && !removals.none() {
                // It only records what an earlier snapshot removed.
            } else if removals.concerns(&manifest, &metadata) {
                concerned.push((at, manifest));
            } else {
                kept.push((at, manifest));
            }
        }
        for part in concerned.chunks(MANIFESTS_HELD) {
            let files = part.iter().map(|(_, manifest)| manifest.clone()).collect();
            let loaded = load_manifests(self.base, files).await?;
            let mut writers = Vec::new();
            for ((at, _), loaded) in part.iter().zip(loaded) {
                match self.filter(loaded, removals)? {
                    Filtered::Same(manifest) => kept.push((*at, manifest)),
                    Filtered::Other(writer) => writers.push((*at, writer)),
                    Filtered::Empty => {}
                }
            }
            let written = stream::iter(writers)
                .map(|(at, writer)| async move {
                    let manifest = writer.write_manifest_file().await?;
                    Ok::<_, iceberg::Error>((at, manifest))
                })
                .buffered(WRITTEN_AT_ONCE)
                .try_collect::<Vec<_>>();
            kept.extend(written.await.map_err(|error| self.error(error))?);
        }
        kept.sort_by_key(|(at, _)| *at);
        Ok(kept.into_iter().map(|(_, manifest)| manifest).collect())
    }

    /// A manifest without the removed files.
    fn filter(&mut self, (manifest, entries): Loaded, removals: &Removals) -> Result<Filtered> {
        let live: Vec<&Arc<ManifestEntry>> =
            entries.iter().filter(|entry| entry.is_alive()).collect();
        if live.is_empty() {
            return Ok(Filtered::Empty);
        }
        if !live.iter().any(|entry| removals.covers(entry.data_file())) {
            return Ok(Filtered::Same(manifest));
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
            let removed = removals.covers(entry.data_file());
            let file = self.with_types_of_now(entry.data_file().clone(), spec_id)?;
            let result = if removed {
                self.summary.removed(&file, spec_id);
                writer.add_delete_file(file, sequence, file_sequence)
            } else {
                let added_by = entry.snapshot_id().ok_or_else(missing)?;
                writer.add_existing_file(file, added_by, sequence, file_sequence)
            };
            result.map_err(|error| self.error(error))?;
        }
        Ok(Filtered::Other(Box::new(writer)))
    }

    fn spec(&self, spec_id: i32) -> Result<&PartitionSpecRef> {
        let spec = self.base.metadata().partition_spec_by_id(spec_id);
        spec.ok_or_else(|| {
            Error::corrupt("the table has no such partition spec")
                .with("table", self.base.ident())
                .with("spec-id", spec_id)
        })
    }

    /// The file with its partition values in the types that the manifest writer takes: a column may
    /// have been widened since the file was written, by us or by another engine.
    fn with_types_of_now(&mut self, file: DataFile, spec_id: i32) -> Result<DataFile> {
        let types = match self.types.get(&spec_id) {
            Some(types) => types.clone(),
            None => {
                let spec = self.spec(spec_id)?;
                let types = spec.partition_type(self.base.schema());
                let types = Arc::new(types.map_err(|error| self.error(error))?);
                self.types.insert(spec_id, types.clone());
                types
            }
        };
        match widened(file.partition(), &types) {
            None => Ok(file),
            Some(partition) => rebuild(&file, spec_id, |file| {
                file.partition(partition);
            }),
        }
    }

    fn manifest_writer(
        &mut self,
        spec_id: i32,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let metadata = self.base.metadata();
        let spec = self.spec(spec_id)?.as_ref().clone();
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
