//! One row for each key of a batch.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options, interleave};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use berglake_format::schema::to_arrow;
use berglake_format::{Error, Result, Table};

/// Rows are handed to the writer in batches of this many.
const ROWS_PER_BATCH: usize = 8192;

/// Makes bytes of key and sequence columns, which compare as the values do: NULL is the lowest and
/// equal to itself.
#[derive(Debug)]
pub(super) struct Converter {
    keys: RowConverter,
    sequence: RowConverter,
    /// Names and types in the table, the sequence last.
    columns: Vec<(String, DataType)>,
}

/// The keys and sequences of some rows.
pub(super) struct Converted {
    pub(super) keys: Rows,
    pub(super) sequences: Rows,
}

impl Converter {
    fn new(table: &Table, keys: &[String], sequence: &str) -> Result<Self> {
        let schema = to_arrow(table.schema())?;
        let column = |name: &str| column_type(table, &schema, name);
        let mut columns = Vec::with_capacity(keys.len() + 1);
        for name in keys.iter().map(String::as_str).chain([sequence]) {
            columns.push((name.to_owned(), column(name)?));
        }
        let fields = |columns: &[(String, DataType)]| {
            columns
                .iter()
                .map(|(_, data_type)| SortField::new(data_type.clone()))
                .collect()
        };
        Ok(Self {
            keys: RowConverter::new(fields(&columns[..keys.len()]))?,
            sequence: RowConverter::new(fields(&columns[keys.len()..]))?,
            columns,
        })
    }

    /// The columns of the table that a look-up needs, each once.
    pub(super) fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.columns.len());
        for (name, _) in &self.columns {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<Converted> {
        let arrays = self.arrays(batch)?;
        let (keys, sequence) = arrays.split_at(arrays.len() - 1);
        Ok(Converted {
            keys: self.keys.convert_columns(keys)?,
            sequences: self.sequence.convert_columns(sequence)?,
        })
    }

    /// Key and sequence columns in the types of the table.
    fn arrays(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let arrays = self.columns.iter().map(|(name, data_type)| {
            let column = batch.column_by_name(name).ok_or_else(|| {
                Error::invalid("the rows lack a column that the upsert needs").with("column", name)
            })?;
            if column.data_type() == data_type {
                return Ok(column.clone());
            }
            cast_with_options(column, data_type, &strict).map_err(|error| {
                Error::invalid("a key or sequence column does not fit the table")
                    .with("column", name)
                    .with("type", column.data_type())
                    .with("expected", data_type)
                    .source_error(error)
            })
        });
        arrays.collect()
    }
}

fn column_type(table: &Table, schema: &SchemaRef, name: &str) -> Result<DataType> {
    let missing = || {
        Error::invalid("the table lacks a key or sequence column")
            .with("table", table.ident())
            .with("column", name)
    };
    let data_type = schema
        .field_with_name(name)
        .map_err(|_| missing())?
        .data_type()
        .clone();
    if data_type.is_nested() {
        return Err(
            Error::invalid("a key or sequence column must not be nested")
                .with("table", table.ident())
                .with("column", name),
        );
    }
    Ok(data_type)
}

/// The row of a key that no row so far has beaten.
struct Best {
    place: (usize, usize),
    sequence: Box<[u8]>,
}

/// The rows of a batch that win their keys.
pub(super) struct Winners {
    pub(super) converter: Converter,
    /// Batch and row of each winner, in the order in which the winning rows stand in the source.
    places: Vec<(usize, usize)>,
    /// The winner of each key.
    by_key: HashMap<Box<[u8]>, usize>,
    /// The sequence of each winner.
    pub(super) sequences: Vec<Box<[u8]>>,
    /// The key columns of the winners, in the types of the table.
    pub(super) key_columns: Vec<(String, Vec<ArrayRef>)>,
    /// How many rows lost within the batch.
    pub(super) superseded: u64,
}

impl Winners {
    pub(super) fn of(
        table: &Table,
        batches: &[RecordBatch],
        keys: &[String],
        sequence: &str,
    ) -> Result<Self> {
        let converter = Converter::new(table, keys, sequence)?;
        let mut best: HashMap<Box<[u8]>, Best> = HashMap::new();
        let mut key_columns: Vec<(String, Vec<ArrayRef>)> =
            keys.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut rows = 0;
        for (at, batch) in batches.iter().enumerate() {
            let arrays = converter.arrays(batch)?;
            for ((_, parts), array) in key_columns.iter_mut().zip(arrays) {
                parts.push(array);
            }
            let converted = converter.convert(batch)?;
            rows += batch.num_rows();
            for row in 0..batch.num_rows() {
                let key = converted.keys.row(row);
                let sequence = converted.sequences.row(row);
                let candidate = || Best {
                    place: (at, row),
                    sequence: sequence.as_ref().into(),
                };
                match best.get_mut(key.as_ref()) {
                    Some(known) if sequence.as_ref() < &*known.sequence => {}
                    Some(known) => *known = candidate(),
                    None => {
                        best.insert(key.as_ref().into(), candidate());
                    }
                }
            }
        }
        let mut best: Vec<_> = best.into_iter().collect();
        best.sort_unstable_by_key(|(_, best)| best.place);
        let superseded = (rows - best.len()) as u64;
        let mut places = Vec::with_capacity(best.len());
        let mut by_key = HashMap::with_capacity(best.len());
        let mut sequences = Vec::with_capacity(best.len());
        for (key, best) in best {
            by_key.insert(key, places.len());
            places.push(best.place);
            sequences.push(best.sequence);
        }
        Ok(Self {
            converter,
            places,
            by_key,
            sequences,
            key_columns,
            superseded,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The winner of a key.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The rows of the winners that are kept, in source order.
    pub(super) fn rows(&self, batches: &[RecordBatch], keep: &[bool]) -> Result<Vec<RecordBatch>> {
        let kept: Vec<(usize, usize)> = self
            .places
            .iter()
            .zip(keep)
            .filter(|(_, keep)| **keep)
            .map(|(place, _)| *place)
            .collect();
        kept.chunks(ROWS_PER_BATCH)
            .map(|places| interleaved(batches, places))
            .collect()
    }
}

/// Rows of several batches as one. Columns are matched by name, and may hold NULL whatever the
/// batches say: engines declare it by what they happened to see, and the writer checks it.
fn interleaved(batches: &[RecordBatch], places: &[(usize, usize)]) -> Result<RecordBatch> {
    let Some(first) = batches.first() else {
        return Err(Error::internal("rows of no batch"));
    };
    let schema = first.schema();
    let mut columns: Vec<(&str, ArrayRef, bool)> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let parts = batches.iter().map(|batch| {
            batch
                .column_by_name(field.name())
                .map(AsRef::as_ref)
                .ok_or_else(|| {
                    Error::invalid("the batches of an upsert have different columns")
                        .with("column", field.name())
                })
        });
        let parts = parts.collect::<Result<Vec<&dyn Array>>>()?;
        columns.push((field.name(), interleave(&parts, places)?, true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
