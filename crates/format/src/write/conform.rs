//! Bringing record batches into the shape of a table: by name, never by position, and without losing
//! a value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, RecordBatchOptions, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef as ArrowSchemaRef, TimeUnit};
use arrow::util::display::FormatOptions;
use iceberg::spec::{Literal, NestedField, NestedFieldRef, PrimitiveLiteral, SchemaRef, Type};

use crate::{Error, Result};

/// Brings batches into the shape of a schema.
#[derive(Debug, Clone)]
pub(super) struct Conformer {
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
}

/// The row of the batch to which an item belongs, or none where a NULL above hides it.
type Row<'a> = &'a dyn Fn(usize) -> Option<usize>;

impl Conformer {
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        let arrow = crate::schema::to_arrow(&schema)?;
        Ok(Self { schema, arrow })
    }

    pub(super) fn arrow_schema(&self) -> &ArrowSchemaRef {
        &self.arrow
    }

    /// The batch with the table's columns, in the table's order and types.
    pub(super) fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = fields(
            batch.schema_ref().fields(),
            batch.columns(),
            self.schema.as_struct().fields(),
            self.arrow.fields(),
            batch.num_rows(),
            "",
            &Some,
        )?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options)
            .map_err(|error| Error::internal("a batch lost its shape").source_error(error))
    }
}

/// The columns that a struct or a batch must have, from those that it has.
fn fields(
    have: &Fields,
    columns: &[ArrayRef],
    want: &[NestedFieldRef],
    types: &Fields,
    rows: usize,
    parent: &str,
    row: Row<'_>,
) -> Result<Vec<ArrayRef>> {
    let mut by_name: HashMap<&str, &ArrayRef> = HashMap::with_capacity(columns.len());
    for (field, column) in have.iter().zip(columns) {
        if by_name.insert(field.name(), column).is_some() {
            return Err(Error::invalid("a column occurs twice in the data")
                .with("column", below(parent, field.name())));
        }
    }
    let out = want
        .iter()
        .zip(types)
        .map(|(field, ty)| {
            let path = below(parent, &field.name);
            match by_name.remove(field.name.as_str()) {
                Some(column) => conform(column, field, ty, &path, row),
                None => missing(field, ty, rows, &path),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    // All that the table knows has been taken out; what is left would be dropped without a word.
    if let Some(unknown) = have
        .iter()
        .find(|f| by_name.contains_key(f.name().as_str()))
    {
        let known: Vec<&str> = want.iter().map(|field| field.name.as_str()).collect();
        return Err(Error::invalid("the table has no such column")
            .with("column", below(parent, unknown.name()))
            .help(format!("the columns are: {}", known.join(", "))));
    }
    Ok(out)
}

fn below(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_string()
    } else {
        format!("{parent}.{name}")
    }
}

fn missing(field: &NestedField, ty: &Field, rows: usize, path: &str) -> Result<ArrayRef> {
    match &field.write_default {
        Some(default) => repeated(default, ty.data_type(), rows, path),
        None if field.required => Err(Error::invalid("a required column is missing in the data")
            .with("column", path)
            .help("add it to the data, or make it optional in the table")),
        None => Ok(new_null_array(ty.data_type(), rows)),
    }
}

fn conform(
    array: &ArrayRef,
    field: &NestedField,
    target: &Field,
    path: &str,
    row: Row<'_>,
) -> Result<ArrayRef> {
    let array = unpack(array, path)?;
    if field.required && array.logical_null_count() > 0 {
        let nulls = array.logical_nulls();
        let is_null = |i: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(i));
        if let Some(at) = (0..array.len()).filter(|i| is_null(*i)).find_map(row) {
            return Err(Error::invalid("a required column has a NULL")
                .with("column", path)
                .with("row", at));
        }
    }
    if array.data_type() == &DataType::Null {
        return Ok(new_null_array(target.data_type(), array.len()));
    }
    match (field.field_type.as_ref(), target.data_type()) {
        (Type::Struct(want), DataType::Struct(types)) => {
            let Some(source) = array.as_struct_opt() else {
                return Err(mismatch(&array, target, path));
            };
            let nulls = source.nulls().cloned();
            let visible = |i: usize| match &nulls {
                Some(nulls) if nulls.is_null(i) => None,
                _ => row(i),
            };
            let columns = fields(
                source.fields(),
                source.columns(),
                want.fields(),
                types,
                source.len(),
                path,
                &visible,
            )?;
            let made = StructArray::try_new_with_length(
                types.clone(),
                columns,
                nulls.clone(),
                source.len(),
            );
            Ok(Arc::new(made.map_err(|error| lost(path, error))?))
        }
        (Type::List(want), DataType::List(element)) => {
            let list = as_list(&array, target, path)?;
            let offsets = list.offsets();
            let owner = |i: usize| {
                let at = offsets
                    .partition_point(|offset| *offset as usize <= i)
                    .checked_sub(1)?;
                let inside = at < list.len() && list.is_valid(at);
                inside.then(|| row(at)).flatten()
            };
            let path = below(path, "element");
            let values = conform(list.values(), &want.element_field, element, &path, &owner)?;
            let made = ListArray::try_new(
                element.clone(),
                offsets.clone(),
                values,
                list.nulls().cloned(),
            );
            Ok(Arc::new(made.map_err(|error| lost(&path, error))?))
        }
        (Type::Map(want), DataType::Map(entries, _)) => {
            let (Some(map), DataType::Struct(pair)) = (array.as_map_opt(), entries.data_type())
            else {
                return Err(mismatch(&array, target, path));
            };
            let [key, value] = pair.as_ref() else {
                return Err(mismatch(&array, target, path));
            };
            let offsets = map.offsets();
            let owner = |i: usize| {
                let at = offsets
                    .partition_point(|offset| *offset as usize <= i)
                    .checked_sub(1)?;
                let inside = at < map.len() && map.is_valid(at);
                inside.then(|| row(at)).flatten()
            };
            let keys = conform(
                map.keys(),
                &want.key_field,
                key,
                &below(path, "key"),
                &owner,
            )?;
            let value_path = below(path, "value");
            let values = conform(map.values(), &want.value_field, value, &value_path, &owner)?;
            let made = StructArray::try_new(pair.clone(), vec![keys, values], None)
                .and_then(|pairs| {
                    let nulls = map.nulls().cloned();
                    MapArray::try_new(entries.clone(), offsets.clone(), pairs, nulls, false)
                })
                .map_err(|error| lost(path, error))?;
            Ok(Arc::new(made))
        }
        (Type::Primitive(_), _) => lossless(&array, target, path),
        _ => Err(mismatch(&array, target, path)),
    }
}

fn lost(path: &str, error: arrow::error::ArrowError) -> Error {
    Error::invalid("a nested column cannot be brought into the table's shape")
        .with("column", path)
        .source_error(error)
}

/// The values themselves, without a dictionary or run lengths.
fn unpack(array: &ArrayRef, path: &str) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast_checked(array, values, path),
        DataType::RunEndEncoded(_, values) => cast_checked(array, values.data_type(), path),
        _ => Ok(array.clone()),
    }
}

