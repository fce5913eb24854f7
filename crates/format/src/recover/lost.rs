//! The snapshots that going back loses, by the traces that they have left.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::TableMetadata;

use super::CONCURRENCY;
use super::salvage::Sketch;
use crate::storage::{FileInfo, Location, Storage};
use crate::{ErrorKind, Result};

/// How much of a manifest list is read to find what its header says.
const HEADER_BYTES: u64 = 64 << 10;

/// A snapshot that the table does not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSnapshot {
    /// Its id.
    pub snapshot_id: i64,
    /// The snapshot that it was made on.
    pub parent_snapshot_id: Option<i64>,
    /// Its sequence number; none on format version 1.
    pub sequence_number: Option<i64>,
    /// When it was made, in milliseconds since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// What it did: `append`, `replace`, `overwrite` or `delete`.
    pub operation: Option<String>,
    /// The rows that it added.
    pub added_records: Option<u64>,
    /// Its manifest list, which stays where it is.
    pub manifest_list: String,
    /// Whether the table had it for certain: the damaged file names it. Otherwise all that is known is that
    /// its manifest list is there, which a commit that failed may have left too.
    pub certain: bool,
}

impl LostSnapshot {
    fn of_sketch(sketch: Sketch) -> Self {
        let added = sketch.summary.get("added-records");
        Self {
            snapshot_id: sketch.snapshot_id,
            parent_snapshot_id: sketch.parent_snapshot_id,
            sequence_number: sketch.sequence_number,
            timestamp_ms: sketch.timestamp_ms,
            operation: sketch.summary.get("operation").cloned(),
            added_records: added.and_then(|text| text.parse().ok()),
            manifest_list: sketch.manifest_list,
            certain: true,
        }
    }

    fn of_list(file: &FileInfo, header: &HashMap<String, String>) -> Option<Self> {
        let number = |key: &str| header.get(key).and_then(|text| text.parse().ok());
        Some(Self {
            snapshot_id: number("snapshot-id").or_else(|| id_of(file.location.name()))?,
            parent_snapshot_id: number("parent-snapshot-id"),
            sequence_number: number("sequence-number"),
            timestamp_ms: None,
            operation: None,
            added_records: None,
            manifest_list: file.location.to_string(),
            certain: false,
        })
    }
}

/// Whether a file of this name is a manifest list.
pub(super) fn is_list(name: &str) -> bool {
    name.starts_with("snap-") && name.ends_with(".avro")
}

