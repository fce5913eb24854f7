//! Writes the manifests and the manifest list of one new snapshot.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntry,
    ManifestFile, ManifestListWriter, Operation, PartitionSpec, PartitionSpecRef, SchemaRef,
    Snapshot, SnapshotReference, Struct, StructType, Summary,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::merge::merge;
use super::removals::Removals;
use super::summary::{SummaryBuilder, SummaryContext};
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Mark, PlannedChange, TableChange};
use crate::manifest::{ManifestWriter, rebuild, renamed};
use crate::partition::widened;
use crate::plan::{Loaded, load_manifests, manifest_list};
use crate::properties::ManifestProperties;
use crate::storage::Location;
use crate::write::{WrittenFile, partition_name};
use crate::{Error, Result, Table, failpoint};

/// Files of one manifest, at most: about 8 MiB of Avro, as other engines target.
const ENTRIES_PER_MANIFEST: usize = 20_000;
/// Manifests of the parent that are held in memory at the same time, and their bytes.
const MANIFESTS_HELD: usize = 64;
const BYTES_HELD: u64 = 64 << 20;
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

/// Collects the files of one new snapshot of a branch and writes its metadata.
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
    /// Whether the manifests of older snapshots stay as they are, if no file is removed from them.
    fast: bool,
    properties: ManifestProperties,
    /// The current schema with columns that were dropped, for specs that need these.
    with_dropped: Option<SchemaRef>,
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
            fast: false,
            properties: ManifestProperties::of(base.metadata())
                .map_err(|error| error.with("table", base.ident()))?,
            with_dropped: None,
            summary: SummaryBuilder::default(),
            written: Vec::new(),
        })
    }

    /// Leaves the manifests of older snapshots as they are, which makes the commit cheap, and lets them
    /// pile up.
    pub(super) fn fast(mut self) -> Self {
        self.fast = true;
        self
    }

    pub(super) fn base(&self) -> &'a Table {
        self.base
    }

    pub(super) fn next(&self) -> NextSnapshot {
        self.next
    }

    pub(super) fn properties(&self) -> &ManifestProperties {
        &self.properties
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
            let spec = self.spec(spec_id)?;
            self.summary.added(&file, &spec);
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
            let spec = self.spec(spec_id)?;
            self.summary.added(&file, &spec);
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
        let written = async {
            let mut manifests = self.new_manifests().await?;
            if let Some(parent) = self.base.head(notes.branch.as_deref())? {
                let older = manifest_list(self.base, parent).await?;
                let older = self.without(older, &removals).await?;
                manifests.extend(match self.fast || !self.properties.merge {
                    true => older,
                    false => merge(&mut self, older).await?,
                });
            }
            self.snapshot(notes, removals.everything, manifests).await
        };
        let result = written.await;
        if result.is_err() {
            self.discard().await;
        }
        result
    }

    /// Writes a list of these manifests, and plans the change. Together they have the files that they
    /// had at the head of the branch, no more and no less.
    pub(super) async fn finish_regrouped(
        mut self,
        notes: &CommitNotes,
        manifests: Vec<ManifestFile>,
    ) -> Result<PlannedChange> {
        let result = self.snapshot(notes, false, manifests).await;
        if result.is_err() {
            self.discard().await;
        }
        result
    }

    /// Deletes what was written so far, which belongs to nobody.
    pub(super) async fn discard(&self) {
        for path in &self.written {
            if let Ok(location) = Location::parse(path) {
                self.base.storage().delete(&location).await.ok();
            }
        }
    }

    /// The manifests of the files that are added.
    async fn new_manifests(&mut self) -> Result<Vec<ManifestFile>> {
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
                        writer
                            .add_file(&new.file, new.sequence_number)
                            .map_err(|error| self.of_table(error))?;
                    }
                    manifests.push(self.written(writer).await?);
                }
            }
        }
        Ok(manifests)
    }

    /// Writes the manifest list, and plans the change.
    async fn snapshot(
        &mut self,
        notes: &CommitNotes,
        emptied: bool,
        manifests: Vec<ManifestFile>,
    ) -> Result<PlannedChange> {
        let base = self.base;
        let metadata = base.metadata().clone();
        let parent = base.head(notes.branch.as_deref())?.cloned();
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
                &SummaryContext {
                    parent: parent.as_deref(),
                    emptied,
                    environment: base.environment(),
                    partition_limit: self.properties.summary_partition_limit,
                    notes: &notes.summary,
                },
                |spec_id, values| partition_name(base, spec_id, values).ok(),
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
        let branch = notes.branch.as_deref().unwrap_or(MAIN_BRANCH);
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: branch.to_string(),
                // The branch keeps the retention that it has.
                reference: SnapshotReference::new(self.next.id, base.retention(branch)?),
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
                        r#ref: branch.to_string(),
                        snapshot_id: parent.map(|parent| parent.snapshot_id()),
                    },
                ],
                updates,
            },
            mark: Mark::Snapshot(self.next.id),
            scratch: std::mem::take(&mut self.written),
        })
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
            let stays_dead = self.fast && removals.none();
            if !is_live && !stays_dead {
                // It only records what an earlier snapshot removed.
            } else if removals.concerns(&manifest, &metadata) {
                concerned.push((at, manifest));
            } else {
                kept.push((at, manifest));
            }
        }
        let (places, files): (Vec<_>, Vec<_>) = concerned.into_iter().unzip();
        let mut places = places.into_iter();
        for part in parts(files) {
            let mut writers = Vec::new();
            for (at, loaded) in places.by_ref().zip(self.load(part).await?) {
                match self.filter(loaded, removals)? {
                    Filtered::Same(manifest) => kept.push((at, manifest)),
                    Filtered::Other(writer) => writers.push((at, writer)),
                    Filtered::Empty => {}
                }
            }
            let storage = self.base.storage();
            let written = stream::iter(writers)
                .map(|(at, writer)| async move { Ok((at, writer.write(storage).await?)) })
                .buffered(WRITTEN_AT_ONCE)
                .try_collect::<Vec<_>>();
            kept.extend(written.await.map_err(|error: Error| self.of_table(error))?);
        }
        kept.sort_by_key(|(at, _)| *at);
        Ok(kept.into_iter().map(|(_, manifest)| manifest).collect())
    }

    /// A manifest without the removed files.
    fn filter(&mut self, (manifest, entries): Loaded, removals: &Removals) -> Result<Filtered> {
        let spec_id = manifest.partition_spec_id;
        let mut live = Vec::with_capacity(entries.len());
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let file = &entry.data_file;
            let partition = self.partition_of_now(file.partition(), spec_id)?;
            live.push((entry, removals.covers(file, &partition, spec_id)));
        }
        if live.is_empty() {
            return Ok(Filtered::Empty);
        }
        if !live.iter().any(|(_, removed)| *removed) {
            return Ok(Filtered::Same(manifest));
        }
        let spec = self.spec(spec_id)?;
        let mut writer = self.manifest_writer(spec_id, manifest.content)?;
        for (entry, removed) in live {
            if !removed {
                self.keep(&mut writer, &manifest, entry)?;
                continue;
            }
            let numbers = Numbers::of(&manifest, entry)?;
            let file = self.with_types_of_now(entry.data_file.clone(), spec_id)?;
            self.summary.removed(&file, &spec);
            writer
                .add_delete_file(&file, numbers.sequence, numbers.file_sequence)
                .map_err(|error| self.of_table(error))?;
        }
        Ok(Filtered::Other(Box::new(writer)))
    }

    /// Writes a live entry of an older manifest as it is: with all that it has inherited, and as one of
    /// another snapshot.
    pub(super) fn keep(
        &mut self,
        writer: &mut ManifestWriter,
        manifest: &ManifestFile,
        entry: &ManifestEntry,
    ) -> Result<()> {
        let numbers = Numbers::of(manifest, entry)?;
        let file = self.with_types_of_now(entry.data_file.clone(), manifest.partition_spec_id)?;
        writer
            .add_existing_file(
                &file,
                numbers.added_by,
                numbers.sequence,
                numbers.file_sequence,
            )
            .map_err(|error| self.of_table(error))
    }

    /// Manifests with all that their entries have, also of columns that were dropped.
    pub(super) async fn load(&self, manifests: Vec<ManifestFile>) -> Result<Vec<Loaded>> {
        load_manifests(self.base, manifests).await
    }

    /// Writes a manifest.
    pub(super) async fn written(&self, writer: ManifestWriter) -> Result<ManifestFile> {
        let written = writer.write(self.base.storage()).await;
        written.map_err(|error| self.of_table(error))
    }

    fn spec(&self, spec_id: i32) -> Result<PartitionSpecRef> {
        let spec = self.base.metadata().partition_spec_by_id(spec_id);
        spec.cloned().ok_or_else(|| {
            Error::corrupt("the table has no such partition spec")
                .with("table", self.base.ident())
                .with("spec-id", spec_id)
        })
    }

    /// The schema for manifests of this spec: the current one, and where that lacks a source column of
    /// the spec, with the columns that were dropped; where a column has taken the name of a partition
    /// field, without that name. Otherwise nobody could decode the manifest.
    fn schema_of(&mut self, spec: &PartitionSpec) -> SchemaRef {
        let current = self.base.schema();
        let mut sources = spec.fields().iter().map(|field| field.source_id);
        let whole = if sources.all(|id| current.field_by_id(id).is_some()) {
            current.clone()
        } else {
            let columns = self.base.manifests().columns();
            let schema = self.with_dropped.get_or_insert_with(|| {
                let completed = columns.complete(current);
                completed.map_or_else(|| current.clone(), Arc::new)
            });
            schema.clone()
        };
        renamed(&whole, spec).map_or(whole, Arc::new)
    }

    /// Whether manifests of this spec can be written so that they can be read again. They cannot where
    /// no schema has the source column of a partition field any more.
    pub(super) fn can_write(&mut self, spec_id: i32) -> bool {
        let Ok(spec) = self.spec(spec_id) else {
            return false;
        };
        let schema = self.schema_of(&spec);
        let fields = spec.fields().iter().cloned();
        let read_again = PartitionSpec::builder(schema.clone())
            .with_spec_id(spec_id)
            .add_unbound_fields(fields.map(|field| field.into_unbound()))
            .and_then(|builder| builder.build());
        read_again.is_ok()
    }

    /// The file with its partition values in the types that the manifest writer takes: a column may
    /// have been widened since the file was written, by us or by another engine.
    fn with_types_of_now(&mut self, file: DataFile, spec_id: i32) -> Result<DataFile> {
        match self.partition_of_now(file.partition(), spec_id)? {
            Cow::Borrowed(_) => Ok(file),
            Cow::Owned(partition) => rebuild(&file, spec_id, |file| {
                file.partition(partition);
            }),
        }
    }

    /// Partition values in the types that the fields of the spec have now.
    pub(super) fn partition_of_now<'p>(
        &mut self,
        partition: &'p Struct,
        spec_id: i32,
    ) -> Result<Cow<'p, Struct>> {
        let types = match self.types.get(&spec_id) {
            Some(types) => types.clone(),
            None => {
                let spec = self.spec(spec_id)?;
                let types = spec.partition_type(&self.schema_of(&spec));
                let types = Arc::new(types.map_err(|error| self.error(error))?);
                self.types.insert(spec_id, types.clone());
                types
            }
        };
        Ok(widened(partition, &types).map_or(Cow::Borrowed(partition), Cow::Owned))
    }

    pub(super) fn manifest_writer(
        &mut self,
        spec_id: i32,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let spec = self.spec(spec_id)?;
        let schema = self.schema_of(&spec);
        let place = self
            .folder
            .join(&format!("{}-m{}.avro", self.attempt, self.written.len()));
        self.written.push(place.to_string());
        let version = self.base.metadata().format_version();
        ManifestWriter::new(place, self.next.id, &schema, &spec, version, content)
            .map_err(|error| self.of_table(error))
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
        self.of_table(error.into())
    }

    fn of_table(&self, error: Error) -> Error {
        error.with("table", self.base.ident())
    }
}

