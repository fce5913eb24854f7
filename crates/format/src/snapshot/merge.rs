//! Merging the manifests of older snapshots, so that tables of many small commits are planned fast.
//!
//! As in the Java implementation: the manifests of one spec and content are packed into bins of the
//! target size, from the oldest end of the list, so that full bins stay what they are. A bin of several
//! manifests is written as one, the newest bin only once it has enough of them. Otherwise than there,
//! the manifests that a commit itself writes are left alone until the next one; and the newest bin
//! waits in every spec, not only in that of the new files.

use std::collections::BTreeMap;

use iceberg::spec::{
    DataFile, Datum, ManifestContentType, ManifestEntry, ManifestFile, PrimitiveLiteral,
};

use super::producer::{Producer, parts};
use crate::manifest::ManifestWriter;
use crate::properties::ManifestProperties;
use crate::{Error, Result};

/// Which of these manifests, given as places in the list, newest first, are written as one. Each bin
/// has its places in the order of the list.
pub(super) fn bins(
    manifests: &[ManifestFile],
    properties: &ManifestProperties,
    mut can_merge: impl FnMut(&ManifestFile) -> bool,
) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(i32, bool), Vec<usize>> = BTreeMap::new();
    for (at, manifest) in manifests.iter().enumerate() {
        if can_merge(manifest) {
            let is_data = manifest.content == ManifestContentType::Data;
            let group = (manifest.partition_spec_id, is_data);
            groups.entry(group).or_default().push(at);
        }
    }
    let mut merged = Vec::new();
    for places in groups.into_values() {
        let mut bins: Vec<(u64, Vec<usize>)> = Vec::new();
        for at in places.into_iter().rev() {
            let length = manifests
                .get(at)
                .map_or(0, |manifest| manifest.manifest_length);
            let length = u64::try_from(length).unwrap_or_default();
            match bins.last_mut() {
                Some((size, bin)) if size.saturating_add(length) <= properties.target_size => {
                    *size += length;
                    bin.push(at);
                }
                _ => bins.push((length, vec![at])),
            }
        }
        let newest = bins.len().saturating_sub(1);
        for (at, (_, mut bin)) in bins.into_iter().enumerate() {
            let least = if at == newest {
                properties.min_count_to_merge
            } else {
                0
            };
            if bin.len() >= least.max(2) {
                bin.reverse();
                merged.push(bin);
            }
        }
    }
    merged
}

/// These manifests of the parent, some of them merged. A merged one stands in the place of the newest of
/// those that it was made from.
///
/// Files in it have the snapshots, sequence numbers and, on format version 3, first row ids that they
/// had before, now as their own. What only records a removal by an older snapshot is left out.
pub(super) async fn merge(
    producer: &mut Producer<'_>,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>> {
    let properties = *producer.properties();
    let own = producer.next().id;
    let mut writable = BTreeMap::new();
    let bins = bins(&manifests, &properties, |manifest| {
        let spec_id = manifest.partition_spec_id;
        manifest.added_snapshot_id != own
            && manifest.key_metadata.is_none()
            && *writable
                .entry(spec_id)
                .or_insert_with(|| producer.can_write(spec_id))
    });
    let mut manifests: Vec<Vec<ManifestFile>> = manifests
        .into_iter()
        .map(|manifest| vec![manifest])
        .collect();
    for bin in bins {
        let mut files = Vec::with_capacity(bin.len());
        for at in &bin {
            files.extend(
                manifests
                    .get_mut(*at)
                    .map(std::mem::take)
                    .into_iter()
                    .flatten(),
            );
        }
        let merged = copied(producer, files, &properties).await?;
        if let Some(place) = bin.first().and_then(|at| manifests.get_mut(*at)) {
            *place = merged;
        }
    }
    Ok(manifests.into_iter().flatten().collect())
}

