//! Manifests that are left to the decoder of the `iceberg` crate: those that are encrypted, and those
//! whose blocks are compressed with a codec that is not known here.

use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, Manifest, ManifestContentType, ManifestEntry,
    ManifestFile, ManifestStatus,
};

use crate::{Error, ErrorKind, Result, avro};

/// The entries of a manifest, those of deleted files too. Snapshot ids, sequence numbers and, on V3,
/// first row ids are set.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) and [`Corrupt`](crate::ErrorKind::Corrupt) with the path.
pub(crate) async fn load_entries(
    io: &FileIO,
    manifest: &ManifestFile,
) -> Result<Vec<ManifestEntry>> {
    let unreadable = |error| {
        undecodable("the manifest cannot be read", error).with("path", &manifest.manifest_path)
    };
    let (mut entries, _) = if manifest.key_metadata.is_some() {
        let loaded = manifest.load_manifest(io).await.map_err(unreadable)?;
        loaded.into_parts()
    } else {
        let input = io.new_input(&manifest.manifest_path).map_err(unreadable)?;
        let bytes = input.read().await.map_err(unreadable)?;
        avro::check(&bytes).map_err(|error| error.with("path", &manifest.manifest_path))?;
        let (mut entries, metadata) = Manifest::parse_avro(&bytes)
            .map_err(unreadable)?
            .into_parts();
        for entry in &mut entries {
            inherit(Arc::make_mut(entry), manifest);
        }
        (entries, metadata)
    };
    inherit_row_ids(manifest, &mut entries)?;
    Ok(entries.into_iter().map(Arc::unwrap_or_clone).collect())
}

/// Sets the first row ids that data files inherit from their manifest.
fn inherit_row_ids(manifest: &ManifestFile, entries: &mut [Arc<ManifestEntry>]) -> Result<()> {
    let Some(first) = manifest.first_row_id else {
        return Ok(());
    };
    if manifest.content != ManifestContentType::Data {
        return Ok(());
    }
    // Files without a first row id take theirs from the manifest's, in order (specification,
    // "First Row ID Inheritance"); files that have one do not advance the count.
    let mut next = i64::try_from(first).map_err(|_| {
        Error::corrupt("the manifest's first row id is out of range")
            .with("path", &manifest.manifest_path)
    })?;
    for entry in entries {
        let inherits = entry.status != ManifestStatus::Deleted
            && entry.data_file.content_type() == DataContentType::Data
            && entry.data_file.first_row_id().is_none();
        if inherits {
            let mut copy = ManifestEntry::clone(entry);
            copy.data_file = rebuild(&copy.data_file, manifest.partition_spec_id, |file| {
                file.first_row_id(Some(next));
            })?;
            next = next.saturating_add_unsigned(copy.data_file.record_count());
            *entry = Arc::new(copy);
        }
    }
    Ok(())
}

/// Gives an entry what it takes from the manifest list (specification, "Manifest Entry Fields" and
/// "Sequence Number Inheritance").
fn inherit(entry: &mut ManifestEntry, manifest: &ManifestFile) {
    entry.snapshot_id.get_or_insert(manifest.added_snapshot_id);
    // Version 1 has no sequence numbers, and its files are older than all that have one.
    if entry.status == ManifestStatus::Added || manifest.sequence_number == 0 {
        let own = manifest.sequence_number;
        entry.sequence_number.get_or_insert(own);
        entry.file_sequence_number.get_or_insert(own);
    }
}

/// Whatever the decoder calls unexpected is a corrupt file; what the storage said stays.
pub(super) fn undecodable(message: &str, error: iceberg::Error) -> Error {
    let error = Error::from(error);
    match error.kind() {
        ErrorKind::Internal => Error::corrupt(message).source_error(error),
        _ => error,
    }
}

/// A copy of a file with some fields changed. `DataFile` has no setters, so all fields are carried.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) if the builder misses a field.
pub(crate) fn rebuild(
    file: &DataFile,
    spec_id: i32,
    change: impl FnOnce(&mut DataFileBuilder),
) -> Result<DataFile> {
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_string())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .partition_spec_id(spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(file.first_row_id())
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(sort_order) = file.sort_order_id() {
        builder.sort_order_id(sort_order);
    }
    change(&mut builder);
    builder
        .build()
        .map_err(|error| Error::internal("a file entry cannot be rebuilt").source_error(error))
}
