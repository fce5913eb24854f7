//! The manifest list of a snapshot.

use std::sync::Arc;

use iceberg::spec::{
    FieldSummary, FormatVersion, ManifestContentType, ManifestFile, ManifestList, ManifestStatus,
    SnapshotRef, TableMetadata,
};

use super::values::{boolean, bytes, impossible, int, long, required, text, unexpected};
use super::{ManifestReader, undecodable};
use crate::avro::{self, Blocks, Container, Field, Form, Input, Shape};
use crate::storage::{Location, Storage};
use crate::{Error, Result};

/// The manifests of a snapshot, in the order of its manifest list.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) and [`Corrupt`](crate::ErrorKind::Corrupt) with the path.
pub(crate) async fn load_list(
    storage: &Storage,
    metadata: &TableMetadata,
    snapshot: &SnapshotRef,
) -> Result<Vec<ManifestFile>> {
    let path = snapshot.manifest_list();
    let file = storage.read_immutable(&Location::parse(path)?).await?;
    let version = metadata.format_version();
    let decoded = Container::open(&file).and_then(|container| match &container.blocks {
        Blocks::Read(blocks) => {
            // Snapshots from before an upgrade have no sequence number, and their lists have none either.
            let list = List::new(&container, snapshot.sequence_number() == 0)?;
            let mut manifests = Vec::new();
            for block in blocks {
                block.values(|input| {
                    manifests.push(list.manifest(input)?);
                    Ok(())
                })?;
            }
            Ok(manifests)
        }
        Blocks::Unknown => {
            avro::check(&file)?;
            let list = ManifestList::parse_with_version(&file, version)
                .map_err(|error| undecodable("the manifest list cannot be read", error))?;
            Ok(list.consume_entries().into_iter().collect())
        }
    });
    let mut manifests = decoded.map_err(|error| {
        error
            .with("path", path)
            .with("snapshot", snapshot.snapshot_id())
    })?;
    // An upgrade leaves older lists as they are. Those of format version 1 may lack counts that the later
    // ones must have.
    if version > FormatVersion::V1 && manifests.iter().any(lacks_counts) {
        let reader = ManifestReader::new(storage.clone(), metadata);
        for manifest in manifests
            .iter_mut()
            .filter(|manifest| lacks_counts(manifest))
        {
            count(&reader, manifest).await?;
        }
    }
    Ok(manifests)
}

/// How the manifests in a list are found (specification, "Manifest Lists").
struct List {
    fields: Vec<(ListField, Arc<Shape>)>,
    /// Whether manifests need no sequence number.
    unnumbered: bool,
}

enum ListField {
    Path,
    Length,
    SpecId,
    Content,
    SequenceNumber,
    MinSequenceNumber,
    AddedSnapshotId,
    AddedFiles,
    ExistingFiles,
    DeletedFiles,
    AddedRows,
    ExistingRows,
    DeletedRows,
    Partitions(Vec<(SummaryField, Arc<Shape>)>),
    KeyMetadata,
    FirstRowId,
    Other,
}

enum SummaryField {
    ContainsNull,
    ContainsNan,
    LowerBound,
    UpperBound,
    Other,
}

impl List {
    fn new(container: &Container, unnumbered: bool) -> Result<Self> {
        let shape = container.shape()?;
        let Form::Record(fields) = &shape.form else {
            return Err(Error::corrupt("the manifests of the list are no records"));
        };
        let fields = fields
            .iter()
            .map(|field| Ok((ListField::of(field)?, field.shape.clone())));
        Ok(Self {
            fields: fields.collect::<Result<_>>()?,
            unnumbered,
        })
    }

