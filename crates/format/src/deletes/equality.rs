//! Equality deletes: rows are deleted by the values of key columns.
//!
//! Two keys are equal if all their values are, and NULL equals NULL (specification, "Equality Delete
//! Files"). Which columns make the key stands in each delete file's manifest entry; they are found
//! by id, wherever they stand and whatever they are called now, also where they are not read
//! otherwise or have been dropped since.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::row::{RowConverter, SortField};
use futures::TryStreamExt;
use iceberg::spec::{DataFile, NestedField, NestedFieldRef, StructType, TableMetadata, Type};
use itertools::Itertools;

use super::{DeleteLoader, cell};
use crate::plan::DeleteFile;
use crate::read::file::{Fallbacks, ParquetFile, Wanted};
use crate::read::names;
use crate::storage::Storage;
use crate::{Error, Result, Table, task};

/// Rows that are decoded at once.
const BATCH_SIZE: usize = 16_384;

/// The keys of one delete file, in Arrow's row format: equal keys are equal bytes.
pub(super) type Keys = HashSet<Box<[u8]>>;

/// The equality deletes of one data file.
#[derive(Debug)]
pub struct EqualityDeletes {
    groups: Vec<Group>,
}

/// Delete files with the same key columns.
struct Group {
    columns: Vec<Wanted>,
    converter: RowConverter,
    keys: Vec<Arc<Keys>>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<i32> = self.columns.iter().map(|column| column.field.id).collect();
        f.debug_struct("Group")
            .field("columns", &ids)
            .field("keys", &self.keys.iter().map(|k| k.len()).sum::<usize>())
            .finish()
    }
}

impl EqualityDeletes {
    pub(super) async fn load(
        loader: &DeleteLoader,
        table: &Table,
        deletes: &[Arc<DeleteFile>],
    ) -> Result<Option<Self>> {
        if deletes.is_empty() {
            return Ok(None);
        }
        let mut groups = Vec::new();
        let key_of = |delete: &Arc<DeleteFile>| {
            let ids = delete.file.equality_ids().unwrap_or_default();
            ids.into_iter().sorted().dedup().collect::<Vec<_>>()
        };
        for (ids, deletes) in deletes.iter().into_group_map_by(|d| key_of(d)) {
            let path = deletes.first().map(|delete| delete.file.file_path());
            let at = |error: Error| error.with("path", path.unwrap_or_default());
            let columns = key_columns(table.metadata(), &ids).map_err(at)?;
            let mut keys = Vec::with_capacity(deletes.len());
            for delete in deletes {
                keys.push(loader.load_keys(table, delete, &columns).await?);
            }
            groups.push(Group {
                converter: converter(&columns)?,
                columns,
                keys,
            });
        }
        // A map has no order; the order of the columns must not vary.
        groups.sort_by_key(|group| group.columns.iter().map(|c| c.field.id).collect::<Vec<_>>());
        Ok(Some(Self { groups }))
    }

    /// The key columns that [`keep`](Self::keep) wants to see: top-level fields, cut down to the key.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &Wanted> {
        self.groups.iter().flat_map(|group| &group.columns)
    }

    /// The fields that must be read to apply these deletes, top-level ones cut down to the key
    /// columns in them, in the order in which [`keep`](Self::keep) wants them.
    pub fn fields(&self) -> Vec<NestedFieldRef> {
        self.columns().map(|column| column.field.clone()).collect()
    }

    /// Which of these rows are left. `columns` are the arrays of [`fields`](Self::fields).
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) for other columns than asked for.
    pub fn keep(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let mut keep = vec![true; rows];
        let mut rest = columns;
        for group in &self.groups {
            let (own, others) = rest
                .split_at_checked(group.columns.len())
                .ok_or_else(|| Error::internal("a key column is missing"))?;
            rest = others;
            let own = own.iter().map(innermost).collect::<Result<Vec<_>>>()?;
            let encoded = group.converter.convert_columns(&own)?;
            for (keep, row) in keep.iter_mut().zip(encoded.iter()) {
                *keep &= !group.keys.iter().any(|keys| keys.contains(row.data()));
            }
        }
        Ok(BooleanArray::from(keep))
    }
}