fn as_list(array: &ArrayRef, target: &Field, path: &str) -> Result<ListArray> {
    let list = match array.data_type() {
        DataType::List(_) => array.clone(),
        DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => {
            cast_checked(array, &DataType::List(element.clone()), path)?
        }
        _ => return Err(mismatch(array, target, path)),
    };
    list.as_list_opt::<i32>()
        .cloned()
        .ok_or_else(|| mismatch(array, target, path))
}

fn mismatch(array: &ArrayRef, target: &Field, path: &str) -> Error {
    let error = Error::invalid("the type of a column does not fit the table's")
        .with("column", path)
        .with("found", array.data_type())
        .with("expected", target.data_type());
    match (array.data_type(), target.data_type()) {
        (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_)))
        | (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => {
            error.help("cast it and say which time zone is meant")
        }
        _ => error.help("cast it"),
    }
}

/// How a type can become another one.
enum Way {
    /// Each value fits, or the cast says that one does not.
    Cast,
    /// The cast rounds; it is right only if the way back gives the same values.
    CastAndCompare,
    /// Values could be lost, or it is not clear what is meant.
    None,
}

fn way(from: &DataType, to: &DataType) -> Way {
    use DataType as D;
    let integer = |ty: &D| ty.is_integer();
    let decimal_scale = |ty: &D| match ty {
        D::Decimal32(_, scale)
        | D::Decimal64(_, scale)
        | D::Decimal128(_, scale)
        | D::Decimal256(_, scale) => Some(*scale),
        _ => None,
    };
    match (from, to) {
        (from, D::Int32 | D::Int64) if integer(from) => Way::Cast,
        (D::Int8 | D::Int16 | D::UInt8 | D::UInt16 | D::Float16, D::Float32 | D::Float64) => {
            Way::Cast
        }
        (D::Int32 | D::UInt32 | D::Float32, D::Float64) => Way::Cast,
        (from, D::Decimal128(_, _)) if integer(from) => Way::Cast,
        (from, D::Decimal128(_, scale)) => match decimal_scale(from) {
            Some(old) if old <= *scale => Way::Cast,
            Some(_) => Way::CastAndCompare,
            None => Way::None,
        },
        (D::LargeUtf8 | D::Utf8View, D::Utf8) => Way::Cast,
        (D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), D::Binary) => Way::Cast,
        (D::Binary | D::LargeBinary, D::FixedSizeBinary(_)) => Way::Cast,
        (D::Date64, D::Date32) => Way::CastAndCompare,
        (D::Time32(_), D::Time64(_)) => Way::Cast,
        (D::Time64(TimeUnit::Nanosecond), D::Time64(_)) => Way::CastAndCompare,
        (D::Timestamp(old, zone), D::Timestamp(new, target))
            if zone.is_some() == target.is_some() =>
        {
            match (old, new) {
                (TimeUnit::Nanosecond, TimeUnit::Microsecond) => Way::CastAndCompare,
                _ => Way::Cast,
            }
        }
        _ => Way::None,
    }
}

