//! Rows in memory, and rows of batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use berglake_format::schema::to_arrow;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, Type};

use super::{Dice, nested};

/// A value. Numbers of both widths are one kind, so that widening a column changes no row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Whole(i64),
    /// The bits of a finite double that is not negative: their order is that of the numbers.
    Real(u64),
    Text(String),
    /// A struct.
    Fields(Row),
    /// A list.
    Items(Vec<Value>),
    /// A map; its entries have no order.
    Entries(BTreeMap<String, Value>),
}

/// A row, or a struct in it, by field ids. A field that it does not have is NULL or the field's initial
/// default.
pub type Row = BTreeMap<i32, Value>;

/// A row as it is read: the values of all columns, in their order.
pub type Seen = Vec<Value>;

/// What a row looks like in this schema.
pub fn seen(row: &Row, schema: &Schema) -> Seen {
    let fields = schema.as_struct().fields().iter();
    fields.map(|field| seen_in(row, field)).collect()
}

fn seen_in(row: &Row, field: &NestedField) -> Value {
    match (row.get(&field.id), &field.initial_default) {
        (Some(value), _) => seen_as(value, &field.field_type),
        (None, Some(literal)) => value_of(literal),
        (None, None) => Value::Null,
    }
}

/// A NULL stays one, whatever fields it has got since.
fn seen_as(value: &Value, ty: &Type) -> Value {
    match (value, ty) {
        (Value::Fields(row), Type::Struct(fields)) => {
            let fields = fields.fields().iter();
            Value::Fields(
                fields
                    .map(|field| (field.id, seen_in(row, field)))
                    .collect(),
            )
        }
        (Value::Items(items), Type::List(list)) => {
            let ty = &list.element_field.field_type;
            Value::Items(items.iter().map(|item| seen_as(item, ty)).collect())
        }
        (Value::Entries(entries), Type::Map(map)) => {
            let ty = &map.value_field.field_type;
            let entries = entries.iter();
            Value::Entries(
                entries
                    .map(|(key, value)| (key.clone(), seen_as(value, ty)))
                    .collect(),
            )
        }
        (value, _) => value.clone(),
    }
}

pub fn value_of(literal: &iceberg::spec::Literal) -> Value {
    use iceberg::spec::{Literal, PrimitiveLiteral as P};
    match literal {
        Literal::Primitive(P::Int(v)) => Value::Whole(i64::from(*v)),
        Literal::Primitive(P::Long(v)) => Value::Whole(*v),
        Literal::Primitive(P::Float(v)) => Value::Real(f64::from(v.0).to_bits()),
        Literal::Primitive(P::Double(v)) => Value::Real(v.0.to_bits()),
        Literal::Primitive(P::String(v)) => Value::Text(v.clone()),
        other => panic!("no value of the model: {other:?}"),
    }
}

/// A row with this key and values that fit the schema.
pub fn make(key: i64, schema: &Schema, dice: &mut Dice) -> Row {
    let fields = schema.as_struct().fields().iter();
    fields
        .map(|field| {
            let optional = !field.required && dice.one_in(5);
            let value = match (field.name.as_str(), field.field_type.as_ref()) {
                _ if optional => Value::Null,
                ("k", Type::Primitive(PrimitiveType::Long)) => Value::Whole(key),
                ("p", Type::Primitive(PrimitiveType::String)) => {
                    Value::Text(["a", "b", "c"][dice.below(3)].to_string())
                }
                (_, ty) => nested::any(ty, dice),
            };
            (field.id, value)
        })
        .collect()
}

/// Rows as a batch of this schema.
pub fn batch(rows: &[Row], schema: &Schema) -> RecordBatch {
    let arrow = to_arrow(schema).unwrap();
    let columns = arrow
        .fields()
        .iter()
        .zip(schema.as_struct().fields())
        .map(|(field, own)| {
            let values: Vec<&Value> = rows.iter().map(|row| &row[&own.id]).collect();
            nested::array(&own.field_type, field.data_type(), &values)
        })
        .collect();
    RecordBatch::try_new(arrow, columns).unwrap()
}

/// Values of a primitive type.
pub fn leaf_array<'a>(ty: &DataType, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
    let whole = |value: &Value| match value {
        Value::Whole(v) => Some(*v),
        _ => None,
    };
    let real = |value: &Value| match value {
        Value::Real(bits) => Some(f64::from_bits(*bits)),
        _ => None,
    };
    let text = |value: &'a Value| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    };
    match ty {
        DataType::Int32 => Arc::new(Int32Array::from_iter(
            values.map(|value| whole(value).map(|v| i32::try_from(v).unwrap())),
        )),
        DataType::Int64 => Arc::new(Int64Array::from_iter(values.map(whole))),
        DataType::Float32 => Arc::new(Float32Array::from_iter(
            values.map(|value| real(value).map(|v| v as f32)),
        )),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(real))),
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.map(text))),
        other => panic!("no type of the model: {other}"),
    }
}

/// Values of one column as a batch.
pub fn batch_of(field: &NestedFieldRef, values: &[Value]) -> RecordBatch {
    let schema = Schema::builder()
        .with_fields([field.clone()])
        .build()
        .unwrap();
    let arrow = to_arrow(&schema).unwrap();
    let column = leaf_array(arrow.field(0).data_type(), values.iter());
    RecordBatch::try_new(arrow, vec![column]).unwrap()
}

/// The rows of a batch, whose first columns are those of the schema.
pub fn rows_of(batch: &RecordBatch, schema: &Schema) -> Vec<Seen> {
    let arrow = to_arrow(schema).unwrap();
    let fields = schema.as_struct().fields().iter().zip(arrow.fields());
    let mut columns: Vec<_> = fields
        .zip(batch.columns())
        .map(|((field, arrow), column)| {
            // Down to the names and ids of nested fields.
            assert_eq!(column.data_type(), arrow.data_type(), "{}", field.name);
            nested::values(column, &field.field_type).into_iter()
        })
        .collect();
    let rows = 0..batch.num_rows();
    rows.map(|_| columns.iter_mut().map(|of| of.next().unwrap()).collect())
        .collect()
}

/// A value of a primitive type.
pub fn leaf_value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int32 => Value::Whole(i64::from(column.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Value::Whole(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            Value::Real(f64::from(value).to_bits())
        }
        DataType::Float64 => Value::Real(column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_string()),
        other => panic!("no type of the model: {other}"),
    }
}