/// The snapshot in a manifest list's name: `snap-<id>-<attempt>-<uuid>.avro`.
fn id_of(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("snap-")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

/// What the table loses by going back to this metadata, oldest first.
///
/// A manifest list is a trace only if it is newer than the metadata: older ones that it does not name are
/// of snapshots that have expired, or of commits that failed.
pub(super) async fn snapshots(
    storage: &Storage,
    metadata: &TableMetadata,
    legible: Vec<Sketch>,
    lists: Vec<FileInfo>,
) -> Result<Vec<LostSnapshot>> {
    let kept = |id: i64| metadata.snapshot_by_id(id).is_some();
    let mut lost: BTreeMap<i64, LostSnapshot> = legible
        .into_iter()
        .filter(|sketch| !kept(sketch.snapshot_id))
        .map(|sketch| (sketch.snapshot_id, LostSnapshot::of_sketch(sketch)))
        .collect();

    let named = |file: &FileInfo| {
        id_of(file.location.name()).is_some_and(|id| kept(id) || lost.contains_key(&id))
    };
    let unnamed: Vec<FileInfo> = lists.into_iter().filter(|file| !named(file)).collect();
    let reads: Vec<_> = unnamed
        .into_iter()
        .map(|file| read_header(storage.clone(), file))
        .collect();
    let mut reads = stream::iter(reads).buffer_unordered(CONCURRENCY);
    while let Some((file, header)) = reads.try_next().await? {
        let Some(one) = LostSnapshot::of_list(&file, &header) else {
            continue;
        };
        let newer = match one.sequence_number.filter(|number| *number > 0) {
            Some(number) => number > metadata.last_sequence_number(),
            None => file.last_modified_ms > metadata.last_updated_ms(),
        };
        if newer && !kept(one.snapshot_id) {
            lost.entry(one.snapshot_id).or_insert(one);
        }
    }
    let mut lost: Vec<LostSnapshot> = lost.into_values().collect();
    lost.sort_by_key(|one| (one.sequence_number, one.timestamp_ms, one.snapshot_id));
    Ok(lost)
}

/// The snapshots of this metadata whose manifest lists are gone, oldest first: what came after the metadata
/// has let them expire.
pub(super) async fn hollow(
    storage: &Storage,
    metadata: &TableMetadata,
    lists: &[FileInfo],
) -> Result<Vec<i64>> {
    let there: HashSet<&Location> = lists.iter().map(|file| &file.location).collect();
    let mut looks = Vec::new();
    for snapshot in metadata.snapshots() {
        let list = snapshot.manifest_list();
        // Those of format version 1 may have their manifests in the metadata.
        if list.is_empty() {
            continue;
        }
        let list = Location::parse(list)?;
        if !there.contains(&list) {
            let order = (snapshot.sequence_number(), snapshot.timestamp_ms());
            looks.push(look(storage.clone(), list, (order, snapshot.snapshot_id())));
        }
    }
    let looks = stream::iter(looks).buffer_unordered(CONCURRENCY);
    let found: Vec<_> = looks.try_collect().await?;
    let mut gone: Vec<_> = found.into_iter().flatten().collect();
    gone.sort_unstable();
    Ok(gone.into_iter().map(|(_, id)| id).collect())
}

/// Gives the value back if the file does not exist.
async fn look<T>(storage: Storage, at: Location, value: T) -> Result<Option<T>> {
    Ok((!storage.exists(&at).await?).then_some(value))
}

/// The key-value pairs in the header of a manifest list; none of a file that has just gone.
async fn read_header(
    storage: Storage,
    file: FileInfo,
) -> Result<(FileInfo, HashMap<String, String>)> {
    if file.size == 0 {
        return Ok((file, HashMap::new()));
    }
    let range = 0..file.size.min(HEADER_BYTES);
    match storage.read_range(&file.location, range).await {
        Ok(bytes) => Ok((file, header(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((file, HashMap::new())),
        Err(error) => Err(error),
    }
}

/// The metadata in the header of an Avro file, as far as it is there: after the magic bytes a map, in
/// blocks of a count and that many pairs, until a count of 0.
fn header(bytes: &[u8]) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    let Some(mut rest) = bytes.strip_prefix(b"Obj\x01") else {
        return pairs;
    };
    while let Some(count) = long(&mut rest).filter(|count| *count != 0) {
        // A negative count is followed by the block's size.
        if count < 0 && long(&mut rest).is_none() {
            break;
        }
        for _ in 0..count.unsigned_abs() {
            let (Some(key), Some(value)) = (text(&mut rest), text(&mut rest)) else {
                return pairs;
            };
            pairs.insert(key, value);
        }
    }
    pairs
}

/// Avro's `long`: seven bits a byte, zigzag.
fn long(rest: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let half = i64::try_from(value >> 1).ok()?;
            return Some(if value & 1 == 0 { half } else { !half });
        }
    }
    None
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(long(rest)?).ok()?;
    let (value, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_manifest_lists_hold_the_snapshot() {
        assert_eq!(id_of("snap-12-1-6f1d2c1e.avro"), Some(12));
        assert_eq!(id_of("snap-7.avro"), Some(7));
        assert_eq!(id_of("snap-x.avro"), None);
        assert!(is_list("snap-7.avro") && !is_list("7-m0.avro") && !is_list("snap-7.avro.crc"));
    }

    #[test]
    fn headers_of_any_bytes_are_read_as_far_as_they_go() {
        let mut bytes = b"Obj\x01".to_vec();
        // A block of two pairs, one of one pair with its size, the end.
        bytes.extend(b"\x04\x02a\x021\x02b\x040x");
        bytes.extend(b"\x01\x0c\x04cc\x022\x00");
        let all = header(&bytes);
        let expected = [("a", "1"), ("b", "0x"), ("cc", "2")];
        let expected = expected.map(|(key, value)| (key.to_string(), value.to_string()));
        assert_eq!(all, HashMap::from(expected));
        for cut in 0..bytes.len() {
            let some = header(&bytes[..cut]);
            assert!(some.iter().all(|(key, value)| all.get(key) == Some(value)));
        }
        // Absurd counts and lengths end it.
        for absurd in [
            &b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
            b"Obj\x01\x02\xfe\xff\xff\xff\x0f",
        ] {
            assert_eq!(header(absurd), HashMap::new());
        }
    }
}