/// The snapshot and the sequence numbers of an entry, its own or inherited.
struct Numbers {
    added_by: i64,
    sequence: i64,
    file_sequence: i64,
}

impl Numbers {
    fn of(manifest: &ManifestFile, entry: &ManifestEntry) -> Result<Self> {
        let missing = || {
            Error::corrupt("a manifest entry has neither its own nor an inherited sequence number")
                .with("path", &manifest.manifest_path)
        };
        Ok(Self {
            added_by: entry.snapshot_id().ok_or_else(missing)?,
            sequence: entry.sequence_number().ok_or_else(missing)?,
            file_sequence: entry.file_sequence_number.ok_or_else(missing)?,
        })
    }
}

/// These manifests, in their order, in parts that are held in memory one after the other.
pub(super) fn parts(manifests: Vec<ManifestFile>) -> Vec<Vec<ManifestFile>> {
    let mut parts: Vec<Vec<ManifestFile>> = Vec::new();
    let mut held = 0;
    for manifest in manifests {
        let bytes = u64::try_from(manifest.manifest_length).unwrap_or_default();
        match parts.last_mut() {
            Some(part) if part.len() < MANIFESTS_HELD && held + bytes <= BYTES_HELD => {
                held += bytes;
                part.push(manifest);
            }
            _ => {
                held = bytes;
                parts.push(vec![manifest]);
            }
        }
    }
    parts
}
