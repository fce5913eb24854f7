//! Rows of cells to Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BinaryViewBuilder, BooleanBuilder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int8Builder, Int16Builder,
    Int32Builder, Int64Builder, LargeBinaryBuilder, LargeListArray, LargeStringBuilder, ListArray,
    MapArray, NullArray, StringBuilder, StringViewBuilder, StructArray, UInt8Builder,
    UInt16Builder, UInt32Builder, UInt64Builder, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::plan::Cell;

/// Builders of the columns of a record batch.
#[derive(Debug)]
pub(crate) struct Rows {
    fields: Fields,
    builders: Vec<Builder>,
    len: usize,
}

impl Rows {
    pub(crate) fn new(fields: &Fields) -> Result<Self, ArrowError> {
        let builders = fields
            .iter()
            .map(|field| Builder::new(field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            fields: fields.clone(),
            builders,
            len: 0,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a row. The cells are those of the columns, in their order, and fit them.
    pub(crate) fn append(&mut self, cells: Vec<Cell<'_>>) -> Result<(), ArrowError> {
        debug_assert_eq!(cells.len(), self.builders.len());
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.append(cell)?;
        }
        self.len += 1;
        Ok(())
    }

    /// The arrays of all rows appended since the last call.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.len = 0;
        self.fields
            .iter()
            .zip(&mut self.builders)
            .map(|(field, builder)| builder.finish(field.data_type()))
            .collect()
    }
}

#[derive(Debug)]
enum Builder {
    Null(usize),
    Bool(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    /// Also dates and 32-bit times.
    Int32(Int32Builder),
    /// Also timestamps, 64-bit times and dates in milliseconds.
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    LargeText(LargeStringBuilder),
    TextView(StringViewBuilder),
    Binary(BinaryBuilder),
    LargeBinary(LargeBinaryBuilder),
    BinaryView(BinaryViewBuilder),
    Fixed(FixedSizeBinaryBuilder),
    List(Nested),
    Map(Nested),
    Struct {
        children: Vec<Builder>,
        valid: Vec<bool>,
    },
}

/// Lists and maps: lengths, validity and the builders of what is inside.
#[derive(Debug)]
struct Nested {
    lengths: Vec<usize>,
    valid: Vec<bool>,
    children: Vec<Builder>,
}

impl Nested {
    fn new(children: Vec<Builder>) -> Self {
        Self {
            lengths: Vec::new(),
            valid: Vec::new(),
            children,
        }
    }