    fn manifest(&self, input: &mut Input<'_>) -> Result<ManifestFile> {
        let mut found = ManifestFile {
            manifest_path: String::new(),
            manifest_length: 0,
            partition_spec_id: 0,
            content: ManifestContentType::Data,
            sequence_number: 0,
            min_sequence_number: 0,
            added_snapshot_id: 0,
            added_files_count: None,
            existing_files_count: None,
            deleted_files_count: None,
            added_rows_count: None,
            existing_rows_count: None,
            deleted_rows_count: None,
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        };
        let (mut path, mut length, mut spec, mut snapshot) = (None, None, None, None);
        let (mut sequence, mut least) = (None, None);
        for (field, shape) in &self.fields {
            match field {
                // No place is none.
                ListField::Path => path = text(input, shape)?.filter(|path| !path.is_empty()),
                ListField::Length => length = long(input, shape)?,
                ListField::SpecId => spec = int(input, shape)?,
                ListField::Content => {
                    let content = int(input, shape)?.unwrap_or_default();
                    found.content = content.try_into().map_err(impossible)?;
                }
                ListField::SequenceNumber => sequence = long(input, shape)?,
                ListField::MinSequenceNumber => least = long(input, shape)?,
                ListField::AddedSnapshotId => snapshot = long(input, shape)?,
                ListField::AddedFiles => found.added_files_count = files(input, shape)?,
                ListField::ExistingFiles => found.existing_files_count = files(input, shape)?,
                ListField::DeletedFiles => found.deleted_files_count = files(input, shape)?,
                ListField::AddedRows => found.added_rows_count = natural(input, shape)?,
                ListField::ExistingRows => found.existing_rows_count = natural(input, shape)?,
                ListField::DeletedRows => found.deleted_rows_count = natural(input, shape)?,
                ListField::Partitions(fields) => {
                    found.partitions = summaries(input, shape, fields)?;
                }
                ListField::KeyMetadata => {
                    found.key_metadata = bytes(input, shape)?.map(<[u8]>::to_vec);
                }
                ListField::FirstRowId => found.first_row_id = natural(input, shape)?,
                ListField::Other => input.skip(shape)?,
            }
        }
        let number = |number: Option<i64>, field| match number {
            None if self.unnumbered => Ok(0),
            number => required(number, field),
        };
        Ok(ManifestFile {
            manifest_path: required(path, "manifest_path")?.to_string(),
            manifest_length: required(length, "manifest_length")?,
            partition_spec_id: required(spec, "partition_spec_id")?,
            added_snapshot_id: required(snapshot, "added_snapshot_id")?,
            sequence_number: number(sequence, "sequence_number")?,
            min_sequence_number: number(least, "min_sequence_number")?,
            ..found
        })
    }
}

impl ListField {
    fn of(field: &Field) -> Result<Self> {
        Ok(match (field.id, &field.name[..]) {
            (Some(500), _) | (None, "manifest_path") => Self::Path,
            (Some(501), _) | (None, "manifest_length") => Self::Length,
            (Some(502), _) | (None, "partition_spec_id") => Self::SpecId,
            (Some(517), _) | (None, "content") => Self::Content,
            (Some(515), _) | (None, "sequence_number") => Self::SequenceNumber,
            (Some(516), _) | (None, "min_sequence_number") => Self::MinSequenceNumber,
            (Some(503), _) | (None, "added_snapshot_id") => Self::AddedSnapshotId,
            // The counts had other names in version 1.
            (Some(504), _) | (None, "added_files_count" | "added_data_files_count") => {
                Self::AddedFiles
            }
            (Some(505), _) | (None, "existing_files_count" | "existing_data_files_count") => {
                Self::ExistingFiles
            }
            (Some(506), _) | (None, "deleted_files_count" | "deleted_data_files_count") => {
                Self::DeletedFiles
            }
            (Some(512), _) | (None, "added_rows_count") => Self::AddedRows,
            (Some(513), _) | (None, "existing_rows_count") => Self::ExistingRows,
            (Some(514), _) | (None, "deleted_rows_count") => Self::DeletedRows,
            (Some(507), _) | (None, "partitions") => Self::Partitions(Self::summary(field)?),
            (Some(519), _) | (None, "key_metadata") => Self::KeyMetadata,
            (Some(520), _) | (None, "first_row_id") => Self::FirstRowId,
            _ => Self::Other,
        })
    }

