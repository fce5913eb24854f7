//! The stored form of progress: JSON texts in summaries and properties.
//!
//! A summary holds `{"version":1,"table":{"uuid":…,"from":…,"to":…}}` or
//! `{"version":1,"files":[{"location":…,"size":…,"e-tag":…}]}`, a property
//! `{"version":1,"snapshot-id":…,"sequence-number":…,"table":{"uuid":…,"at":…}}` or the same with
//! `files`. `"start":true` in the place of both says that the flow was set back to its start. A file without an ETag has `modified` (µs since 1970, UTC) in its place. A version that
//! is not known is an error: progress is never guessed.

use berglake_format::{Error, Result};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Delta, FileMark, FileSet, Position, Version};

const VERSION: u32 = 1;

/// A position as it stands in a table property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cached {
    /// The snapshot whose commit wrote it.
    pub(super) snapshot: i64,
    /// That snapshot's sequence number.
    pub(super) sequence: i64,
    pub(super) position: Position,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DeltaRecord {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    table: Option<RangeRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    files: Option<Vec<FileRecord>>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    start: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeRecord {
    uuid: Uuid,
    from: Option<i64>,
    to: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CachedRecord {
    version: u32,
    snapshot_id: i64,
    sequence_number: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    table: Option<PlaceRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    files: Option<Vec<FileRecord>>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    start: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceRecord {
    uuid: Uuid,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileRecord {
    location: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    e_tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    modified: Option<i64>,
}

pub(super) fn encode_delta(delta: &Delta) -> Result<String> {
    let (table, files, start) = match delta {
        Delta::Table { source, from, to } => (
            Some(RangeRecord {
                uuid: *source,
                from: *from,
                to: *to,
            }),
            None,
            false,
        ),
        Delta::Files(files) => (None, Some(records(files)), false),
        Delta::Start => (None, None, true),
    };
    encode(&DeltaRecord {
        version: VERSION,
        table,
        files,
        start,
    })
}

pub(super) fn decode_delta(text: &str) -> Result<Delta> {
    let record: DeltaRecord = decode(text)?;
    check(record.version)?;
    match (record.table, record.files, record.start) {
        (Some(range), None, false) => Ok(Delta::Table {
            source: range.uuid,
            from: range.from,
            to: range.to,
        }),
        (None, Some(files), false) => Ok(Delta::Files(marks(files)?)),
        (None, None, true) => Ok(Delta::Start),
        _ => Err(unreadable("it says nothing of its source, or two things")),
    }
}

pub(super) fn encode_cached(cached: &Cached) -> Result<String> {
    let (table, files, start) = match &cached.position {
        Position::Table { source, at } => (
            Some(PlaceRecord {
                uuid: *source,
                at: *at,
            }),
            None,
            false,
        ),
        Position::Files(files) => (None, Some(records(files)), false),
        Position::Start => (None, None, true),
    };
    encode(&CachedRecord {
        version: VERSION,
        snapshot_id: cached.snapshot,
        sequence_number: cached.sequence,
        table,
        files,
        start,
    })
}

pub(super) fn decode_cached(text: &str) -> Result<Cached> {
    let record: CachedRecord = decode(text)?;
    check(record.version)?;
    let position = match (record.table, record.files, record.start) {
        (Some(place), None, false) => Position::Table {
            source: place.uuid,
            at: place.at,
        },
        (None, Some(files), false) => Position::Files(marks(files)?),
        (None, None, true) => Position::Start,
        _ => return Err(unreadable("it says nothing of its source, or two things")),
    };
    Ok(Cached {
        snapshot: record.snapshot_id,
        sequence: record.sequence_number,
        position,
    })
}

fn records(files: &FileSet) -> Vec<FileRecord> {
    let record = |(location, mark): (&String, &FileMark)| {
        let (e_tag, modified) = match &mark.version {
            Version::ETag(tag) => (Some(tag.clone()), None),
            Version::Modified(time) => (None, Some(time.timestamp_micros())),
        };
        FileRecord {
            location: location.clone(),
            size: mark.size,
            e_tag,
            modified,
        }
    };
    files.iter().map(record).collect()
}

fn marks(records: Vec<FileRecord>) -> Result<FileSet> {
    let mark = |record: FileRecord| {
        let modified = record.modified.and_then(DateTime::from_timestamp_micros);
        let version = match (record.e_tag, modified) {
            (Some(tag), _) => Version::ETag(tag),
            (None, Some(time)) => Version::Modified(time),
            (None, None) => return Err(unreadable("a file has neither e-tag nor time")),
        };
        Ok((
            record.location,
            FileMark {
                size: record.size,
                version,
            },
        ))
    };
    records.into_iter().map(mark).collect()
}

fn check(version: u32) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(
        Error::unsupported("a flow's progress was recorded by a newer berglake")
            .with("version", version)
            .help("run the flow with the newer version"),
    )
}

fn encode(record: &impl Serialize) -> Result<String> {
    serde_json::to_string(record).map_err(|error| {
        Error::internal("a flow's progress cannot be written as JSON").source_error(error)
    })
}

fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    // The version is read first: a newer record may have fields that this one does not know.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if let Ok(Versioned { version }) = serde_json::from_str(text) {
        check(version)?;
    }
    serde_json::from_str(text).map_err(|error| unreadable("it is no such JSON").source_error(error))
}

fn unreadable(why: &str) -> Error {
    Error::corrupt(format!(
        "a flow's record of its progress cannot be read: {why}"
    ))
}
