//! Records that could not become rows.
//!
//! Nothing that a source delivers is lost: a record is either a row or a [`DeadLetter`], which
//! keeps the bytes, where they came from, and why they did not fit. [`to_batch`] turns dead
//! letters into rows of the dead-letter table, whose schema is [`schema`]. The `error_id` of such
//! a row is a hash of the flow and the record's coordinates, so a batch that is read again gives
//! the same ids, and writing dead letters before the good rows is idempotent. A Kafka topic that was
//! deleted and made anew counts its offsets from 0 again: when a flow takes it up, dead letters of the new
//! topic may have the ids of other records of the old one.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{IngestError, Result};

#[cfg(test)]
mod tests;

/// The most bytes of a bad record that a dead letter keeps: 16 MiB, as much as a record may have.
/// What is longer is cut there, and the message says how long it was.
pub const MAX_RAW_BYTES: usize = crate::decode::MAX_RECORD_BYTES;

/// Why a record is no row. The names are stable: they are stored, filtered and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorType {
    /// The record is no well-formed JSON or CSV.
    Malformed,
    /// The record is not UTF-8.
    InvalidUtf8,
    /// A CSV row has more or fewer fields than the file has columns.
    FieldCount,
    /// A value is of another kind than its column.
    TypeMismatch,
    /// A value is of the right kind but too large for its column.
    OutOfRange,
    /// A column that is declared NOT NULL has no value.
    MissingRequired,
    /// The record is longer than [`MAX_RECORD_BYTES`](crate::decode::MAX_RECORD_BYTES).
    TooLarge,
    /// The record is nested deeper than [`MAX_DEPTH`](crate::decode::MAX_DEPTH).
    TooDeep,
    /// The message has no payload.
    Tombstone,
}

impl ErrorType {
    /// All types, for documentation and for checks.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::InvalidUtf8,
        Self::FieldCount,
        Self::TypeMismatch,
        Self::OutOfRange,
        Self::MissingRequired,
        Self::TooLarge,
        Self::TooDeep,
        Self::Tombstone,
    ];

    /// The stored name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::FieldCount => "field_count",
            Self::TypeMismatch => "type_mismatch",
            Self::OutOfRange => "out_of_range",
            Self::MissingRequired => "missing_required",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::Tombstone => "tombstone",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a record came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coordinates {
    /// A record of a file.
    File {
        /// The location of the file.
        file: Arc<str>,
        /// The number of the record in the file, from 0.
        row: u64,
        /// Where the record begins, in formats in which records are bytes.
        byte_offset: Option<u64>,
    },
    /// A message of a Kafka topic.
    Kafka {
        /// The topic.
        topic: Arc<str>,
        /// The partition of the topic.
        partition: i32,
        /// The offset of the message in the partition.
        offset: i64,
    },
}

impl Coordinates {
    /// The identity that the `error_id` is a hash of. The byte offset is no part of it: row and
    /// file say all.
    fn identity(&self) -> String {
        match self {
            Self::File { file, row, .. } => format!("file\0{file}\0{row}"),
            Self::Kafka {
                topic,
                partition,
                offset,
            } => {
                format!("kafka\0{topic}\0{partition}\0{offset}")
            }
        }
    }
}

/// A record that could not become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The source as the flow names it, such as the pattern of `read_files`.
    pub source: Arc<str>,
    /// Where the record came from.
    pub at: Coordinates,
    /// The bytes of the record, at most [`MAX_RAW_BYTES`]. Rows of Parquet and Arrow files, which
    /// have no bytes of their own, are kept as JSON.
    pub raw: Bytes,
    /// Why it is no row.
    pub error_type: ErrorType,
    /// The field, what was expected, and the value, shortened; for a message its key, too.
    pub message: String,
}

impl DeadLetter {
    /// The id of this record's row in the dead-letter table: 32 hexadecimal digits, the same for
    /// the same flow and coordinates at every replay. The offsets of a topic that was made anew are
    /// coordinates of the old one, too.
    pub fn error_id(&self, flow: &str) -> String {
        // A fixed name space, so that the ids differ from anybody else's version 5 UUIDs.
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_5b0c_1f6a_5c1e_9d52_3a7f_c2d4_81b9);
        let identity = format!("{flow}\0{}", self.at.identity());
        Uuid::new_v5(&NAMESPACE, identity.as_bytes())
            .simple()
            .to_string()
    }
}

