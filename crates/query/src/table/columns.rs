//! Maps the columns of a data file to the columns of the table, by field id and never by place.
//!
//! DataFusion hands a factory the table's schema and a file's schema and asks for expressions to be
//! rewritten from the one to the other. Its own adapter goes by name: after a rename it would read
//! NULL, after two renames that swap names it would read the other column.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use berglake_format::read::reshape;
use berglake_format::schema::field_id;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use iceberg::spec::{MappedField, NameMapping};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::to_datafusion;

/// What stands in for a column that a file lacks: the value of its identity partition, or the
/// column's initial default. By field id, in the column's Arrow type.
pub(super) type Constants = HashMap<i32, ScalarValue>;

/// Makes adapters that go by field id.
#[derive(Debug, Clone)]
pub(super) struct ByFieldId {
    /// Ids for files that were written without (`schema.name-mapping.default`).
    pub(super) names: Option<Arc<NameMapping>>,
    /// Values for missing columns.
    pub(super) constants: Arc<Constants>,
}

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let physical = match &self.names {
            Some(names) if !has_ids(physical.fields()) => with_mapped_ids(&physical, names),
            _ => physical,
        };
        let places: HashMap<i32, usize> = physical
            .fields()
            .iter()
            .enumerate()
            .filter_map(|(place, field)| Some((field_id(field)?, place)))
            .collect();
        let origins = logical
            .fields()
            .iter()
            .map(|field| {
                let id = field_id(field);
                let origin = match id.and_then(|id| places.get(&id)) {
                    Some(place) => Origin::File {
                        place: *place,
                        field: Arc::clone(&physical.fields()[*place]),
                    },
                    None => match id.and_then(|id| self.constants.get(&id)) {
                        Some(value) => Origin::Constant(value.clone()),
                        None if field.is_nullable() => {
                            Origin::Constant(ScalarValue::try_new_null(field.data_type())?)
                        }
                        None => Origin::Missing,
                    },
                };
                Ok((field.name().clone(), (Arc::clone(field), origin)))
            })
            .collect::<Result<_>>()?;
        Ok(Arc::new(Adapter { origins }))
    }
}

/// Where a column of the table comes from in one file.
#[derive(Debug)]
enum Origin {
    File { place: usize, field: FieldRef },
    Constant(ScalarValue),
    Missing,
}

#[derive(Debug)]
struct Adapter {
    origins: HashMap<String, (FieldRef, Origin)>,
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
        let Some((target, origin)) = self.origins.get(name) else {
            return Err(DataFusionError::Internal(format!(
                "an expression names the column {name:?}, which the table does not have"
            )));
        };
        let (place, field) = match origin {
            Origin::File { place, field } => (*place, field),
            Origin::Constant(value) => return Ok(Arc::new(Literal::new(value.clone()))),
            Origin::Missing => {
                return Err(to_datafusion(
                    berglake_format::Error::corrupt(
                        "a required column is missing from a data file and has no default",
                    )
                    .with("column", name),
                ));
            }
        };
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
        Ok(if field.data_type() == target.data_type() {
            column
        } else if is_nested(target.data_type()) {
            Arc::new(Reshape {
                column,
                from: Arc::clone(field),
                to: Arc::clone(target),
            })
        } else {
            // A plain cast, because pruning understands casts and not our own expression.
            Arc::new(CastExpr::new(column, target.data_type().clone(), None))
        })
    }
}

/// Whether values of this type have fields with ids of their own.
pub(super) fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested()
}

fn has_ids<'a>(fields: impl IntoIterator<Item = &'a FieldRef>) -> bool {
    fields
        .into_iter()
        .any(|field| field_id(field).is_some() || has_ids(children(field)))
}

fn children(field: &Field) -> Vec<&FieldRef> {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::Map(element, _) => vec![element],
        _ => Vec::new(),
    }
}

/// The schema with ids from a name mapping. What the mapping does not name gets no id, and so is
/// not read.
fn with_mapped_ids(schema: &Schema, names: &NameMapping) -> SchemaRef {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| mapped(field, names.fields()))
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

trait Mapping {
    fn names(&self) -> &MappedField;
}

impl Mapping for MappedField {
    fn names(&self) -> &MappedField {
        self
    }
}

impl Mapping for Arc<MappedField> {
    fn names(&self) -> &MappedField {
        self
    }
}

fn mapped<M: Mapping>(field: &FieldRef, mapping: &[M]) -> FieldRef {
    let Some(found) = mapping
        .iter()
        .map(Mapping::names)
        .find(|mapped| mapped.names().iter().any(|name| name == field.name()))
    else {
        return Arc::clone(field);
    };
    // Writers call the element of a list and the entries of a map differently; the mapping has
    // fixed names for them.
    let under = |child: &FieldRef, name: &str| -> FieldRef {
        let renamed = Arc::new(child.as_ref().clone().with_name(name));
        let with_ids = mapped(&renamed, found.fields());
        Arc::new(with_ids.as_ref().clone().with_name(child.name()))
    };
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|child| mapped(child, found.fields()))
                .collect(),
        ),
        DataType::List(element) => DataType::List(under(element, "element")),
        DataType::LargeList(element) => DataType::LargeList(under(element, "element")),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let pair = vec![under(&pair[0], "key"), under(&pair[1], "value")];
                let entries = entries
                    .as_ref()
                    .clone()
                    .with_data_type(DataType::Struct(pair.into()));
                DataType::Map(Arc::new(entries), *sorted)
            }
            other => other.clone(),
        },
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    if let Some(id) = found.field_id() {
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string());
    }
    Arc::new(
        field
            .as_ref()
            .clone()
            .with_data_type(data_type)
            .with_metadata(metadata),
    )
}

/// Brings a nested column into the table's shape by the ids of its fields. A cast would go by the
/// fields' names, and swap values after a rename without a word.
#[derive(Debug, Clone, Eq)]
struct Reshape {
    column: Arc<dyn PhysicalExpr>,
    from: FieldRef,
    to: FieldRef,
}

impl PartialEq for Reshape {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.from == other.from && self.to == other.to
    }
}

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
        let shaped = reshape(&array, &self.from, &self.to).map_err(to_datafusion)?;
        Ok(ColumnarValue::Array(shaped))
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
