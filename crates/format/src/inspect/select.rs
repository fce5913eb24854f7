//! Which manifests a metadata table reads, and how many at a time.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{ManifestFile, SnapshotRef};

use crate::plan::{SnapshotSelector, manifest_list};
use crate::{Error, Result, Table};

/// Manifest lists that are fetched and decoded at the same time.
const LISTS_AT_ONCE: usize = 8;

/// Bytes of manifests, as they are stored, whose entries are held at the same time: some ten thousands
/// of entries. In unit tests each manifest is read for itself.
const CHUNK_BYTES: u64 = if cfg!(test) { 1 } else { 8 << 20 };

/// The snapshots of a table in the order in which they were made.
pub(super) fn snapshots(table: &Table) -> Vec<&SnapshotRef> {
    let mut all: Vec<_> = table.metadata().snapshots().collect();
    all.sort_by_key(|snapshot| {
        (
            snapshot.sequence_number(),
            snapshot.timestamp_ms(),
            snapshot.snapshot_id(),
        )
    });
    all
}

/// The manifests of a snapshot; none for a table that has no snapshot.
pub(super) async fn manifests_at(
    table: &Table,
    at: &SnapshotSelector,
) -> Result<Vec<ManifestFile>> {
    match crate::plan::snapshot(table, at)?.0 {
        Some(snapshot) => manifest_list(table, &snapshot).await,
        None => Ok(Vec::new()),
    }
}

/// The manifests of all snapshots, each once. Where the lists of two snapshots name one, it is taken as
/// the newer has it: only that knows the first row id of a manifest that is older than version 3.
pub(super) async fn distinct_manifests(table: &Table) -> Result<Vec<ManifestFile>> {
    let newest_first = snapshots(table).into_iter().rev().cloned().collect();
    let mut lists = std::pin::pin!(lists(table, newest_first));
    let mut seen = HashSet::new();
    let mut distinct = Vec::new();
    while let Some((_, list)) = lists.try_next().await? {
        distinct.extend(
            list.into_iter()
                .filter(|manifest| seen.insert(manifest.manifest_path.clone())),
        );
    }
    Ok(distinct)
}

/// The ids of snapshots with their manifests, in this order.
pub(super) fn lists(
    table: &Table,
    snapshots: Vec<SnapshotRef>,
) -> impl stream::Stream<Item = Result<(i64, Vec<ManifestFile>)>> + Send + use<> {
    let table = table.clone();
    stream::iter(snapshots)
        .map(move |snapshot| {
            let table = table.clone();
            async move {
                let list = manifest_list(&table, &snapshot).await?;
                Ok::<_, Error>((snapshot.snapshot_id(), list))
            }
        })
        .buffered(LISTS_AT_ONCE)
}

/// Manifests in groups, of which one is held in memory at a time.
pub(super) fn chunks(manifests: impl IntoIterator<Item = ManifestFile>) -> Vec<Vec<ManifestFile>> {
    let mut chunks: Vec<Vec<ManifestFile>> = Vec::new();
    let mut bytes = 0_u64;
    for manifest in manifests {
        let length = u64::try_from(manifest.manifest_length).unwrap_or_default();
        match chunks.last_mut() {
            Some(chunk) if bytes < CHUNK_BYTES => chunk.push(manifest),
            _ => {
                chunks.push(vec![manifest]);
                bytes = 0;
            }
        }
        bytes = bytes.saturating_add(length);
    }
    chunks
}
