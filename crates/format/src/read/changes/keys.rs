//! Which rows are before and after an update: those with the same key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use iceberg::metadata_columns::RESERVED_COL_NAME_ROW_ID;
use iceberg::spec::{FormatVersion, Schema, StructType, Type};
use itertools::Itertools;

use super::UpdateImages;
use super::bag::{Changed, Encoder};
use super::file::Columns;
use crate::{Error, Result, Table};

/// A row of a batch.
pub(super) type Place = (usize, usize);

/// What makes a delete and an insert an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UpdateKey {
    /// Fields of the table, as ways of places through structs.
    Fields {
        names: Vec<String>,
        ways: Vec<Vec<usize>>,
    },
    RowId,
}

impl UpdateKey {
    pub(super) fn new(table: &Table, images: &UpdateImages) -> Result<Option<Self>> {
        let schema = table.schema();
        let ids: Vec<i32> = match images {
            UpdateImages::No => return Ok(None),
            UpdateImages::RowId => {
                let version = table.metadata().format_version();
                return if version >= FormatVersion::V3 {
                    Ok(Some(Self::RowId))
                } else {
                    Err(Error::invalid("rows have ids from format version 3 on")
                        .with("format-version", version)
                        .help("tell updates by key columns"))
                };
            }
            UpdateImages::IdentifierFields => schema.identifier_field_ids().sorted().collect(),
            UpdateImages::Columns(names) => {
                let ids = names.iter().map(|name| id_of(schema, name));
                ids.collect::<Result<_>>()?
            }
        };
        if ids.is_empty() {
            return Err(Error::invalid(
                "updates have no key: the table has no identifier fields, or no columns were named",
            )
            .help("name the columns that tell a row from others"));
        }
        let (mut names, mut ways) = (Vec::new(), Vec::new());
        for id in ids.into_iter().unique() {
            let name = schema.name_by_field_id(id).unwrap_or_default();
            let way = way_to(schema.as_struct(), id).ok_or_else(|| {
                Error::invalid("a field in a list or map cannot be a key").with("column", name)
            })?;
            names.push(name.to_string());
            ways.push(way);
        }
        Ok(Some(Self::Fields { names, ways }))
    }

    /// The deletes and inserts that are updates, in the order of the deletes.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) where several rows of one key went and came, as
    /// Spark's changelog view has it.
    pub(super) fn pairs(&self, rows: &[Changed], columns: &Columns) -> Result<Vec<(Place, Place)>> {
        let encoder = self.encoder(columns)?;
        let mut deletes: HashMap<Box<[u8]>, Deleted> = HashMap::new();
        let mut pairs = Vec::new();
        for inserted in [false, true] {
            for (batch, changed) in rows.iter().enumerate() {
                if changed.inserted != inserted {
                    continue;
                }
                let arrays = self.columns(changed, columns)?;
                let keys = encoder.encode(&arrays)?;
                for row in 0..changed.batch.num_rows() {
                    let has_key =
                        *self != Self::RowId || arrays.iter().all(|ids| ids.is_valid(row));
                    let (key, place) = (keys.row(row), (batch, row));
                    if !has_key {
                        // A row without an id is nobody's image.
                    } else if !inserted {
                        deletes
                            .entry(key.into())
                            .and_modify(|deleted| deleted.others = true)
                            .or_insert(Deleted {
                                place,
                                others: false,
                            });
                    } else if let Some(deleted) = deletes.get_mut(key) {
                        // The next row that came with this key would be one too many.
                        if std::mem::replace(&mut deleted.others, true) {
                            return Err(self.ambiguous(changed));
                        }
                        pairs.push((deleted.place, place));
                    }
                }
            }
        }
        pairs.sort_unstable();
        Ok(pairs)
    }

    fn encoder(&self, columns: &Columns) -> Result<Encoder> {
        let empty = RecordBatch::new_empty(Arc::clone(&columns.arrow));
        let arrays = self.arrays(&empty, columns)?;
        Encoder::new(arrays.iter().map(Array::data_type))
    }

    fn columns(&self, changed: &Changed, columns: &Columns) -> Result<Vec<ArrayRef>> {
        self.arrays(&changed.batch, columns)
    }

    /// The key of each row.
    fn arrays(&self, batch: &RecordBatch, columns: &Columns) -> Result<Vec<ArrayRef>> {
        match self {
            Self::RowId => {
                let at = columns.row_id();
                let ids = at.map(|at| Arc::clone(batch.column(at)));
                let ids = ids.ok_or_else(|| Error::internal("row ids were not read"))?;
                Ok(vec![ids])
            }
            Self::Fields { ways, .. } => ways.iter().map(|way| field(batch, way)).collect(),
        }
    }

    fn ambiguous(&self, changed: &Changed) -> Error {
        let key = match self {
            Self::RowId => RESERVED_COL_NAME_ROW_ID.to_string(),
            Self::Fields { names, .. } => names.join(", "),
        };
        Error::invalid(
            "several rows of the same key went and came, so their updates cannot be told",
        )
        .with("columns", key)
        .with("snapshot", changed.origin.snapshot)
        .help("name columns that tell each row from all others, or read without updates")
    }
}

/// A row that went, by its key.
struct Deleted {
    place: Place,
    /// Whether there are other rows of this key.
    others: bool,
}

/// The field at the end of this way; it is NULL where a struct around it is.
fn field(batch: &RecordBatch, way: &[usize]) -> Result<ArrayRef> {
    let lost = || Error::internal("a key column was not read");
    let (first, inner) = way.split_first().ok_or_else(lost)?;
    let mut array = Arc::clone(batch.columns().get(*first).ok_or_else(lost)?);
    for at in inner {
        let outer = array.as_struct_opt().ok_or_else(lost)?;
        let field = outer.columns().get(*at).ok_or_else(lost)?;
        let nulls = NullBuffer::union(outer.nulls(), field.nulls());
        let data = field.to_data().into_builder().nulls(nulls).build()?;
        array = make_array(data);
    }
    Ok(array)
}

fn id_of(schema: &Schema, name: &str) -> Result<i32> {
    schema.field_id_by_name(name).ok_or_else(|| {
        let fields = schema.as_struct().fields().iter();
        Error::invalid("there is no such column")
            .with("column", name)
            .help(format!(
                "columns are: {}",
                fields.map(|field| field.name.as_str()).join(", ")
            ))
    })
}

/// The places of a field and of the structs around it.
fn way_to(fields: &StructType, id: i32) -> Option<Vec<usize>> {
    fields.fields().iter().enumerate().find_map(|(at, field)| {
        if field.id == id {
            return Some(vec![at]);
        }
        let Type::Struct(inner) = field.field_type.as_ref() else {
            return None;
        };
        let way = way_to(inner, id)?;
        Some([vec![at], way].concat())
    })
}
