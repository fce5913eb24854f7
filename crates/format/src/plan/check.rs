//! What manifest lists and manifests say about each other.
//!
//! Neither has a checksum, and the container that they are in ends wherever a block ends: a file that
//! was cut there, or whose block counts less than it holds, is decoded without an error and lacks
//! files. What is written in two places is therefore compared, so that rows do not vanish without a
//! word. Only what a writer counts anew for each commit is believed here; totals of a summary are
//! carried on from snapshot to snapshot, and where they contradict a list that names files, the list
//! is right.
//!
//! What is written only once cannot be checked: a damaged path is a file that is missing, but a damaged
//! bound, partition value or sequence number in range looks like another one.

use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestEntry, ManifestFile, ManifestStatus, Snapshot,
    TableMetadata,
};

use crate::{Error, Result};

/// Checks a manifest list against its snapshot.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with the list's path.
pub(super) fn list(
    metadata: &TableMetadata,
    snapshot: &Snapshot,
    manifests: &[ManifestFile],
) -> Result<()> {
    let corrupt = |message: &str| {
        Error::corrupt(message)
            .with("path", snapshot.manifest_list())
            .with("snapshot", snapshot.snapshot_id())
    };
    for manifest in manifests {
        let of = |message: &str| corrupt(message).with("manifest", &manifest.manifest_path);
        let spec = manifest.partition_spec_id;
        if metadata.partition_spec_by_id(spec).is_none() {
            return Err(
                of("a manifest has a partition spec that the table does not have")
                    .with("spec", spec),
            );
        }
        let (least, own) = (manifest.min_sequence_number, manifest.sequence_number);
        if metadata.format_version() != FormatVersion::V1
            && !((0..=snapshot.sequence_number()).contains(&own) && least <= own)
        {
            return Err(
                of("a manifest has a sequence number that its snapshot cannot hold")
                    .with("sequence-number", own)
                    .with("min-sequence-number", least),
            );
        }
        for (files, rows) in [
            (manifest.added_files_count, manifest.added_rows_count),
            (manifest.existing_files_count, manifest.existing_rows_count),
        ] {
            if let (Some(0), Some(rows @ 1..)) = (files, rows) {
                return Err(of("a manifest has rows in no files").with("rows", rows));
            }
        }
    }
    for (content, added) in [
        (ManifestContentType::Data, "added-data-files"),
        (ManifestContentType::Deletes, "added-delete-files"),
    ] {
        let recorded = stated(snapshot, added);
        let own = manifests
            .iter()
            .filter(|manifest| manifest.content == content)
            .filter(|manifest| manifest.added_snapshot_id == snapshot.snapshot_id());
        // A count that is not there may be any.
        let found: Option<u64> = own.map(|m| m.added_files_count.map(u64::from)).sum();
        if let Some(found) = found
            && found < recorded
        {
            return Err(
                corrupt("the manifest list lacks files that its snapshot added")
                    .with(added, recorded)
                    .with("found", found),
            );
        }
    }
    let recorded = stated(snapshot, "total-data-files");
    if manifests.is_empty() && recorded > 0 {
        return Err(
            corrupt("the manifest list is empty, and its snapshot has data files")
                .with("total-data-files", recorded)
                .help("if the table is empty indeed, write to it or roll back to a snapshot that can be read"),
        );
    }
    Ok(())
}

/// A count of the snapshot's summary; 0 where it has none that can be read.
fn stated(snapshot: &Snapshot, key: &str) -> u64 {
    let summary = &snapshot.summary().additional_properties;
    let count = summary.get(key).and_then(|count| count.parse().ok());
    count.unwrap_or_default()
}

/// Checks a manifest's entries against what the list says of the manifest.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with the manifest's path.
pub(super) fn entries(
    metadata: &TableMetadata,
    manifest: &ManifestFile,
    entries: &[ManifestEntry],
) -> Result<()> {
    let corrupt = |message: &str| Error::corrupt(message).with("path", &manifest.manifest_path);
    for (status, name, recorded) in [
        (ManifestStatus::Added, "added", manifest.added_files_count),
        (
            ManifestStatus::Existing,
            "existing",
            manifest.existing_files_count,
        ),
    ] {
        let found = entries.iter().filter(|e| e.status() == status).count() as u64;
        if let Some(recorded) = recorded.map(u64::from)
            && found != recorded
        {
            return Err(
                corrupt("a manifest has another number of files than its list says")
                    .with("status", name)
                    .with("recorded", recorded)
                    .with("found", found),
            );
        }
    }
    for entry in entries.iter().filter(|entry| entry.is_alive()) {
        let of = |message: &str| corrupt(message).with("file", entry.file_path());
        if let Some(number) = entry.sequence_number()
            && metadata.format_version() != FormatVersion::V1
            && !(0..=manifest.sequence_number).contains(&number)
        {
            return Err(
                of("a file has a sequence number that its manifest cannot hold")
                    .with("sequence-number", number),
            );
        }
    }
    Ok(())
}
