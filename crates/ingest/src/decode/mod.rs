//! Files to Arrow batches of a declared schema.
//!
//! A [`FileReader`] reads one file in one pass with bounded memory and gives [`FileBatch`]es:
//! rows, and the [`DeadLetter`]s met between them. Every record of the file is exactly one of the
//! two, in the order of the file.
//!
//! # How values are coerced
//!
//! | declared | takes | everything else is a dead letter |
//! |---|---|---|
//! | STRING | a string; a number or boolean as its JSON text, exactly as written (`1984`, `1.50`) | arrays and objects |
//! | BOOLEAN | `true`, `false` | strings and numbers too |
//! | INT, BIGINT | a number without fraction that fits (`12`, `1.0`, `1e3`) | `1.5`; too large is `out_of_range`; `"12"` is a string |
//! | FLOAT, DOUBLE | a number, integral ones too | numbers beyond the type's range |
//! | DECIMAL | a number, exactly | more decimal places than the scale, unless they are zeros |
//! | DATE | a string `YYYY-MM-DD` | |
//! | TIMESTAMP | an ISO-8601 string; a zone is converted to UTC, no zone is UTC; digits past the unit are cut | numbers: their unit is anybody's guess |
//! | TIME | a string `HH:MM[:SS[.fraction]]` | |
//! | BINARY | base64; a UUID for 16 bytes | |
//! | ARRAY, STRUCT, MAP | an array or object whose values fit | |
//!
//! `null`, and a field that is not there, is NULL where the column may be NULL, else
//! `missing_required`. Fields that are not declared are passed over. Of a
//! field that is repeated the last value counts. In CSV every value is a text, so numbers and
//! booleans are read from texts; an empty field without quotes is NULL.
//!
//! Columns of Parquet and Arrow files are matched by name and cast by the same rules; a column
//! whose type can never fit is an error, a single value that does not is a dead letter.

mod columnar;
pub(crate) mod columns;
mod csv;
mod fit;
mod frame;
mod infer;
pub(crate) mod json;
mod number;
pub(crate) mod plan;
mod row_groups;
mod size;
mod text;
mod time;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::Stream;

use crate::dead_letter::{Coordinates, DeadLetter};
use crate::error::{IngestError, Result};
use crate::files::{FileStore, SourceFile};

pub use self::infer::{MAX_INFERRED_FIELDS, SAMPLE_RECORDS, infer_schema};

/// The most bytes a record may have: 16 MiB. A longer one is a dead letter of type `too_large`.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// How deep a record may be nested. A deeper one is a dead letter of type `too_deep`.
pub const MAX_DEPTH: usize = 128;

/// The most rows of a batch.
pub const BATCH_ROWS: usize = 8192;

/// A batch ends when its records, dead letters among them, had this many bytes: 16 MiB.
pub const BATCH_BYTES: usize = 16 << 20;

/// How a file holds its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON, an array if the first byte that is not blank is `[`, else one record per line.
    Json,
    /// One JSON object per line.
    NdJson,
    /// One JSON array of objects.
    JsonArray,
    /// Rows of fields with a delimiter between them.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
}

impl Format {
    /// The name, as `format => '…'` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::NdJson => "ndjson",
            Self::JsonArray => "json_array",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::NdJson,
            "json_array" => Self::JsonArray,
            "csv" => Self::Csv,
            "parquet" => Self::Parquet,
            "arrow" | "ipc" | "feather" => Self::Arrow,
            _ => {
                return Err(IngestError::InvalidOption {
                    option: "format",
                    value: name.to_owned(),
                    allowed: "json, ndjson, json_array, csv, parquet or arrow".to_owned(),
                });
            }
        })
    }
}

/// How CSV is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Whether the first row has the names of the columns; without it they are matched by place.
    pub header: bool,
    /// The byte between fields, `,` unless told otherwise.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters, quotes (doubled) or line ends.
    pub quote: u8,
    /// A field without quotes that is exactly this text is NULL.
    pub null_value: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: b'"',
            null_value: String::new(),
        }
    }
}

/// What to read out of files, and how.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    format: Format,
    schema: SchemaRef,
    filename: Option<String>,
    row_number: Option<String>,
    csv: CsvOptions,
}

impl ReadOptions {
    /// Reads files of a format as rows of a schema.
    pub fn new(format: Format, schema: SchemaRef) -> Self {
        Self {
            format,
            schema,
            filename: None,
            row_number: None,
            csv: CsvOptions::default(),
        }
    }

    /// Adds a STRING column with the location of the file (`filename => 'name'`).
    pub fn with_filename(mut self, column: impl Into<String>) -> Self {
        self.filename = Some(column.into());
        self
    }

    /// Adds a BIGINT column with the number of the record in its file, from 0
    /// (`row_number => 'name'`).
    pub fn with_row_number(mut self, column: impl Into<String>) -> Self {
        self.row_number = Some(column.into());
        self
    }

    /// Says how CSV is written.
    pub fn with_csv(mut self, csv: CsvOptions) -> Self {
        self.csv = csv;
        self
    }

