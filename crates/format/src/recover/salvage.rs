//! What is legible of a damaged metadata file: pieces of JSON that stand whole in it.

use std::collections::HashMap;
use std::io::Read as _;

use serde::Deserialize;
use uuid::Uuid;

use crate::storage::{Location, Storage};
use crate::{ErrorKind, Result};

/// What could still be read.
#[derive(Debug, Default)]
pub(super) struct Legible {
    pub(super) table_uuid: Option<Uuid>,
    pub(super) snapshots: Vec<Sketch>,
    /// The files in its log.
    pub(super) logged: Vec<Location>,
}

/// A snapshot as a damaged file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch {
    pub(super) snapshot_id: i64,
    pub(super) parent_snapshot_id: Option<i64>,
    pub(super) sequence_number: Option<i64>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) summary: HashMap<String, String>,
    pub(super) manifest_list: String,
}

/// Any object in metadata; what it is shows in which fields it has.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Piece {
    snapshot_id: Option<i64>,
    parent_snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    timestamp_ms: Option<i64>,
    summary: Option<HashMap<String, String>>,
    manifest_list: Option<String>,
    metadata_file: Option<String>,
}

/// Reads what is legible. Of a file that is missing that is nothing.
pub(super) async fn read(storage: &Storage, location: &str) -> Result<Legible> {
    let Ok(location) = Location::parse(location) else {
        return Ok(Legible::default());
    };
    match storage.read(&location).await {
        Ok(bytes) => Ok(legible(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Legible::default()),
        Err(error) => Err(error),
    }
}

pub(super) fn legible(bytes: &[u8]) -> Legible {
    let unzipped;
    let text = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut buffer = Vec::new();
        // Whatever came out before the damage is kept.
        let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut buffer);
        unzipped = buffer;
        unzipped.as_slice()
    } else {
        bytes
    };
    let mut legible = Legible {
        table_uuid: table_uuid(text),
        ..Legible::default()
    };
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(start) = rest.iter().position(|byte| *byte == b'{') else {
            break;
        };
        let rest = rest.get(start..).unwrap_or_default();
        at += start + 1;
        let mut pieces = serde_json::Deserializer::from_slice(rest).into_iter::<Piece>();
        let Some(Ok(piece)) = pieces.next() else {
            continue;
        };
        if let (Some(snapshot_id), Some(manifest_list)) = (piece.snapshot_id, piece.manifest_list) {
            legible.snapshots.push(Sketch {
                snapshot_id,
                parent_snapshot_id: piece.parent_snapshot_id,
                sequence_number: piece.sequence_number,
                timestamp_ms: piece.timestamp_ms,
                summary: piece.summary.unwrap_or_default(),
                manifest_list,
            });
        } else if let Some(file) = piece.metadata_file {
            legible.logged.extend(Location::parse(&file));
        } else {
            // What is in it is looked at piece by piece.
            continue;
        }
        at += pieces.byte_offset().saturating_sub(1);
    }
    legible
}

/// The table's UUID, which writers put near the beginning.
fn table_uuid(text: &[u8]) -> Option<Uuid> {
    const KEY: &[u8] = b"\"table-uuid\"";
    let at = text.windows(KEY.len()).position(|window| window == KEY)?;
    let mut rest = text.get(at + KEY.len()..)?.trim_ascii_start();
    rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let value = rest.strip_prefix(b"\"")?.get(..36)?;
    Uuid::try_parse_ascii(value).ok()
}
