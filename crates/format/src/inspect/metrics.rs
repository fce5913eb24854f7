//! The metrics of files as people read them: by column name, bounds in the column's type.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StructArray};
use arrow::datatypes::{DataType, FieldRef, Fields};
use iceberg::spec::{DataFile, Datum, PrimitiveType, Type};
use itertools::Itertools;

use super::columns::Row;
use super::values::{datums, optional, required, signed};
use crate::evaluate::value::promote;
use crate::schema::to_arrow_type;
use crate::{Result, Table};

/// The column `readable_metrics`.
pub(super) struct ReadableMetrics {
    leaves: Vec<Leaf>,
}

impl ReadableMetrics {
    /// Of the primitive columns of the current schema, those in lists and maps too.
    pub(super) fn of(table: &Table) -> Result<Self> {
        Ok(Self {
            leaves: leaves(table)?,
        })
    }

    pub(super) fn field(&self) -> FieldRef {
        required("readable_metrics", DataType::Struct(self.fields()))
    }

    fn fields(&self) -> Fields {
        self.leaves
            .iter()
            .map(|leaf| optional(&leaf.name, DataType::Struct(leaf.fields())))
            .collect()
    }

    pub(super) fn array(&self, files: &[Row<'_>]) -> Result<ArrayRef> {
        let leaves = self
            .leaves
            .iter()
            .map(|leaf| leaf.array(files))
            .collect::<Result<Vec<_>>>()?;
        let array = StructArray::try_new_with_length(self.fields(), leaves, None, files.len())?;
        Ok(Arc::new(array))
    }
}

struct Leaf {
    id: i32,
    name: String,
    ty: PrimitiveType,
    arrow: DataType,
}

impl Leaf {
    fn fields(&self) -> Fields {
        let count = |name| optional(name, DataType::Int64);
        vec![
            count("column_size"),
            count("value_count"),
            count("null_value_count"),
            count("nan_value_count"),
            optional("lower_bound", self.arrow.clone()),
            optional("upper_bound", self.arrow.clone()),
        ]
        .into()
    }

    fn array(&self, files: &[Row<'_>]) -> Result<ArrayRef> {
        let count = |get: fn(&DataFile) -> &HashMap<i32, u64>| -> ArrayRef {
            let counts = files.iter().map(|(_, file)| get(file).get(&self.id));
            Arc::new(Int64Array::from_iter(
                counts.map(|count| count.map(|count| signed(*count))),
            ))
        };
        let bound = |get: fn(&DataFile) -> &HashMap<i32, Datum>| {
            let bounds: Vec<_> = files
                .iter()
                .map(|(_, file)| promote(get(file).get(&self.id)?, &self.ty))
                .collect();
            datums(&bounds, &self.arrow)
        };
        let columns = vec![
            count(DataFile::column_sizes),
            count(DataFile::value_counts),
            count(DataFile::null_value_counts),
            count(DataFile::nan_value_counts),
            bound(DataFile::lower_bounds)?,
            bound(DataFile::upper_bounds)?,
        ];
        Ok(Arc::new(StructArray::try_new(
            self.fields(),
            columns,
            None,
        )?))
    }
}

/// The primitive columns of the current schema, those in lists and maps too, by name.
fn leaves(table: &Table) -> Result<Vec<Leaf>> {
    let schema = table.schema();
    schema
        .field_id_to_name_map()
        .iter()
        .sorted_by_key(|(_, name)| name.as_str())
        .filter_map(|(id, name)| {
            let field = schema.field_by_id(*id)?;
            let Type::Primitive(ty) = field.field_type.as_ref() else {
                return None;
            };
            Some(to_arrow_type(&field.field_type, name).map(|arrow| Leaf {
                id: *id,
                name: name.clone(),
                ty: ty.clone(),
                arrow,
            }))
        })
        .collect()
}
