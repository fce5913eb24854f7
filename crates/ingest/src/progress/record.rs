//! The stored form of progress: JSON texts in summaries and properties.
//!
//! A summary holds `{"version":1,"table":{"uuid":…,"from":…,"to":…}}` or
//! `{"version":1,"files":[{"location":…,"size":…,"e-tag":…}]}`, a property
//! `{"version":1,"snapshot-id":…,"sequence-number":…,"table":{"uuid":…,"at":…}}` or the same with
//! `files`. `"start":true` in the place of both says that the flow was set back to its start. A file
//! without an ETag has `modified` (µs since 1970, UTC) in its place.
//!
//! Records of topics have version 2, so that a berglake that does not know them says that it is too
//! old: in a summary `"topic":{"name":…,"cluster":…,"partitions":[{"partition":0,"from":…,"to":…,
//! "last":[offset,"digest"]}]}`, in a property the same with `next` for `from` and `to`. A version that
//! is not known is an error: progress is never guessed.

use std::collections::BTreeMap;

use berglake_format::{Error, Result};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Delta, FileMark, FileSet, Mark, PartitionPosition, PartitionRange, Position, TopicDelta,
    TopicPosition, Version,
};

/// Of records of tables and files.
const FIRST: u32 = 1;
/// Of records of topics.
const TOPICS: u32 = 2;

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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    topic: Option<TopicRecord<RangeOfPartition>>,
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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    topic: Option<TopicRecord<PlaceInPartition>>,
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicRecord<P> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cluster: Option<String>,
    partitions: Vec<P>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeOfPartition {
    partition: i32,
    from: Option<i64>,
    to: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last: Option<MarkRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceInPartition {
    partition: i32,
    next: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last: Option<MarkRecord>,
}

/// Offset and digest, the latter as 16 hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct MarkRecord(i64, String);

impl From<Mark> for MarkRecord {
    fn from(mark: Mark) -> Self {
        Self(mark.offset, format!("{:016x}", mark.digest))
    }
}

impl TryFrom<MarkRecord> for Mark {
    type Error = Error;

    fn try_from(MarkRecord(offset, digest): MarkRecord) -> Result<Self> {
        let digest = u64::from_str_radix(&digest, 16)
            .map_err(|_| unreadable("the digest of a message is no number"))?;
        Ok(Self { offset, digest })
    }
}

pub(super) fn encode_delta(delta: &Delta) -> Result<String> {
    let mut record = DeltaRecord {
        version: FIRST,
        table: None,
        files: None,
        topic: None,
        start: false,
    };
    match delta {
        Delta::Table { source, from, to } => {
            record.table = Some(RangeRecord {
                uuid: *source,
                from: *from,
                to: *to,
            });
        }
        Delta::Files(files) => record.files = Some(records(files)),
        Delta::Topic(topic) => {
            record.version = TOPICS;
            let range = |(partition, range): (&i32, &PartitionRange)| RangeOfPartition {
                partition: *partition,
                from: range.from,
                to: range.to,
                last: range.last.map(Into::into),
            };
            record.topic = Some(TopicRecord {
                name: topic.topic.clone(),
                cluster: topic.cluster.clone(),
                partitions: topic.partitions.iter().map(range).collect(),
            });
        }
        Delta::Start => record.start = true,
    }
    encode(&record)
}

pub(super) fn decode_delta(text: &str) -> Result<Delta> {
    let record: DeltaRecord = decode(text)?;
    check(record.version)?;
    match (record.table, record.files, record.topic, record.start) {
        (Some(range), None, None, false) => Ok(Delta::Table {
            source: range.uuid,
            from: range.from,
            to: range.to,
        }),
        (None, Some(files), None, false) => Ok(Delta::Files(marks(files)?)),
        (None, None, Some(topic), false) => Ok(Delta::Topic(TopicDelta {
            partitions: partitions(topic.partitions, |range| {
                let last = range.last.map(Mark::try_from).transpose()?;
                let (from, to) = (range.from, range.to);
                Ok((range.partition, PartitionRange { from, to, last }))
            })?,
            cluster: topic.cluster,
            topic: topic.name,
        })),
        (None, None, None, true) => Ok(Delta::Start),
        _ => Err(unreadable("it says nothing of its source, or two things")),
    }
}

pub(super) fn encode_cached(cached: &Cached) -> Result<String> {
    let mut record = CachedRecord {
        version: FIRST,
        snapshot_id: cached.snapshot,
        sequence_number: cached.sequence,
        table: None,
        files: None,
        topic: None,
        start: false,
    };
    match &cached.position {
        Position::Table { source, at } => {
            record.table = Some(PlaceRecord {
                uuid: *source,
                at: *at,
            });
        }
        Position::Files(files) => record.files = Some(records(files)),
        Position::Topic(topic) => {
            record.version = TOPICS;
            let place = |(partition, place): (&i32, &PartitionPosition)| PlaceInPartition {
                partition: *partition,
                next: place.next,
                last: place.last.map(Into::into),
            };
            record.topic = Some(TopicRecord {
                name: topic.topic.clone(),
                cluster: topic.cluster.clone(),
                partitions: topic.partitions.iter().map(place).collect(),
            });
        }
        Position::Start => record.start = true,
    }
    encode(&record)
}

pub(super) fn decode_cached(text: &str) -> Result<Cached> {
    let record: CachedRecord = decode(text)?;
    check(record.version)?;
    let position = match (record.table, record.files, record.topic, record.start) {
        (Some(place), None, None, false) => Position::Table {
            source: place.uuid,
            at: place.at,
        },
        (None, Some(files), None, false) => Position::Files(marks(files)?),
        (None, None, Some(topic), false) => Position::Topic(TopicPosition {
            partitions: partitions(topic.partitions, |place| {
                let last = place.last.map(Mark::try_from).transpose()?;
                let next = place.next;
                Ok((place.partition, PartitionPosition { next, last }))
            })?,
            cluster: topic.cluster,
            topic: topic.name,
        }),
        (None, None, None, true) => Position::Start,
        _ => return Err(unreadable("it says nothing of its source, or two things")),
    };
    Ok(Cached {
        snapshot: record.snapshot_id,
        sequence: record.sequence_number,
        position,
    })
}

/// Partitions by their numbers, each once.
fn partitions<P, T>(
    records: Vec<P>,
    convert: impl Fn(P) -> Result<(i32, T)>,
) -> Result<BTreeMap<i32, T>> {
    let mut all = BTreeMap::new();
    for record in records {
        let (partition, value) = convert(record)?;
        if all.insert(partition, value).is_some() {
            return Err(unreadable("it names a partition twice"));
        }
    }
    Ok(all)
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
    if matches!(version, FIRST | TOPICS) {
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