fn lossless(array: &ArrayRef, target: &Field, path: &str) -> Result<ArrayRef> {
    let (from, to) = (array.data_type(), target.data_type());
    if from == to {
        return Ok(array.clone());
    }
    match way(from, to) {
        Way::Cast => cast_checked(array, to, path),
        Way::CastAndCompare => {
            let out = cast_checked(array, to, path)?;
            let back = cast_checked(&out, from, path)?;
            if back.to_data() == array.to_data() {
                Ok(out)
            } else {
                Err(mismatch(array, target, path).with("reason", "digits would be lost"))
            }
        }
        Way::None => Err(mismatch(array, target, path)),
    }
}

fn cast_checked(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        format_options: FormatOptions::default(),
    };
    cast_with_options(array, to, &options).map_err(|error| {
        Error::invalid("a value does not fit its column")
            .with("column", path)
            .with("type", to)
            .source_error(error)
    })
}

/// A column that has one value in all rows.
fn repeated(value: &Literal, ty: &DataType, rows: usize, path: &str) -> Result<ArrayRef> {
    let unsupported = || {
        Error::unsupported("the default of this column cannot be written")
            .with("column", path)
            .help("give the column in the data")
    };
    let Literal::Primitive(value) = value else {
        return Err(unsupported());
    };
    use PrimitiveLiteral as L;
    let one: ArrayRef = match (value, ty) {
        (L::Boolean(v), DataType::Boolean) => Arc::new(BooleanArray::from(vec![*v])),
        (L::Int(v), DataType::Int32) => Arc::new(Int32Array::from(vec![*v])),
        (L::Int(v), DataType::Date32) => Arc::new(Date32Array::from(vec![*v])),
        (L::Long(v), DataType::Int64) => Arc::new(Int64Array::from(vec![*v])),
        (L::Long(v), DataType::Time64(_)) => Arc::new(Time64MicrosecondArray::from(vec![*v])),
        (L::Long(v), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Arc::new(TimestampMicrosecondArray::from(vec![*v]).with_timezone_opt(zone.clone()))
        }
        (L::Long(v), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
            Arc::new(TimestampNanosecondArray::from(vec![*v]).with_timezone_opt(zone.clone()))
        }
        (L::Float(v), DataType::Float32) => Arc::new(Float32Array::from(vec![v.0])),
        (L::Double(v), DataType::Float64) => Arc::new(Float64Array::from(vec![v.0])),
        (L::String(v), DataType::Utf8) => Arc::new(StringArray::from(vec![v.as_str()])),
        (L::Binary(v), DataType::Binary) => Arc::new(BinaryArray::from(vec![v.as_slice()])),
        (L::Binary(v), DataType::FixedSizeBinary(_)) => {
            Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(v))?)
        }
        (L::UInt128(v), DataType::FixedSizeBinary(16)) => {
            let bytes = v.to_be_bytes();
            Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes))?)
        }
        (L::Int128(v), DataType::Decimal128(precision, scale)) => {
            Arc::new(Decimal128Array::from(vec![*v]).with_precision_and_scale(*precision, *scale)?)
        }
        _ => return Err(unsupported()),
    };
    Ok(take(&one, &UInt32Array::from(vec![0; rows]), None)?)
}
