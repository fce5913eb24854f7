//! Maps the columns of a data file to the columns of the table, by field id and never by place.
//!
//! DataFusion hands a factory the table's schema and a file's schema and asks for expressions to be
//! rewritten from the one to the other. Its own adapter goes by name: after a rename it would read
//! NULL, after two renames that swap names it would read the other column.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use berglake_format::read::{IdentityValues, missing_column, reshape_to, with_field_ids};
use berglake_format::schema::field_id;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use iceberg::spec::{NameMapping, NestedFieldRef, SchemaRef as IcebergSchemaRef};

use crate::error::to_datafusion;

/// Makes adapters that go by field id.
#[derive(Debug, Clone)]
pub(super) struct ByFieldId {
    /// The columns of the table, with their defaults.
    pub(super) schema: IcebergSchemaRef,
    /// Ids for files that were written without (`schema.name-mapping.default`).
    pub(super) names: Option<Arc<NameMapping>>,
    /// The values of the identity partitions that a file is in.
    pub(super) identity: Arc<IdentityValues>,
}

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let found = with_field_ids(physical.fields(), self.names.as_deref());
        let fields = found.map_err(to_datafusion)?;
        let places: HashMap<i32, (usize, &FieldRef)> = fields
            .iter()
            .enumerate()
            .filter_map(|(place, field)| Some((field_id(field)?, (place, field))))
            .collect();
        let origins = logical
            .fields()
            .iter()
            .map(|target| {
                let unknown = || {
                    DataFusionError::Internal(format!(
                        "the column {:?} is none of the table's",
                        target.name()
                    ))
                };
                let id = field_id(target).ok_or_else(unknown)?;
                let origin = Origin {
                    target: Arc::clone(target),
                    column: self
                        .schema
                        .as_struct()
                        .field_by_id(id)
                        .ok_or_else(unknown)?
                        .clone(),
                    file: places
                        .get(&id)
                        .map(|(place, field)| (*place, Arc::clone(field))),
                };
                Ok((target.name().clone(), origin))
            })
            .collect::<Result<_>>()?;
        Ok(Arc::new(Adapter {
            origins,
            identity: Arc::clone(&self.identity),
        }))
    }
}

/// Where a column of the table comes from in one file.
#[derive(Debug)]
struct Origin {
    target: FieldRef,
    column: NestedFieldRef,
    /// Its place and its field in the file; none where the file lacks it.
    file: Option<(usize, FieldRef)>,
}

#[derive(Debug)]
struct Adapter {
    origins: HashMap<String, Origin>,
    identity: Arc<IdentityValues>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_up(|node| match node.downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(self.column(column.name())?)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
}

impl Adapter {
    fn column(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(origin) = self.origins.get(name) else {
            return Err(DataFusionError::Internal(format!(
                "an expression names the column {name:?}, which the table does not have"
            )));
        };
        let target = &origin.target;
        let Some((place, field)) = &origin.file else {
            return Ok(Arc::new(Literal::new(self.missing(origin)?)));
        };
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), *place));
        Ok(if field.data_type() == target.data_type() {
            column
        } else if is_nested(target.data_type()) {
            Arc::new(Reshape {
                column,
                from: Arc::clone(field),
                to: Arc::clone(target),
                shape: Arc::clone(&origin.column),
            })
        } else {
            // A plain cast, because pruning understands casts and not our own expression.
            Arc::new(CastExpr::new(column, target.data_type().clone(), None))
        })
    }

    /// The value that all rows of the file have in a column that the file lacks.
    fn missing(&self, origin: &Origin) -> Result<ScalarValue> {
        let ty = origin.target.data_type();
        let value = missing_column(&origin.column, &self.identity, 1).map_err(to_datafusion)?;
        if value.is_null(0) {
            return ScalarValue::try_new_null(ty);
        }
        let value = ScalarValue::try_from_array(&value, 0)?;
        if value.data_type() == *ty {
            Ok(value)
        } else {
            // Text and bytes are views here.
            value.cast_to(ty)
        }
    }
}

/// Whether values of this type have fields with ids of their own.
pub(super) fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested()
}

/// The array with NULL in all that lies in a struct that is NULL. The engine takes a field out of a struct
/// without a look at the struct, and a default would stand there as if it were the row's.
fn hollow(array: ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Struct(fields) => {
            let all = array.as_struct();
            let gone = is_null(all)?;
            let columns = all.columns().iter().map(|column| match all.null_count() {
                0 => hollow(Arc::clone(column)),
                _ => hollow(nullif(column, &gone)?),
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                all.nulls().cloned(),
                all.len(),
            )?)
        }
        DataType::List(field) if is_nested(field.data_type()) => {
            let all = array.as_list::<i32>();
            Arc::new(ListArray::try_new(
                Arc::clone(field),
                all.offsets().clone(),
                hollow(Arc::clone(all.values()))?,
                all.nulls().cloned(),
            )?)
        }
        DataType::Map(field, sorted) => {
            let all = array.as_map();
            let entries = hollow(Arc::new(all.entries().clone()))?;
            Arc::new(MapArray::try_new(
                Arc::clone(field),
                all.offsets().clone(),
                entries.as_struct().clone(),
                all.nulls().cloned(),
                *sorted,
            )?)
        }
        _ => array,
    })
}

/// Brings a nested column into the table's shape by the ids of its fields. A cast would go by the
/// fields' names, and swap values after a rename without a word.
#[derive(Debug, Clone)]
struct Reshape {
    column: Arc<dyn PhysicalExpr>,
    from: FieldRef,
    to: FieldRef,
    /// What `to` is in the table, with the defaults of its fields.
    shape: NestedFieldRef,
}

impl PartialEq for Reshape {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column)
            && self.from == other.from
            && self.to == other.to
            && self.shape == other.shape
    }
}

impl Eq for Reshape {}

impl Hash for Reshape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.from.hash(state);
        self.to.hash(state);
    }
}

impl fmt::Display for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by_id({})", self.column)
    }
}

impl PhysicalExpr for Reshape {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(self.to.is_nullable())
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.to))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let shaped = reshape_to(&array, &self.from, &self.to, &self.shape);
        Ok(ColumnarValue::Array(hollow(
            shaped.map_err(to_datafusion)?,
        )?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(column), true) => Ok(Arc::new(Self {
                column,
                from: Arc::clone(&self.from),
                to: Arc::clone(&self.to),
                shape: Arc::clone(&self.shape),
            })),
            _ => Err(DataFusionError::Internal(
                "by_id takes exactly one child".into(),
            )),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