    /// The fields of a partition summary, which is an item of an array that may be NULL.
    fn summary(field: &Field) -> Result<Vec<(SummaryField, Arc<Shape>)>> {
        let shapes = match &field.shape.form {
            Form::Union(variants) => variants.as_slice(),
            _ => std::slice::from_ref(&field.shape),
        };
        let item = shapes.iter().find_map(|shape| match &shape.form {
            Form::Array(item) => Some(item),
            _ => None,
        });
        let Some(Form::Record(fields)) = item.map(|item| &item.form) else {
            return Err(unexpected("an array of partition summaries"));
        };
        let fields = fields.iter().map(|field| {
            let found = match (field.id, &field.name[..]) {
                (Some(509), _) | (None, "contains_null") => SummaryField::ContainsNull,
                (Some(518), _) | (None, "contains_nan") => SummaryField::ContainsNan,
                (Some(510), _) | (None, "lower_bound") => SummaryField::LowerBound,
                (Some(511), _) | (None, "upper_bound") => SummaryField::UpperBound,
                _ => SummaryField::Other,
            };
            (found, field.shape.clone())
        });
        Ok(fields.collect())
    }
}

fn summaries(
    input: &mut Input<'_>,
    shape: &Shape,
    fields: &[(SummaryField, Arc<Shape>)],
) -> Result<Option<Vec<FieldSummary>>> {
    match &input.variant(shape)?.form {
        Form::Null => return Ok(None),
        Form::Array(_) => {}
        _ => return Err(unexpected("an array of partition summaries")),
    }
    let mut found = Vec::new();
    input.items(|input| {
        let mut contains_null = None;
        let mut summary = FieldSummary::default();
        for (field, shape) in fields {
            match field {
                SummaryField::ContainsNull => contains_null = boolean(input, shape)?,
                SummaryField::ContainsNan => summary.contains_nan = boolean(input, shape)?,
                SummaryField::LowerBound => {
                    summary.lower_bound = bytes(input, shape)?.map(|bound| bound.to_vec().into());
                }
                SummaryField::UpperBound => {
                    summary.upper_bound = bytes(input, shape)?.map(|bound| bound.to_vec().into());
                }
                SummaryField::Other => input.skip(shape)?,
            }
        }
        summary.contains_null = required(contains_null, "contains_null")?;
        found.push(summary);
        Ok(())
    })?;
    Ok(Some(found))
}

fn natural(input: &mut Input<'_>, shape: &Shape) -> Result<Option<u64>> {
    let number = long(input, shape)?.map(u64::try_from).transpose();
    number.map_err(|error| {
        Error::corrupt("a count of the manifest list is negative").source_error(error)
    })
}

fn files(input: &mut Input<'_>, shape: &Shape) -> Result<Option<u32>> {
    let number = int(input, shape)?.map(u32::try_from).transpose();
    number.map_err(|error| {
        Error::corrupt("a count of the manifest list is negative").source_error(error)
    })
}

fn lacks_counts(manifest: &ManifestFile) -> bool {
    let files = [
        manifest.added_files_count,
        manifest.existing_files_count,
        manifest.deleted_files_count,
    ];
    let rows = [
        manifest.added_rows_count,
        manifest.existing_rows_count,
        manifest.deleted_rows_count,
    ];
    files.iter().any(Option::is_none) || rows.iter().any(Option::is_none)
}

/// Counts what a manifest of format version 1 was listed without. Lists of later versions must have it.
async fn count(reader: &ManifestReader, manifest: &mut ManifestFile) -> Result<()> {
    let (mut files, mut rows) = ([0_u32; 3], [0_u64; 3]);
    for entry in reader.entries(manifest).await? {
        let at = match entry.status() {
            ManifestStatus::Added => 0,
            ManifestStatus::Existing => 1,
            ManifestStatus::Deleted => 2,
        };
        files[at] += 1;
        rows[at] = rows[at].saturating_add(entry.record_count());
    }
    let [added, existing, deleted] = files;
    manifest.added_files_count.get_or_insert(added);
    manifest.existing_files_count.get_or_insert(existing);
    manifest.deleted_files_count.get_or_insert(deleted);
    let [added, existing, deleted] = rows;
    manifest.added_rows_count.get_or_insert(added);
    manifest.existing_rows_count.get_or_insert(existing);
    manifest.deleted_rows_count.get_or_insert(deleted);
    Ok(())
}