/// The live entries of these manifests of one spec and content in as few manifests as can be.
async fn copied(
    producer: &mut Producer<'_>,
    manifests: Vec<ManifestFile>,
    properties: &ManifestProperties,
) -> Result<Vec<ManifestFile>> {
    // What was packed by its size on disk may be compressed better there than it is here. Far from the
    // limit it is all one manifest, or merging would not come to an end.
    let mut copies = Copies::new(properties.target_size.saturating_mul(2));
    for part in parts(manifests) {
        for (manifest, entries) in producer.load(part).await? {
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                copies.add(producer, &manifest, entry).await?;
            }
        }
    }
    copies.finish(producer).await
}

/// Copies live entries of older manifests of one spec and content into new manifests, each of a size.
pub(super) struct Copies {
    limit: u64,
    open: Option<ManifestWriter>,
    manifests: Vec<ManifestFile>,
    entries: u64,
}

impl Copies {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            open: None,
            manifests: Vec::new(),
            entries: 0,
        }
    }

    /// Copies an entry of this manifest.
    pub(super) async fn add(
        &mut self,
        producer: &mut Producer<'_>,
        manifest: &ManifestFile,
        entry: &ManifestEntry,
    ) -> Result<()> {
        let is_full = |writer: &mut ManifestWriter| {
            writer.size().saturating_add(weight(&entry.data_file)) > self.limit
        };
        if let Some(full) = self.open.take_if(is_full) {
            self.manifests.push(producer.written(full).await?);
        }
        let mut writer = match self.open.take() {
            Some(open) => open,
            None => producer.manifest_writer(manifest.partition_spec_id, manifest.content)?,
        };
        producer.keep(&mut writer, manifest, entry)?;
        self.open = Some(writer);
        self.entries += 1;
        Ok(())
    }

    /// The manifests.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if an entry was lost.
    pub(super) async fn finish(mut self, producer: &Producer<'_>) -> Result<Vec<ManifestFile>> {
        if let Some(writer) = self.open.take() {
            self.manifests.push(producer.written(writer).await?);
        }
        let counts = self.manifests.iter().map(|m| m.existing_files_count);
        let written: u64 = counts
            .map(|count| u64::from(count.unwrap_or_default()))
            .sum();
        if written != self.entries {
            return Err(
                Error::internal("copied manifests do not name the files that they should")
                    .with("table", producer.base().ident())
                    .with("files", self.entries)
                    .with("written", written),
            );
        }
        Ok(self.manifests)
    }
}

/// About how many bytes a file takes in a manifest, compressed.
pub(super) fn weight(file: &DataFile) -> u64 {
    // Paths and bounds of neighbours are much alike.
    const COMPRESSION: usize = 4;
    // Numbers of variable length: ids are short, and counts and sizes not long.
    const FIXED: usize = 48;
    const COUNT: usize = 5;
    const VALUE: usize = 6;
    let counts = file.column_sizes().len()
        + file.value_counts().len()
        + file.null_value_counts().len()
        + file.nan_value_counts().len();
    let bounds = file
        .lower_bounds()
        .values()
        .chain(file.upper_bounds().values());
    let lists = file.split_offsets().map_or(0, <[i64]>::len)
        + file.equality_ids().map_or(0, |ids| ids.len())
        + file.partition().fields().len();
    let bytes = FIXED
        + file.file_path().len()
        + file.referenced_data_file().map_or(0, |path| path.len())
        + counts * COUNT
        + bounds.map(|bound| 3 + length(bound)).sum::<usize>()
        + lists * VALUE;
    (bytes / COMPRESSION) as u64
}

fn length(bound: &Datum) -> usize {
    match bound.literal() {
        PrimitiveLiteral::Boolean(_) => 1,
        PrimitiveLiteral::Int(_) | PrimitiveLiteral::Float(_) => 4,
        PrimitiveLiteral::String(text) => text.len(),
        PrimitiveLiteral::Binary(bytes) => bytes.len(),
        PrimitiveLiteral::Int128(_) | PrimitiveLiteral::UInt128(_) => 16,
        _ => 8,
    }
}
