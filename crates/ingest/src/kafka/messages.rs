//! Messages to rows: the payload is a record of declared columns, and what else a message carries
//! becomes columns where it is asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dead_letter::{Coordinates, DeadLetter, ErrorType, MAX_RAW_BYTES};
use crate::decode::columns::Rows;
use crate::decode::plan::{Cell, Columns, Reject};
use crate::decode::{BATCH_BYTES, BATCH_ROWS, MAX_RECORD_BYTES, json};
use crate::error::{IngestError, Result};

/// What becomes of a message without a payload, which on a compacted topic says that its key is
/// deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tombstones {
    /// A dead letter: there is no record in it.
    #[default]
    DeadLetter,
    /// A row in which all declared columns are NULL; the key and the coordinates tell the rest.
    Row,
    /// Nothing: it is passed over.
    Skip,
}

impl FromStr for Tombstones {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "dead_letter" => Ok(Self::DeadLetter),
            "row" => Ok(Self::Row),
            "skip" => Ok(Self::Skip),
            _ => Err(IngestError::InvalidOption {
                option: "tombstones",
                value: text.to_owned(),
                allowed: "dead_letter, row or skip".to_owned(),
            }),
        }
    }
}

/// What a message carries beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The key as STRING; NULL for a message without one. A key that is not UTF-8 is a dead letter.
    Key,
    /// The headers as MAP<STRING, STRING>. Of a name that is repeated the last value counts; a value
    /// that is not UTF-8 is `base64:` and its bytes.
    Headers,
    /// The time of the message as TIMESTAMP; NULL where it has none.
    Timestamp,
    /// The topic as STRING.
    Topic,
    /// The partition as INT.
    Partition,
    /// The offset as BIGINT.
    Offset,
}

impl Attribute {
    /// All of them, in the order of their columns.
    pub const ALL: [Self; 6] = [
        Self::Key,
        Self::Headers,
        Self::Timestamp,
        Self::Topic,
        Self::Partition,
        Self::Offset,
    ];

    /// The argument of `read_kafka` that names the column.
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Headers => "headers",
            Self::Timestamp => "timestamp",
            Self::Topic => "topic_column",
            Self::Partition => "partition",
            Self::Offset => "offset",
        }
    }

    fn field(self, name: &str) -> Field {
        let (data_type, nullable) = match self {
            Self::Key => (DataType::Utf8, true),
            Self::Headers => (headers_type(), false),
            Self::Timestamp => (
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                true,
            ),
            Self::Topic => (DataType::Utf8, false),
            Self::Partition => (DataType::Int32, false),
            Self::Offset => (DataType::Int64, false),
        };
        Field::new(name, data_type, nullable)
    }
}

fn headers_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entries = Field::new("key_value", DataType::Struct(entries), false);
    DataType::Map(Arc::new(entries), false)
}

/// How messages become rows.
#[derive(Debug, Clone)]
pub struct MessageOptions {
    schema: SchemaRef,
    attributes: Vec<(Attribute, String)>,
    tombstones: Tombstones,
}

impl MessageOptions {
    /// Each payload is one JSON object with these columns.
    pub fn json(schema: SchemaRef) -> Self {
        Self {
            schema,
            attributes: Vec::new(),
            tombstones: Tombstones::default(),
        }
    }

    /// Adds a column behind those before it.
    #[must_use]
    pub fn with_attribute(mut self, attribute: Attribute, column: impl Into<String>) -> Self {
        self.attributes.push((attribute, column.into()));
        self
    }

    /// Says what becomes of messages without a payload.
    #[must_use]
    pub fn with_tombstones(mut self, tombstones: Tombstones) -> Self {
        self.tombstones = tombstones;
        self
    }

