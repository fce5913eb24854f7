//! Rows that came and rows that went; a row that did both is in neither.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StructArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::row::{RowConverter, Rows, SortField};

use crate::Result;

/// The snapshot that changes are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its place in the range.
    pub(super) ordinal: i32,
    /// Its id.
    pub(super) snapshot: i64,
}

/// Rows of one snapshot that all came, or all went.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) batch: RecordBatch,
    pub(super) inserted: bool,
    pub(super) origin: Origin,
}

/// Turns rows into bytes that are equal where the rows are.
pub(super) struct Encoder(RowConverter);

/// Encoded rows.
pub(super) struct Encoded(Option<Rows>);

impl Encoder {
    /// For columns of these types.
    pub(super) fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self> {
        let fields = types
            .into_iter()
            .map(|ty| SortField::new(comparable_type(ty)));
        Ok(Self(RowConverter::new(fields.collect())?))
    }

    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        if columns.is_empty() {
            return Ok(Encoded(None));
        }
        let columns = columns.iter().map(comparable).collect::<Result<Vec<_>>>()?;
        Ok(Encoded(Some(self.0.convert_columns(&columns)?)))
    }
}

impl Encoded {
    /// The bytes of a row. Rows without columns are all equal.
    pub(super) fn row(&self, at: usize) -> &[u8] {
        self.0.as_ref().map_or(&[], |rows| rows.row(at).data())
    }
}

/// Arrow's row format has no maps; they are compared as lists of their entries, in their order.
fn comparable_type(ty: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let ty = comparable_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(ty))
    };
    match ty {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
        DataType::List(inner) => DataType::List(field(inner)),
        DataType::Map(entries, _) => DataType::List(field(entries)),
        other => other.clone(),
    }
}

fn comparable(array: &ArrayRef) -> Result<ArrayRef> {
    let ty = comparable_type(array.data_type());
    if ty == *array.data_type() {
        return Ok(Arc::clone(array));
    }
    Ok(match ty {
        DataType::Struct(fields) => {
            let all = array.as_struct();
            let columns = all.columns().iter().map(comparable);
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields,
                columns,
                all.nulls().cloned(),
                all.len(),
            )?)
        }
        DataType::List(inner) => {
            let (offsets, values) = match array.as_map_opt() {
                Some(map) => (map.offsets(), Arc::new(map.entries().clone()) as ArrayRef),
                None => {
                    let list = array.as_list::<i32>();
                    (list.offsets(), Arc::clone(list.values()))
                }
            };
            Arc::new(ListArray::try_new(
                inner,
                offsets.clone(),
                comparable(&values)?,
                array.nulls().cloned(),
            )?)
        }
        _ => Arc::clone(array),
    })
}

/// A bag of changed rows in which a row that came takes an equal one that went with it, and the other
/// way round, the youngest first.
pub(super) struct Bag {
    encoder: Encoder,
    /// The columns in which rows must be equal.
    columns: Vec<usize>,
    held: Vec<Held>,
    /// Where rows of these bytes are: they all came, or all went.
    places: HashMap<Box<[u8]>, Vec<Place>>,
}

struct Held {
    changed: Changed,
    /// Rows that have found an equal one since.
    gone: Vec<usize>,
}

/// A batch that is held, and a row of it.
type Place = (usize, usize);

impl Bag {
    /// Compares these columns of the schema.
    pub(super) fn new(schema: &Schema, columns: impl Iterator<Item = usize>) -> Result<Self> {
        let columns: Vec<usize> = columns.collect();
        let fields = columns.iter().map(|at| schema.field(*at));
        Ok(Self {
            encoder: Encoder::new(fields.map(Field::data_type))?,
            columns,
            held: Vec::new(),
            places: HashMap::new(),
        })
    }

    pub(super) fn add(&mut self, changed: Changed) -> Result<()> {
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|at| Arc::clone(changed.batch.column(*at)))
            .collect();
        let encoded = self.encoder.encode(&columns)?;
        let own = self.held.len();
        let rows = changed.batch.num_rows();
        let mut keep = Vec::with_capacity(rows);
        let mut kept = 0;
        for row in 0..rows {
            let bytes = encoded.row(row);
            let equal = self.take(bytes, changed.inserted);
            keep.push(!equal);
            if !equal {
                self.hold(bytes, (own, kept));
                kept += 1;
            }
        }
        if kept > 0 {
            self.held.push(Held {
                changed: changed.only(&BooleanArray::from(keep))?,
                gone: Vec::new(),
            });
        }
        Ok(())
    }

    /// Takes out a row of these bytes that did the opposite, if there is one.
    fn take(&mut self, bytes: &[u8], inserted: bool) -> bool {
        let Some(places) = self.places.get_mut(bytes) else {
            return false;
        };
        let last = places.last().copied();
        let opposite = last.and_then(|(batch, row)| {
            // A batch that is not held yet is the one that is being added.
            let held = self.held.get_mut(batch)?;
            (held.changed.inserted != inserted).then_some((held, row))
        });
        let Some((held, row)) = opposite else {
            return false;
        };
        held.gone.push(row);
        places.pop();
        if places.is_empty() {
            self.places.remove(bytes);
        }
        true
    }

    fn hold(&mut self, bytes: &[u8], place: Place) {
        match self.places.get_mut(bytes) {
            Some(places) => places.push(place),
            None => {
                self.places.insert(bytes.into(), vec![place]);
            }
        }
    }

    /// The rows that have found no equal, in the order in which they were added.
    pub(super) fn rest(self) -> Result<Vec<Changed>> {
        let mut rest = Vec::with_capacity(self.held.len());
        for Held { changed, gone } in self.held {
            let rows = changed.batch.num_rows();
            if gone.is_empty() {
                rest.push(changed);
            } else if gone.len() < rows {
                let mut keep = vec![true; rows];
                for row in gone {
                    keep[row] = false;
                }
                rest.push(changed.only(&BooleanArray::from(keep))?);
            }
        }
        Ok(rest)
    }
}

impl Changed {
    fn only(self, keep: &BooleanArray) -> Result<Self> {
        let batch = match keep.true_count() == self.batch.num_rows() {
            true => self.batch,
            false => filter_record_batch(&self.batch, keep)?,
        };
        Ok(Self { batch, ..self })
    }
}