/// The schema of the dead-letter table.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![
            text("error_id"),
            text("flow"),
            text("source"),
            text("error_type"),
            text("error_message"),
            Field::new(
                "error_timestamp",
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                false,
            ),
            Field::new("raw", DataType::Binary, false),
            Field::new("file", DataType::Utf8, true),
            Field::new("row", DataType::Int64, true),
            Field::new("byte_offset", DataType::Int64, true),
            Field::new("kafka_topic", DataType::Utf8, true),
            Field::new("kafka_partition", DataType::Int32, true),
            Field::new("kafka_offset", DataType::Int64, true),
        ]))
    });
    SCHEMA.clone()
}

/// Dead letters as rows of the dead-letter table, in the order given. `now` becomes the
/// `error_timestamp` of all of them.
///
/// # Errors
/// [`IngestError::Arrow`] when the records or the messages of all of them together do not fit one batch
/// (2 GiB).
pub fn to_batch(flow: &str, letters: &[DeadLetter], now: DateTime<Utc>) -> Result<RecordBatch> {
    let columns = [
        letters.iter().map(|letter| letter.raw.len()).sum(),
        letters.iter().map(|letter| letter.message.len()).sum(),
    ];
    let bytes: usize = columns.into_iter().max().unwrap_or_default();
    if i32::try_from(bytes).is_err() {
        return Err(IngestError::Arrow {
            context: format!("{} dead letters of flow {flow}", letters.len()),
            source: arrow::error::ArrowError::OffsetOverflowError(bytes),
        });
    }
    let mut ids = StringBuilder::new();
    let mut flows = StringBuilder::new();
    let mut sources = StringBuilder::new();
    let mut types = StringBuilder::new();
    let mut messages = StringBuilder::new();
    let mut raws = BinaryBuilder::new();
    let mut files = StringBuilder::new();
    let mut rows = Int64Builder::new();
    let mut offsets = Int64Builder::new();
    let mut topics = StringBuilder::new();
    let mut partitions = Int32Builder::new();
    let mut kafka_offsets = Int64Builder::new();
    for letter in letters {
        ids.append_value(letter.error_id(flow));
        flows.append_value(flow);
        sources.append_value(&letter.source);
        types.append_value(letter.error_type.name());
        messages.append_value(&letter.message);
        raws.append_value(&letter.raw);
        let (file, kafka) = match &letter.at {
            Coordinates::File {
                file,
                row,
                byte_offset,
            } => (Some((file, *row, *byte_offset)), None),
            Coordinates::Kafka {
                topic,
                partition,
                offset,
            } => (None, Some((topic, *partition, *offset))),
        };
        files.append_option(file.map(|(file, _, _)| file));
        rows.append_option(file.map(|(_, row, _)| saturated(row)));
        offsets.append_option(file.and_then(|(_, _, offset)| offset).map(saturated));
        topics.append_option(kafka.map(|(topic, _, _)| topic));
        partitions.append_option(kafka.map(|(_, partition, _)| partition));
        kafka_offsets.append_option(kafka.map(|(_, _, offset)| offset));
    }
    let times = TimestampMicrosecondArray::from(vec![now.timestamp_micros(); letters.len()])
        .with_timezone("+00:00");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(flows.finish()),
        Arc::new(sources.finish()),
        Arc::new(types.finish()),
        Arc::new(messages.finish()),
        Arc::new(times),
        Arc::new(raws.finish()),
        Arc::new(files.finish()),
        Arc::new(rows.finish()),
        Arc::new(offsets.finish()),
        Arc::new(topics.finish()),
        Arc::new(partitions.finish()),
        Arc::new(kafka_offsets.finish()),
    ];
    RecordBatch::try_new(schema(), columns).map_err(IngestError::arrow(format!(
        "{} dead letters of flow {flow}",
        letters.len()
    )))
}

/// No file has more rows or bytes than 2^63; the cast only has to be total.
fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value for a message: at most 80 characters of it, control characters escaped.
pub(crate) fn shortened(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut short = String::with_capacity(value.len().min(LONGEST));
    for (at, character) in value.chars().enumerate() {
        if at == LONGEST {
            short.push('…');
            break;
        }
        if character.is_control() {
            short.extend(character.escape_default());
        } else {
            short.push(character);
        }
    }
    short
}