impl DeleteLoader {
    async fn load_keys(
        &self,
        table: &Table,
        delete: &Arc<DeleteFile>,
        columns: &[Wanted],
    ) -> Result<Arc<Keys>> {
        let path = delete.file.file_path();
        let cell = cell(&self.cache.keys, path.to_string());
        let loaded = cell.get_or_try_init(|| {
            let (storage, delete) = (self.storage.clone(), delete.clone());
            let (table, columns) = (table.clone(), columns.to_vec());
            task::decode(path, async move {
                read_keys(&storage, &table, &delete.file, &columns)
                    .await
                    .map(Arc::new)
            })
        });
        loaded.await.cloned()
    }
}

async fn read_keys(
    storage: &Storage,
    table: &Table,
    file: &DataFile,
    columns: &[Wanted],
) -> Result<Keys> {
    // A key column that the delete file lacks has no default: the file is not what it claims to be.
    let wanted: Vec<Wanted> = columns
        .iter()
        .map(|column| {
            let mut field = column.field.as_ref().clone();
            field.required = true;
            field.initial_default = None;
            Wanted {
                field: Arc::new(field),
                arrow: column.arrow.clone(),
            }
        })
        .collect();
    let fallbacks = Fallbacks {
        names: names::name_mapping(table.metadata())?.map(Arc::new),
        ..Fallbacks::default()
    };
    let mut rows = ParquetFile::open(storage, file)
        .await?
        .rows(&wanted, &fallbacks, None, BATCH_SIZE)?;
    let converter = converter(columns)?;
    let mut keys = Keys::new();
    while let Some(rows) = rows.try_next().await? {
        let columns = rows
            .columns
            .iter()
            .map(innermost)
            .collect::<Result<Vec<_>>>()?;
        let encoded = converter.convert_columns(&columns)?;
        keys.extend(encoded.iter().map(|row| row.data().into()));
    }
    Ok(keys)
}

fn converter(columns: &[Wanted]) -> Result<RowConverter> {
    let fields = columns
        .iter()
        .map(|column| {
            let mut ty = column.arrow.data_type();
            while let arrow::datatypes::DataType::Struct(fields) = ty {
                ty = fields[0].data_type();
            }
            SortField::new(ty.clone())
        })
        .collect();
    Ok(RowConverter::new(fields)?)
}

/// The key columns, each as a top-level field that holds nothing but the way to the key.
fn key_columns(metadata: &TableMetadata, ids: &[i32]) -> Result<Vec<Wanted>> {
    if ids.is_empty() {
        return Err(Error::corrupt(
            "an equality-delete file names no key columns",
        ));
    }
    // The current type of a column if it still exists, else the last it had.
    let older = metadata
        .schemas_iter()
        .sorted_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
    let schemas: Vec<_> = std::iter::once(metadata.current_schema())
        .chain(older)
        .collect();
    ids.iter()
        .map(|id| {
            let field = schemas
                .iter()
                .find_map(|schema| way_to(schema.as_struct(), *id))
                .ok_or_else(|| {
                    Error::corrupt("an equality-delete file names an unknown key column")
                        .with("field-id", id)
                })?;
            Wanted::new(&field)
        })
        .collect()
}

fn way_to(fields: &StructType, id: i32) -> Option<NestedFieldRef> {
    fields.fields().iter().find_map(|field| {
        let optional = |ty: Type| NestedField {
            required: false,
            field_type: Box::new(ty),
            ..field.as_ref().clone()
        };
        match field.field_type.as_ref() {
            ty @ Type::Primitive(_) if field.id == id => Some(Arc::new(optional(ty.clone()))),
            Type::Struct(inner) => {
                let inner = way_to(inner, id)?;
                Some(Arc::new(optional(Type::Struct(StructType::new(vec![
                    inner,
                ])))))
            }
            _ => None,
        }
    })
}

/// The key inside a column that was cut down to it; it is NULL where a struct around it is.
fn innermost(column: &ArrayRef) -> Result<ArrayRef> {
    let mut array = column.clone();
    while let Some(outer) = array.as_struct_opt() {
        let inner = outer.column(0).clone();
        let nulls = NullBuffer::union(outer.nulls(), inner.nulls());
        array = make_array(inner.to_data().into_builder().nulls(nulls).build()?);
    }
    Ok(array)
}