    /// The schema of the batches: the declared columns, then the file's location and the record's
    /// number where they are asked for.
    ///
    /// # Errors
    /// [`IngestError::InvalidOption`] when a name is used twice or a CSV delimiter is not ASCII.
    pub fn output_schema(&self) -> Result<SchemaRef> {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        let extra = [
            ("filename", &self.filename, DataType::Utf8),
            ("row_number", &self.row_number, DataType::Int64),
        ];
        for (option, name, data_type) in extra {
            let Some(name) = name else { continue };
            if name.is_empty() || fields.iter().any(|field| field.name() == name) {
                return Err(IngestError::InvalidOption {
                    option,
                    value: name.clone(),
                    allowed: "a name that no column of the schema has".to_owned(),
                });
            }
            fields.push(Arc::new(Field::new(name, data_type, false)));
        }
        for (option, byte) in [("delimiter", self.csv.delimiter), ("quote", self.csv.quote)] {
            let same = self.csv.delimiter == self.csv.quote;
            if !byte.is_ascii() || matches!(byte, b'\n' | b'\r' | 0) || same {
                return Err(IngestError::InvalidOption {
                    option,
                    value: char::from(byte).to_string(),
                    allowed: "an ASCII character, no line end, and delimiter and quote differ"
                        .to_owned(),
                });
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// A part of a file.
#[derive(Debug, Clone)]
pub struct FileBatch {
    /// The rows, possibly none.
    pub batch: RecordBatch,
    /// The records between the first and the last of this part that are no rows.
    pub dead_letters: Vec<DeadLetter>,
}

/// What has been read of a file so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Records that became rows.
    pub rows: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
}

/// Reads one file.
///
/// Decoding takes the thread for the time of one batch between two reads of the store.
#[derive(Debug)]
pub struct FileReader {
    schema: SchemaRef,
    context: Context,
    report: FileReport,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Text(Box<text::TextReader>),
    Columnar(Box<columnar::ColumnarReader>),
}

/// What every part of a reader knows about its file.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) store: FileStore,
    pub(crate) file: SourceFile,
    pub(crate) source: Arc<str>,
    pub(crate) options: ReadOptions,
}

impl Context {
    pub(crate) fn corrupt(&self, reason: impl fmt::Display) -> IngestError {
        IngestError::Corrupt {
            file: self.file.location.clone(),
            format: self.options.format.name(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn dead_letter(
        &self,
        row: u64,
        byte_offset: Option<u64>,
        raw: Bytes,
        reject: plan::Reject,
    ) -> DeadLetter {
        DeadLetter {
            source: self.source.clone(),
            at: Coordinates::File {
                file: self.file.location.clone(),
                row,
                byte_offset,
            },
            raw,
            error_type: reject.error_type,
            message: reject.message,
        }
    }
}

/// Declared columns and the numbers of their rows, before the extra columns are added.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) rows: Vec<i64>,
    pub(crate) dead_letters: Vec<DeadLetter>,
}

impl FileReader {
    /// Opens a file. `source` is what dead letters name as their source.
    ///
    /// # Errors
    /// [`IngestError::InvalidOption`] and [`IngestError::UnsupportedType`] when the options cannot
    /// be met by any file; [`IngestError::Corrupt`], [`IngestError::MissingColumn`] and
    /// [`IngestError::ColumnType`] when they cannot be met by this one, as far as its head or
    /// footer tells; [`IngestError::Storage`] when it cannot be read.
    pub async fn open(
        store: &FileStore,
        file: &SourceFile,
        source: impl Into<Arc<str>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let schema = options.output_schema()?;
        let context = Context {
            store: store.clone(),
            file: file.clone(),
            source: source.into(),
            options: options.clone(),
        };
        let inner = match options.format {
            Format::Parquet | Format::Arrow => {
                let reader = columnar::ColumnarReader::open(&context).await?;
                Inner::Columnar(Box::new(reader))
            }
            _ => Inner::Text(Box::new(text::TextReader::new(&context)?)),
        };
        Ok(Self {
            schema,
            context,
            report: FileReport::default(),
            inner,
        })
    }

    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What has been read so far; after the last batch, the whole file.
    pub fn report(&self) -> &FileReport {
        &self.report
    }

    /// The next part of the file, or `None` at its end.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), where they show only later in the file. What came before
    /// stays valid, but whoever commits file by file must not count this one as read.
    pub async fn next(&mut self) -> Result<Option<FileBatch>> {
        let part = match &mut self.inner {
            Inner::Text(reader) => reader.next(&self.context).await?,
            Inner::Columnar(reader) => reader.next(&self.context).await?,
        };
        let Some(part) = part else { return Ok(None) };
        self.report.rows += part.rows.len() as u64;
        self.report.dead_letters += part.dead_letters.len() as u64;
        let location: &str = &self.context.file.location;
        let mut columns = part.columns;
        if self.context.options.filename.is_some() {
            columns.push(Arc::new(StringArray::from(vec![location; part.rows.len()])));
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(part.rows.len()));
        if self.context.options.row_number.is_some() {
            columns.push(Arc::new(Int64Array::from(part.rows)));
        }
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(IngestError::arrow(location))?;
        Ok(Some(FileBatch {
            batch,
            dead_letters: part.dead_letters,
        }))
    }

    /// The rest of the file as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<FileBatch>> + Send {
        futures::stream::try_unfold(self, |mut reader| async move {
            Ok(reader.next().await?.map(|batch| (batch, reader)))
        })
    }
}
