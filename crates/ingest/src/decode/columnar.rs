//! Reading Parquet and Arrow IPC files.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::Buffer;
use arrow::compute::filter;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, StreamDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer};
use bytes::Bytes;

use super::fit::{self, Rejects, Unfit};
use super::row_groups::RowGroups;
use super::{Context, Format, MAX_RECORD_BYTES, Part, size};
use crate::error::{IngestError, Result};

/// How much of an Arrow stream is asked of the store at once.
const READ_BYTES: u64 = 4 << 20;

/// Reads a file of a columnar format.
#[derive(Debug)]
pub(crate) struct ColumnarReader {
    batches: Batches,
    /// Rows of a batch that is larger than one part may be.
    waiting: Option<RecordBatch>,
    row: u64,
}

impl ColumnarReader {
    pub(crate) async fn open(context: &Context) -> Result<Self> {
        let declared = &context.options.schema;
        let wanted = |name: &str| declared.field_with_name(name).is_ok();
        let (batches, schema) = Batches::open(context, wanted).await?;
        let file = || context.file.location.clone();
        fit::check_fields(schema.fields(), declared.fields(), "").map_err(|unfit| match unfit {
            Unfit::Type {
                column,
                found,
                expected,
            } => IngestError::ColumnType {
                file: file(),
                column,
                found,
                expected,
            },
            Unfit::Missing { column, found } => IngestError::MissingColumn {
                file: file(),
                column,
                found,
            },
        })?;
        Ok(Self {
            batches,
            waiting: None,
            row: 0,
        })
    }

    pub(crate) async fn next(&mut self, context: &Context) -> Result<Option<Part>> {
        let batch = match self.waiting.take() {
            Some(batch) => batch,
            None => loop {
                match self.batches.next(context).await? {
                    Some(batch) if batch.num_rows() == 0 => {}
                    Some(batch) => break batch,
                    None => return Ok(None),
                }
            },
        };
        let rows = size::rows_of_part(&batch);
        if rows < batch.num_rows() {
            self.waiting = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let part = part(context, &batch.slice(0, rows), self.row)
            .map_err(IngestError::arrow(&*context.file.location))?;
        self.row += rows as u64;
        Ok(Some(part))
    }
}

/// The rows of a batch that fit the declared schema, and dead letters of those that do not.
fn part(context: &Context, batch: &RecordBatch, first: u64) -> Result<Part, ArrowError> {
    let schema = &context.options.schema;
    let mut rejects = Rejects::new();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => fit::fit(column, field, field.name(), &mut rejects)?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    let number = |row: usize| i64::try_from(first + row as u64).unwrap_or(i64::MAX);
    let mut rows: Vec<i64> = (0..batch.num_rows()).map(number).collect();
    if !rejects.is_empty() {
        let keep = (0..batch.num_rows()).map(|row| !rejects.contains_key(&row));
        let keep: BooleanArray = keep.map(Some).collect();
        rows.retain(|row| !rejects.contains_key(&((*row - number(0)) as usize)));
        for column in &mut columns {
            *column = filter(column, &keep)?;
        }
    }
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        *column = fit::declared(column, field.data_type())?;
    }
    let dead_letters = rejects
        .into_iter()
        .map(|(row, reject)| {
            let raw = as_json(&batch.slice(row, 1));
            context.dead_letter(first + row as u64, None, raw, reject)
        })
        .collect();
    Ok(Part {
        columns,
        rows,
        dead_letters,
    })
}

/// A row as JSON, or as Arrow prints it where a type has no JSON.
fn as_json(row: &RecordBatch) -> Bytes {
    let mut json = Vec::new();
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(&mut json);
    let written = writer.write(row).and_then(|()| writer.finish());
    drop(writer);
    if written.is_err() {
        json = format!("{row:?}").into_bytes();
    }
    json.truncate(json.trim_ascii_end().len().min(MAX_RECORD_BYTES));
    Bytes::from(json)
}

/// The batches of a file as they are in it.
enum Batches {
    Parquet(Box<RowGroups>),
    File {
        decoder: FileDecoder,
        blocks: VecDeque<Block>,
    },
    Stream(Box<ArrowStream>),
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet(_) => "Parquet",
            Self::File { .. } => "ArrowFile",
            Self::Stream(_) => "ArrowStream",
        })
    }
}

impl Batches {
    /// Opens a file to read the wanted columns of it, and gives the schema of all.
    async fn open(context: &Context, wanted: impl Fn(&str) -> bool) -> Result<(Self, SchemaRef)> {
        match context.options.format {
            Format::Parquet => {
                let (groups, schema) = RowGroups::open(context, wanted).await?;
                Ok((Self::Parquet(Box::new(groups)), schema))
            }
            _ => arrow(context).await,
        }
    }

    async fn next(&mut self, context: &Context) -> Result<Option<RecordBatch>> {
        match self {
            Self::Parquet(groups) => groups.next(context).await,
            Self::File { decoder, blocks } => {
                while let Some(block) = blocks.pop_front() {
                    let data = read_block(context, &block).await?;
                    let batch = guarded(context, || decoder.read_record_batch(&block, &data))?;
                    if batch.is_some() {
                        return Ok(batch);
                    }
                }
                Ok(None)
            }
            Self::Stream(stream) => stream.next(context).await,
        }
    }
}

