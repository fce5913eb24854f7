//! Reading JSON and CSV files: framing, decoding, batching.

use std::collections::{HashSet, VecDeque};

use arrow::array::ArrayRef;

use super::columns::Rows;
use super::csv::{self, Layout};
use super::frame::{Array, Csv, Frame, Framer, Lines};
use super::json;
use super::plan::{Cell, Columns, Reject};
use super::{BATCH_BYTES, BATCH_ROWS, Context, Format, Part};
use crate::error::{IngestError, Result};

/// How much is asked of the store at once.
const READ_BYTES: u64 = 4 << 20;

/// The framer of a text format.
pub(crate) fn framer(context: &Context) -> Framer {
    let options = &context.options;
    match options.format {
        Format::Csv => Framer::Csv(Csv::new(options.csv.delimiter, options.csv.quote)),
        Format::NdJson => Framer::Lines(Lines::default()),
        Format::JsonArray => Framer::Array(Array::default()),
        _ => Framer::detect(),
    }
}

/// The frames of a file, read as they are asked for.
#[derive(Debug)]
pub(crate) struct Frames {
    framer: Framer,
    queue: VecDeque<Frame>,
    read: u64,
    finished: bool,
}

impl Frames {
    pub(crate) fn new(framer: Framer) -> Self {
        Self {
            framer,
            queue: VecDeque::new(),
            read: 0,
            finished: false,
        }
    }

    pub(crate) async fn next(&mut self, context: &Context) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.queue.pop_front() {
                return Ok(Some(frame));
            }
            if self.finished {
                return Ok(None);
            }
            let mut frames = Vec::new();
            if self.read < context.file.size {
                let end = context.file.size.min(self.read + READ_BYTES);
                let chunk = context.store.read(&context.file, self.read..end).await?;
                if chunk.len() as u64 != end - self.read {
                    return Err(context.corrupt(format!(
                        "it has {} bytes fewer than when it was listed",
                        context.file.size - self.read - chunk.len() as u64
                    )));
                }
                self.read = end;
                self.framer.push(chunk, &mut frames);
            } else {
                self.framer.finish(&mut frames);
                self.finished = true;
            }
            self.queue.extend(frames);
        }
    }
}

/// Reads a file of a text format.
#[derive(Debug)]
pub(crate) struct TextReader {
    frames: Frames,
    columns: Columns,
    /// The layout of a CSV file, once its first row was seen.
    layout: Option<Layout>,
    rows: Rows,
    /// The number of the next record.
    row: u64,
}

impl TextReader {
    pub(crate) fn new(context: &Context) -> Result<Self> {
        let options = &context.options;
        let nested = options.format != Format::Csv;
        let rows = Rows::new(options.schema.fields())
            .map_err(IngestError::arrow(&*context.file.location))?;
        Ok(Self {
            frames: Frames::new(framer(context)),
            columns: Columns::plan(&options.schema, options.format.name(), nested)?,
            layout: None,
            rows,
            row: 0,
        })
    }

    pub(crate) async fn next(&mut self, context: &Context) -> Result<Option<Part>> {
        let mut numbers: Vec<i64> = Vec::new();
        let mut dead_letters = Vec::new();
        let mut bytes = 0;
        while self.rows.len() < BATCH_ROWS && bytes < BATCH_BYTES && dead_letters.len() < BATCH_ROWS
        {
            let Some(frame) = self.frames.next(context).await? else {
                break;
            };
            if context.options.format == Format::Csv && self.layout.is_none() {
                let (layout, is_header) = layout(context, &self.columns, &frame)?;
                self.layout = Some(layout);
                if is_header {
                    continue;
                }
            }
            // A row costs memory even if its record is short.
            bytes += frame.raw.len() + 64;
            let Frame {
                offset,
                raw,
                reject,
            } = frame;
            let decoded = match reject {
                Some(reject) => Err(reject),
                None => self.decode(context, &raw),
            };
            match decoded {
                Ok(cells) => {
                    self.rows.append(cells).map_err(IngestError::arrow(format!(
                        "record {} of {}",
                        self.row, context.file.location
                    )))?;
                    numbers.push(i64::try_from(self.row).unwrap_or(i64::MAX));
                }
                // The copy lets go of the whole chunk that the record is a slice of.
                Err(reject) => dead_letters.push(context.dead_letter(
                    self.row,
                    Some(offset),
                    raw.to_vec().into(),
                    reject,
                )),
            }
            self.row += 1;
        }
        if numbers.is_empty() && dead_letters.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self
            .rows
            .finish()
            .map_err(IngestError::arrow(&*context.file.location))?;
        Ok(Some(Part {
            columns,
            rows: numbers,
            dead_letters,
        }))
    }

    fn decode<'a>(&self, context: &Context, raw: &'a [u8]) -> Result<Vec<Cell<'a>>, Reject> {
        let Some(layout) = &self.layout else {
            return json::decode(raw, &self.columns);
        };
        let options = &context.options.csv;
        let fields = csv::fields(raw, options.delimiter, options.quote)?;
        csv::decode(fields, &self.columns, layout, &options.null_value)
    }
}

/// The layout that the first row of a CSV file tells, and whether that row is the header.
fn layout(context: &Context, columns: &Columns, first: &Frame) -> Result<(Layout, bool)> {
    let options = &context.options.csv;
    if !options.header {
        let width = columns.list.len();
        return Ok((
            Layout {
                width,
                places: (0..width).map(Some).collect(),
            },
            false,
        ));
    }
    let names = header(context, first)?;
    let mut places = Vec::with_capacity(columns.list.len());
    for column in &columns.list {
        let place = names.iter().position(|name| name == column.field.name());
        if place.is_none() && !column.field.is_nullable() {
            return Err(IngestError::MissingColumn {
                file: context.file.location.clone(),
                column: column.path.clone(),
                found: names.join(", "),
            });
        }
        places.push(place);
    }
    Ok((
        Layout {
            width: names.len(),
            places,
        },
        true,
    ))
}

/// The names in the header of a CSV file.
pub(crate) fn header(context: &Context, first: &Frame) -> Result<Vec<String>> {
    let options = &context.options.csv;
    if let Some(reject) = &first.reject {
        return Err(context.corrupt(format!("its header cannot be read: {}", reject.message)));
    }
    let fields = csv::fields(&first.raw, options.delimiter, options.quote)
        .map_err(|reject| context.corrupt(format!("its header: {}", reject.message)))?;
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    let mut known: HashSet<String> = HashSet::with_capacity(fields.len());
    for (name, _) in fields {
        let name = name.trim();
        if !known.insert(name.to_owned()) {
            return Err(context.corrupt(format!("its header has {name:?} twice")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