    fn push(&mut self, length: Option<usize>) {
        self.lengths.push(length.unwrap_or_default());
        self.valid.push(length.is_some());
    }
}

/// A cell in a column of another kind: a mistake of this crate, never of the input.
fn misplaced(cell: &Cell<'_>) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("the cell {cell:?} is in a column of another kind"))
}

macro_rules! append_int {
    ($builder:expr, $cell:expr) => {
        match $cell {
            Cell::Null => $builder.append_null(),
            Cell::Int(value) => $builder.append_value(value.try_into().map_err(|_| {
                ArrowError::InvalidArgumentError(format!("{value} does not fit its column"))
            })?),
            other => return Err(misplaced(&other)),
        }
    };
}

macro_rules! append_text {
    ($builder:expr, $cell:expr) => {
        match $cell {
            Cell::Null => $builder.append_null(),
            Cell::Text(text) => $builder.append_value(text),
            other => return Err(misplaced(&other)),
        }
    };
}

macro_rules! append_bytes {
    ($builder:expr, $cell:expr) => {
        match $cell {
            Cell::Null => $builder.append_null(),
            Cell::Bytes(bytes) => $builder.append_value(bytes),
            other => return Err(misplaced(&other)),
        }
    };
}

impl Builder {
    fn new(data_type: &DataType) -> Result<Self, ArrowError> {
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(Int8Builder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => {
                Self::Int32(Int32Builder::new())
            }
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(_, _) => Self::Int64(Int64Builder::new()),
            DataType::UInt8 => Self::UInt8(UInt8Builder::new()),
            DataType::UInt16 => Self::UInt16(UInt16Builder::new()),
            DataType::UInt32 => Self::UInt32(UInt32Builder::new()),
            DataType::UInt64 => Self::UInt64(UInt64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(_, _) => Self::Decimal(Decimal128Builder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::LargeUtf8 => Self::LargeText(LargeStringBuilder::new()),
            DataType::Utf8View => Self::TextView(StringViewBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::LargeBinary => Self::LargeBinary(LargeBinaryBuilder::new()),
            DataType::BinaryView => Self::BinaryView(BinaryViewBuilder::new()),
            DataType::FixedSizeBinary(width) => Self::Fixed(FixedSizeBinaryBuilder::new(*width)),
            DataType::List(item) | DataType::LargeList(item) => {
                Self::List(Nested::new(vec![Self::new(item.data_type())?]))
            }
            DataType::Map(entries, _) => Self::Map(Nested::new(Self::children(entries)?)),
            DataType::Struct(fields) => Self::Struct {
                children: fields
                    .iter()
                    .map(|field| Self::new(field.data_type()))
                    .collect::<Result<_, _>>()?,
                valid: Vec::new(),
            },
            other => {
                return Err(ArrowError::NotYetImplemented(format!(
                    "columns of type {other}"
                )));
            }
        })
    }

    fn children(entries: &FieldRef) -> Result<Vec<Self>, ArrowError> {
        match entries.data_type() {
            DataType::Struct(fields) => fields
                .iter()
                .map(|field| Self::new(field.data_type()))
                .collect(),
            other => Err(ArrowError::SchemaError(format!(
                "the entries of a map are {other}"
            ))),
        }
    }

    fn append(&mut self, cell: Cell<'_>) -> Result<(), ArrowError> {
        match self {
            Self::Null(len) => *len += 1,
            Self::Bool(builder) => match cell {
                Cell::Null => builder.append_null(),
                Cell::Bool(value) => builder.append_value(value),
                other => return Err(misplaced(&other)),
            },
            Self::Int8(builder) => append_int!(builder, cell),
            Self::Int16(builder) => append_int!(builder, cell),
            Self::Int32(builder) => append_int!(builder, cell),
            Self::Int64(builder) => append_int!(builder, cell),
            Self::UInt8(builder) => append_int!(builder, cell),
            Self::UInt16(builder) => append_int!(builder, cell),
            Self::UInt32(builder) => append_int!(builder, cell),
            Self::UInt64(builder) => append_int!(builder, cell),
            Self::Decimal(builder) => append_int!(builder, cell),
            Self::Float32(builder) => match cell {
                Cell::Null => builder.append_null(),
                Cell::Float(value) => builder.append_value(value as f32),
                other => return Err(misplaced(&other)),
            },
            Self::Float64(builder) => match cell {
                Cell::Null => builder.append_null(),
                Cell::Float(value) => builder.append_value(value),
                other => return Err(misplaced(&other)),
            },
            Self::Text(builder) => append_text!(builder, cell),
            Self::LargeText(builder) => append_text!(builder, cell),
            Self::TextView(builder) => append_text!(builder, cell),
            Self::Binary(builder) => append_bytes!(builder, cell),
            Self::LargeBinary(builder) => append_bytes!(builder, cell),
            Self::BinaryView(builder) => append_bytes!(builder, cell),
            Self::Fixed(builder) => match cell {
                Cell::Null => builder.append_null(),
                Cell::Bytes(bytes) => builder.append_value(bytes)?,
                other => return Err(misplaced(&other)),
            },
            Self::List(nested) => match cell {
                Cell::Null => nested.push(None),
                Cell::List(items) => {
                    nested.push(Some(items.len()));
                    for item in items {
                        nested.children[0].append(item)?;
                    }
                }
                other => return Err(misplaced(&other)),
            },
            Self::Map(nested) => match cell {
                Cell::Null => nested.push(None),
                Cell::Map(entries) => {
                    nested.push(Some(entries.len()));
                    for (key, value) in entries {
                        nested.children[0].append(key)?;
                        nested.children[1].append(value)?;
                    }
                }
                other => return Err(misplaced(&other)),
            },
            Self::Struct { children, valid } => match cell {
                Cell::Null => {
                    valid.push(false);
                    for child in children {
                        child.append(Cell::Null)?;
                    }
                }
                Cell::Struct(cells) => {
                    valid.push(true);
                    for (child, cell) in children.iter_mut().zip(cells) {
                        child.append(cell)?;
                    }
                }
                other => return Err(misplaced(&other)),
            },
        }
        Ok(())
    }

    fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => as_type(&builder.finish(), data_type)?,
            Self::Int64(builder) => as_type(&builder.finish(), data_type)?,
            Self::UInt8(builder) => Arc::new(builder.finish()),
            Self::UInt16(builder) => Arc::new(builder.finish()),
            Self::UInt32(builder) => Arc::new(builder.finish()),
            Self::UInt64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => as_type(&builder.finish(), data_type)?,
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::LargeText(builder) => Arc::new(builder.finish()),
            Self::TextView(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::LargeBinary(builder) => Arc::new(builder.finish()),
            Self::BinaryView(builder) => Arc::new(builder.finish()),
            Self::Fixed(builder) => Arc::new(builder.finish()),
            Self::List(nested) => match data_type {
                DataType::LargeList(item) => {
                    let values = nested.children[0].finish(item.data_type())?;
                    let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut nested.lengths));
                    let nulls = nulls(&mut nested.valid);
                    Arc::new(LargeListArray::try_new(
                        item.clone(),
                        offsets,
                        values,
                        nulls,
                    )?)
                }
                DataType::List(item) => {
                    let values = nested.children[0].finish(item.data_type())?;
                    let offsets = offsets(&mut nested.lengths)?;
                    let nulls = nulls(&mut nested.valid);
                    Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls)?)
                }
                other => return Err(wrong_type(other)),
            },
            Self::Map(nested) => match data_type {
                DataType::Map(entries, sorted) => {
                    let DataType::Struct(fields) = entries.data_type() else {
                        return Err(wrong_type(data_type));
                    };
                    let arrays = fields
                        .iter()
                        .zip(&mut nested.children)
                        .map(|(field, child)| child.finish(field.data_type()))
                        .collect::<Result<Vec<_>, _>>()?;
                    let values = StructArray::try_new(fields.clone(), arrays, None)?;
                    let offsets = offsets(&mut nested.lengths)?;
                    let nulls = nulls(&mut nested.valid);
                    let entries = entries.clone();
                    Arc::new(MapArray::try_new(entries, offsets, values, nulls, *sorted)?)
                }
                other => return Err(wrong_type(other)),
            },
            Self::Struct { children, valid } => match data_type {
                DataType::Struct(fields) => {
                    let arrays = fields
                        .iter()
                        .zip(children)
                        .map(|(field, child)| child.finish(field.data_type()))
                        .collect::<Result<Vec<_>, _>>()?;
                    let len = valid.len();
                    let nulls = nulls(valid);
                    let fields = fields.clone();
                    Arc::new(StructArray::try_new_with_length(
                        fields, arrays, nulls, len,
                    )?)
                }
                other => return Err(wrong_type(other)),
            },
        })
    }
}

/// The same values under another type of the same width: a timestamp is an `i64` in memory.
fn as_type(array: &dyn Array, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let data = array
        .to_data()
        .into_builder()
        .data_type(data_type.clone())
        .build()?;
    Ok(make_array(data))
}

fn nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    let valid = std::mem::take(valid);
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

/// Offsets of 32 bits, checked: `OffsetBuffer::from_lengths` panics where they overflow.
fn offsets(lengths: &mut Vec<usize>) -> Result<OffsetBuffer<i32>, ArrowError> {
    let mut end = 0_i32;
    let mut offsets = Vec::with_capacity(lengths.len() + 1);
    offsets.push(end);
    for length in std::mem::take(lengths) {
        end = i32::try_from(length)
            .ok()
            .and_then(|length| end.checked_add(length))
            .ok_or(ArrowError::OffsetOverflowError(length))?;
        offsets.push(end);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

fn wrong_type(data_type: &DataType) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("a nested column was built for {data_type}"))
}
