//! Partition values of all specs of a table as one struct.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use iceberg::spec::{Datum, Literal, PrimitiveType, Struct, TableMetadata, Transform, Type};
use itertools::Itertools;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::values::datums;
use crate::evaluate::value::datum;
use crate::schema::to_arrow_type;
use crate::{Result, Table};

/// The partition columns of a table over all its specs, by field id.
pub(crate) struct PartitionColumns {
    columns: Vec<Column>,
    /// For each spec and each of its positions the column, where it has one.
    places: BTreeMap<i32, Vec<Option<usize>>>,
}

struct Column {
    id: i32,
    name: String,
    ty: PrimitiveType,
    arrow: DataType,
}

/// Values of the partition columns.
pub(crate) type Values = Vec<Option<Datum>>;

impl PartitionColumns {
    pub(crate) fn of(table: &Table) -> Result<Self> {
        let metadata = table.metadata();
        let mut by_id: BTreeMap<i32, Column> = BTreeMap::new();
        // Newer specs later, so that their names win.
        let specs: Vec<_> = metadata
            .partition_specs_iter()
            .sorted_by_key(|spec| spec.spec_id())
            .collect();
        for spec in &specs {
            for field in spec.fields() {
                // A void field was dropped from its spec, and holds nothing.
                if field.transform == Transform::Void {
                    continue;
                }
                let Some(source) = source_type(metadata, field.source_id) else {
                    continue;
                };
                if let Type::Primitive(ty) = field.transform.result_type(&source)? {
                    let arrow = to_arrow_type(&Type::Primitive(ty.clone()), &field.name)?;
                    let column = Column {
                        id: field.field_id,
                        name: field.name.clone(),
                        ty,
                        arrow,
                    };
                    by_id.insert(field.field_id, column);
                }
            }
        }
        let ids: Vec<i32> = by_id.keys().copied().collect();
        let places = specs
            .iter()
            .map(|spec| {
                let places = spec
                    .fields()
                    .iter()
                    .map(|field| ids.binary_search(&field.field_id).ok());
                (spec.spec_id(), places.collect())
            })
            .collect();
        Ok(Self {
            columns: by_id.into_values().collect(),
            places,
        })
    }

    /// Whether the table was never partitioned.
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    pub(crate) fn data_type(&self) -> DataType {
        DataType::Struct(self.fields())
    }

    fn fields(&self) -> Fields {
        self.columns
            .iter()
            .map(|column| {
                let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), column.id.to_string())];
                let field = Field::new(&column.name, column.arrow.clone(), true);
                Arc::new(field.with_metadata(id.into()))
            })
            .collect()
    }

    /// The values of a file's partition; columns that its spec does not have are NULL.
    pub(crate) fn values(&self, spec_id: i32, partition: &Struct) -> Values {
        let mut values: Values = vec![None; self.columns.len()];
        let places = self.places.get(&spec_id).into_iter().flatten();
        for (place, value) in places.zip(partition.iter()) {
            if let (Some(place), Some(Literal::Primitive(literal))) = (place, value) {
                values[*place] = datum(&self.columns[*place].ty, literal);
            }
        }
        values
    }

    /// Rows of values as a struct column.
    pub(crate) fn array(&self, rows: &[Values]) -> Result<ArrayRef> {
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let values: Vec<_> = rows.iter().map(|row| row[at].clone()).collect();
                datums(&values, &column.arrow)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new(
            self.fields(),
            columns,
            None,
        )?))
    }
}

/// The type of a column now, or, if it was dropped, what it was last.
pub(super) fn source_type(metadata: &TableMetadata, id: i32) -> Option<Type> {
    let older = metadata
        .schemas_iter()
        .sorted_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
    std::iter::once(metadata.current_schema())
        .chain(older)
        .find_map(|schema| schema.field_by_id(id))
        .map(|field| field.field_type.as_ref().clone())
}