/// Runs a decoder on bytes from outside. Arrow's decoders check what they can and return errors;
/// where a broken file makes one of them panic, that is an error of the file as well.
fn guarded<T>(context: &Context, decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(decode))
        .map_err(|_| context.corrupt("its messages cannot be decoded"))?
        .map_err(|error| context.corrupt(error))
}

/// The schema of a columnar file.
pub(crate) async fn schema(context: &Context) -> Result<SchemaRef> {
    Ok(Batches::open(context, |_| false).await?.1)
}

/// Opens an Arrow IPC file of either kind: the file format begins with a magic, the stream does
/// not.
async fn arrow(context: &Context) -> Result<(Batches, SchemaRef)> {
    const MAGIC: &[u8] = b"ARROW1";
    let head = context
        .store
        .read(&context.file, 0..context.file.size.min(8))
        .await?;
    if !head.starts_with(MAGIC) {
        let mut stream = Box::new(ArrowStream::new());
        let schema = stream.schema(context).await?;
        return Ok((Batches::Stream(stream), schema));
    }
    let size = context.file.size;
    let trailer = size.checked_sub(10).filter(|at| *at >= 8);
    let at = trailer.ok_or_else(|| context.corrupt("it is too short for a footer"))?;
    let trailer = context.store.read(&context.file, at..size).await?;
    let trailer: [u8; 10] = trailer
        .as_ref()
        .try_into()
        .map_err(|_| context.corrupt("its trailer cannot be read"))?;
    let length = read_footer_length(trailer).map_err(|error| context.corrupt(error))?;
    let start = at
        .checked_sub(length as u64)
        .ok_or_else(|| context.corrupt("its footer is longer than the file"))?;
    let footer = context.store.read(&context.file, start..at).await?;
    let (mut decoder, dictionaries, blocks, schema) = guarded(context, || {
        let footer = root_as_footer(&footer)
            .map_err(|error| ArrowError::ParseError(format!("its footer: {error}")))?;
        let schema = footer
            .schema()
            .ok_or_else(|| ArrowError::ParseError("its footer has no schema".to_owned()))?;
        let schema: SchemaRef = Arc::new(fb_to_schema(schema));
        let decoder = FileDecoder::new(schema.clone(), footer.version());
        let dictionaries: Vec<Block> = footer.dictionaries().iter().flatten().copied().collect();
        let blocks: VecDeque<Block> = footer.recordBatches().iter().flatten().copied().collect();
        Ok((decoder, dictionaries, blocks, schema))
    })?;
    for block in dictionaries {
        let data = read_block(context, &block).await?;
        guarded(context, || decoder.read_dictionary(&block, &data))?;
    }
    Ok((Batches::File { decoder, blocks }, schema))
}

async fn read_block(context: &Context, block: &Block) -> Result<Buffer> {
    let range = (|| {
        let start = u64::try_from(block.offset()).ok()?;
        let head = u64::try_from(block.metaDataLength()).ok()?;
        let end = start
            .checked_add(head)?
            .checked_add(u64::try_from(block.bodyLength()).ok()?)?;
        (head >= 4 && end <= context.file.size).then_some(start..end)
    })();
    let range = range.ok_or_else(|| context.corrupt("its footer names bytes it does not have"))?;
    Ok(Buffer::from(
        context.store.read(&context.file, range).await?,
    ))
}

/// An Arrow IPC stream, read in chunks.
struct ArrowStream {
    decoder: StreamDecoder,
    chunk: Buffer,
    read: u64,
    first: Option<RecordBatch>,
    finished: bool,
}

impl ArrowStream {
    fn new() -> Self {
        Self {
            decoder: StreamDecoder::new(),
            chunk: Buffer::default(),
            read: 0,
            first: None,
            finished: false,
        }
    }

    /// Reads up to the schema, which begins a stream.
    async fn schema(&mut self, context: &Context) -> Result<SchemaRef> {
        self.first = self.next(context).await?;
        let schema = self.decoder.schema();
        schema.ok_or_else(|| context.corrupt("it is no Arrow file and no Arrow stream"))
    }

    async fn next(&mut self, context: &Context) -> Result<Option<RecordBatch>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while !self.finished {
            let (decoder, chunk) = (&mut self.decoder, &mut self.chunk);
            if let Some(batch) = guarded(context, || decoder.decode(chunk))? {
                return Ok(Some(batch));
            }
            if self.read == context.file.size {
                let decoder = &mut self.decoder;
                guarded(context, || decoder.finish())?;
                self.finished = true;
                break;
            }
            let end = context.file.size.min(self.read + READ_BYTES);
            let bytes = context.store.read(&context.file, self.read..end).await?;
            self.read = end;
            self.chunk = Buffer::from(bytes);
        }
        Ok(None)
    }
}

/// A schema without columns, for files that are only looked at.
pub(crate) fn no_columns() -> SchemaRef {
    Arc::new(Schema::empty())
}