    /// The schema of the batches: the declared columns, then those that were added.
    ///
    /// # Errors
    /// [`IngestError::InvalidOption`] for a name that is used twice, and for `tombstones => 'row'`
    /// with columns that must not be NULL.
    pub fn output_schema(&self) -> Result<SchemaRef> {
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        for (attribute, name) in &self.attributes {
            if name.is_empty() || fields.iter().any(|field| field.name() == name) {
                return Err(IngestError::InvalidOption {
                    option: attribute.argument(),
                    value: name.clone(),
                    allowed: "a name that no column of the schema has".to_owned(),
                });
            }
            fields.push(Arc::new(attribute.field(name)));
        }
        let required = self.schema.fields().iter().find(|f| !f.is_nullable());
        if let (Tombstones::Row, Some(required)) = (self.tombstones, required) {
            return Err(IngestError::InvalidOption {
                option: "tombstones",
                value: "row".to_owned(),
                allowed: format!(
                    "dead_letter or skip, because column {:?} is declared NOT NULL",
                    required.name()
                ),
            });
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// A message as the decoder sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
}

impl Envelope<'_> {
    /// The bytes of the message without its headers.
    pub(super) fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.payload.map_or(0, <[u8]>::len)
    }
}

/// The bytes of headers.
pub(super) fn bytes_of(headers: &Headers<'_>) -> usize {
    let each = headers.iter();
    each.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len))
        .sum()
}

/// Names and values of headers, in their order.
pub(super) type Headers<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// Rows and dead letters of messages, in the order in which they were read.
#[derive(Debug, Clone)]
pub struct MessageBatch {
    /// The rows, possibly none.
    pub batch: RecordBatch,
    /// The messages that are no rows.
    pub dead_letters: Vec<DeadLetter>,
    /// The newest time of the messages, rows or not, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// Collects messages into batches.
#[derive(Debug)]
pub(super) struct Decoder {
    source: Arc<str>,
    topic: Arc<str>,
    schema: SchemaRef,
    columns: Columns,
    attributes: Vec<Attribute>,
    tombstones: Tombstones,
    rows: Rows,
    dead_letters: Vec<DeadLetter>,
    newest_ms: Option<i64>,
    bytes: usize,
}

impl Decoder {
    pub(super) fn new(source: Arc<str>, topic: Arc<str>, options: &MessageOptions) -> Result<Self> {
        let schema = options.output_schema()?;
        let rows = Rows::new(schema.fields()).map_err(IngestError::arrow(&*source))?;
        Ok(Self {
            columns: Columns::plan(&options.schema, "json", true)?,
            attributes: options.attributes.iter().map(|(a, _)| *a).collect(),
            tombstones: options.tombstones,
            source,
            topic,
            schema,
            rows,
            dead_letters: Vec::new(),
            newest_ms: None,
            bytes: 0,
        })
    }

    /// Whether headers are asked for.
    pub(super) fn wants_headers(&self) -> bool {
        self.attributes.contains(&Attribute::Headers)
    }

    /// Takes a message: it is a row, a dead letter, or a tombstone that is passed over.
    pub(super) fn push(&mut self, message: &Envelope<'_>, headers: &Headers<'_>) -> Result<()> {
        self.newest_ms = self.newest_ms.max(message.timestamp);
        // A row costs memory even if its message is short.
        self.bytes += message.bytes() + bytes_of(headers) + 64;
        match self.cells(message, headers) {
            Ok(Some(cells)) => self
                .rows
                .append(cells)
                .map_err(|source| IngestError::Arrow {
                    context: format!(
                        "offset {} of partition {} of topic {}",
                        message.offset, message.partition, self.topic
                    ),
                    source,
                }),
            Ok(None) => Ok(()),
            Err(reject) => {
                self.refuse(message, reject);
                Ok(())
            }
        }
    }

    /// Takes a message whose headers cannot be read.
    pub(super) fn refuse_headers(&mut self, message: &Envelope<'_>) {
        self.newest_ms = self.newest_ms.max(message.timestamp);
        self.bytes += message.bytes() + 64;
        self.refuse(
            message,
            Reject::new(ErrorType::InvalidUtf8, "the name of a header is no UTF-8"),
        );
    }

    fn refuse(&mut self, message: &Envelope<'_>, reject: Reject) {
        let raw = message.payload.unwrap_or_default();
        let kept = &raw[..raw.len().min(MAX_RAW_BYTES)];
        // The raw bytes are those of the payload; of a tombstone the key is all there is.
        let reason = match message.key {
            Some(key) => format!("{}; the key is {}", reject.message, shown(key)),
            None => reject.message,
        };
        self.dead_letters.push(DeadLetter {
            source: self.source.clone(),
            at: Coordinates::Kafka {
                topic: self.topic.clone(),
                partition: message.partition,
                offset: message.offset,
            },
            raw: kept.to_vec().into(),
            error_type: reject.error_type,
            message: reason,
        });
    }

    fn cells<'a>(
        &mut self,
        message: &Envelope<'a>,
        headers: &Headers<'a>,
    ) -> Result<Option<Vec<Cell<'a>>>, Reject> {
        let mut cells = match (message.payload, self.tombstones) {
            (Some(payload), _) if payload.len() > MAX_RECORD_BYTES => {
                return Err(Reject::new(
                    ErrorType::TooLarge,
                    format!(
                        "the record is {} bytes long, and {MAX_RECORD_BYTES} is the most; its first \
                         {MAX_RAW_BYTES} bytes are kept",
                        payload.len()
                    ),
                ));
            }
            (Some(payload), _) => json::decode(payload, &self.columns)?,
            (None, Tombstones::Skip) => return Ok(None),
            (None, Tombstones::Row) => self.columns.list.iter().map(|_| Cell::Null).collect(),
            (None, Tombstones::DeadLetter) => {
                return Err(Reject::new(
                    ErrorType::Tombstone,
                    "the message has no payload: it is a tombstone, which deletes its key",
                ));
            }
        };
        for attribute in &self.attributes {
            cells.push(self.attribute(*attribute, message, headers)?);
        }
        Ok(Some(cells))
    }

    fn attribute<'a>(
        &self,
        attribute: Attribute,
        message: &Envelope<'a>,
        headers: &Headers<'a>,
    ) -> Result<Cell<'a>, Reject> {
        Ok(match attribute {
            Attribute::Key => match message.key {
                None => Cell::Null,
                Some(key) => Cell::Text(Cow::Borrowed(std::str::from_utf8(key).map_err(
                    |error| {
                        Reject::new(
                            ErrorType::InvalidUtf8,
                            format!("byte {} of the key is no UTF-8", error.valid_up_to()),
                        )
                    },
                )?)),
            },
            Attribute::Headers => Cell::Map(headers_of(headers)),
            Attribute::Timestamp => match message.timestamp {
                None => Cell::Null,
                Some(millis) => {
                    let micros = i128::from(millis) * 1000;
                    if i64::try_from(micros).is_err() {
                        return Err(Reject::new(
                            ErrorType::OutOfRange,
                            format!("the time of the message, {millis} ms, is too far from 1970"),
                        ));
                    }
                    Cell::Int(micros)
                }
            },
            Attribute::Topic => Cell::Text(Cow::Owned(self.topic.to_string())),
            Attribute::Partition => Cell::Int(message.partition.into()),
            Attribute::Offset => Cell::Int(message.offset.into()),
        })
    }

    /// Whether a batch is full.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS
            || self.dead_letters.len() >= BATCH_ROWS
            || self.bytes >= BATCH_BYTES
    }

    /// What was taken since the last call.
    pub(super) fn take(&mut self) -> Result<Option<MessageBatch>> {
        let rows = self.rows.len();
        self.bytes = 0;
        if rows == 0 && self.dead_letters.is_empty() {
            return Ok(None);
        }
        let columns = self
            .rows
            .finish()
            .map_err(IngestError::arrow(&*self.source))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(IngestError::arrow(&*self.source))?;
        Ok(Some(MessageBatch {
            batch,
            dead_letters: std::mem::take(&mut self.dead_letters),
            newest_ms: self.newest_ms.take(),
        }))
    }
}

/// A key in a message, whole: a JSON string, or `base64:` and its bytes where it is no UTF-8.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => serde_json::Value::from(text).to_string(),
        Err(_) => base64(key),
    }
}

fn base64(bytes: &[u8]) -> String {
    format!("base64:{}", STANDARD.encode(bytes))
}

/// Headers as the entries of a map, in the order in which their names were first met.
fn headers_of<'a>(headers: &Headers<'a>) -> Vec<(Cell<'a>, Cell<'a>)> {
    let mut places: HashMap<&'a str, usize> = HashMap::with_capacity(headers.len());
    let mut entries: Vec<(Cell<'a>, Cell<'a>)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let value = match value {
            None => Cell::Null,
            Some(bytes) => Cell::Text(match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(base64(bytes)),
            }),
        };
        match places.entry(name) {
            Entry::Occupied(place) => entries[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(entries.len());
                entries.push((Cell::Text(Cow::Borrowed(name)), value));
            }
        }
    }
    entries
}
