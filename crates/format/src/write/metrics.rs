//! Metrics of a data file, as manifests have them, from the footer that its writer made.
//!
//! The Parquet writer has looked at each value already: its chunk statistics give sizes, counts and
//! bounds for free. Two things it does not say or says differently: NaNs are counted while encoding
//! (see [`count_nans`]), and strings are cut again, at code points instead of bytes. A statistic that
//! was cut by the Parquet writer is still a bound, and [`stats_length`] keeps it long enough.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use iceberg::spec::{Datum, NestedField, PrimitiveLiteral, PrimitiveType, Schema, Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use crate::properties::{MetricsMode, MetricsProperties};
use crate::{Error, Result};

/// A leaf column of a schema, in the order of Parquet's columns.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub id: i32,
    pub name: String,
    pub ty: PrimitiveType,
    pub mode: MetricsMode,
    /// Whether it lies inside a list or a map: then it has counts and no bounds.
    pub repeated: bool,
}

impl Leaf {
    fn is_float(&self) -> bool {
        matches!(self.ty, PrimitiveType::Float | PrimitiveType::Double)
    }
}

/// All leaf columns of a schema with their metrics modes.
pub(super) fn leaves(schema: &Schema, properties: &MetricsProperties) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for field in schema.as_struct().fields() {
        add_leaves(schema, properties, field, false, &mut leaves);
    }
    leaves
}

fn add_leaves(
    schema: &Schema,
    properties: &MetricsProperties,
    field: &NestedField,
    repeated: bool,
    leaves: &mut Vec<Leaf>,
) {
    match field.field_type.as_ref() {
        Type::Primitive(ty) => {
            let name = schema.name_by_field_id(field.id).unwrap_or(&field.name);
            leaves.push(Leaf {
                id: field.id,
                name: name.to_string(),
                ty: ty.clone(),
                mode: properties.mode(name, leaves.len()),
                repeated,
            });
        }
        Type::Struct(fields) => {
            for field in fields.fields() {
                add_leaves(schema, properties, field, repeated, leaves);
            }
        }
        Type::List(list) => add_leaves(schema, properties, &list.element_field, true, leaves),
        Type::Map(map) => {
            add_leaves(schema, properties, &map.key_field, true, leaves);
            add_leaves(schema, properties, &map.value_field, true, leaves);
        }
    }
}

/// How long the Parquet writer must keep its statistics so that bounds can be cut from them: a code
/// point has up to four bytes. None where a column wants whole bounds.
pub(super) fn stats_length(leaves: &[Leaf]) -> Option<usize> {
    let mut length: usize = 64;
    for leaf in leaves.iter().filter(|leaf| !leaf.repeated) {
        match (&leaf.ty, leaf.mode) {
            (PrimitiveType::String | PrimitiveType::Binary, MetricsMode::Full) => return None,
            (PrimitiveType::Fixed(_), MetricsMode::Full | MetricsMode::Truncate(_)) => {
                // A fixed value cannot be cut and stay one.
                if let PrimitiveType::Fixed(bytes) = leaf.ty {
                    length = length.max(usize::try_from(bytes).unwrap_or(usize::MAX));
                }
            }
            (_, MetricsMode::Truncate(points)) => length = length.max(points.saturating_mul(4)),
            _ => {}
        }
    }
    Some(length)
}

/// The metrics of one file.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Metrics {
    pub column_sizes: HashMap<i32, u64>,
    pub value_counts: HashMap<i32, u64>,
    pub null_value_counts: HashMap<i32, u64>,
    pub nan_value_counts: HashMap<i32, u64>,
    pub lower_bounds: HashMap<i32, Datum>,
    pub upper_bounds: HashMap<i32, Datum>,
    pub split_offsets: Vec<i64>,
}

/// Metrics from the footer and the number of NaNs per leaf.
pub(super) fn of_file(leaves: &[Leaf], footer: &ParquetMetaData, nans: &[u64]) -> Result<Metrics> {
    let mut metrics = Metrics::default();
    for group in footer.row_groups() {
        if let Some(first) = group.columns().first() {
            let (offset, _) = first.byte_range();
            metrics.split_offsets.push(positive(offset)?);
        }
    }
    for (at, leaf) in leaves.iter().enumerate() {
        if leaf.mode == MetricsMode::None {
            continue;
        }
        let (mut size, mut values, mut nulls) = (0, 0, Some(0));
        let mut bounds = Bounds::new(leaf);
        for group in footer.row_groups() {
            let chunk = group.columns().get(at).ok_or_else(|| {
                Error::internal("a row group lacks a column").with("column", &leaf.name)
            })?;
            let chunk_values = unsigned(chunk.num_values())?;
            let chunk_nulls = chunk.statistics().and_then(Statistics::null_count_opt);
            size += unsigned(chunk.compressed_size())?;
            values += chunk_values;
            nulls = nulls.zip(chunk_nulls).map(|(all, some)| all + some);
            if chunk_nulls != Some(chunk_values) {
                bounds.add(chunk.statistics())?;
            }
        }
        metrics.column_sizes.insert(leaf.id, size);
        metrics.value_counts.insert(leaf.id, values);
        if let Some(nulls) = nulls {
            metrics.null_value_counts.insert(leaf.id, nulls);
        }
        if leaf.is_float() {
            let count = nans.get(at).copied().unwrap_or_default();
            metrics.nan_value_counts.insert(leaf.id, count);
        }
        let (lower, upper) = bounds.finish();
        metrics
            .lower_bounds
            .extend(lower.map(|bound| (leaf.id, bound)));
        metrics
            .upper_bounds
            .extend(upper.map(|bound| (leaf.id, bound)));
    }
    Ok(metrics)
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::corrupt("a Parquet footer has a negative size"))
}

fn positive(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::corrupt("a Parquet footer has an offset past 2^63"))
}

/// Bounds of one column over all row groups.
struct Bounds<'a> {
    leaf: &'a Leaf,
    lower: Option<Datum>,
    upper: Option<Datum>,
    /// A row group with values had no statistic: nothing is known of the file then.
    unknown: bool,
}

impl<'a> Bounds<'a> {
    fn new(leaf: &'a Leaf) -> Self {
        Self {
            leaf,
            lower: None,
            upper: None,
            unknown: leaf.repeated
                || !matches!(leaf.mode, MetricsMode::Truncate(_) | MetricsMode::Full),
        }
    }

    fn add(&mut self, statistics: Option<&Statistics>) -> Result<()> {
        if self.unknown {
            return Ok(());
        }
        let read = |bytes: Option<&[u8]>| match (statistics, bytes) {
            (Some(statistics), Some(bytes)) => datum(&self.leaf.ty, statistics, bytes),
            _ => Ok(None),
        };
        let min = read(statistics.and_then(Statistics::min_bytes_opt))?;
        let max = read(statistics.and_then(Statistics::max_bytes_opt))?;
        match (min, max) {
            (Some(min), Some(max)) => {
                if self.lower.as_ref().is_none_or(|lower| min < *lower) {
                    self.lower = Some(min);
                }
                if self.upper.as_ref().is_none_or(|upper| max > *upper) {
                    self.upper = Some(max);
                }
            }
            // A chunk of floats without bounds holds nothing but NaN, which bounds ignore.
            _ if self.leaf.is_float() => {}
            _ => self.unknown = true,
        }
        Ok(())
    }

    fn finish(self) -> (Option<Datum>, Option<Datum>) {
        match (self.unknown, self.leaf.mode) {
            (true, _) => (None, None),
            (false, MetricsMode::Truncate(length)) => (
                self.lower.map(|bound| cut_lower(bound, length)),
                self.upper.and_then(|bound| cut_upper(bound, length)),
            ),
            (false, _) => (self.lower, self.upper),
        }
    }
}

/// The value of a statistic, or none where it has no form in this type.
fn datum(ty: &PrimitiveType, statistics: &Statistics, bytes: &[u8]) -> Result<Option<Datum>> {
    let datum = match (ty, statistics) {
        (PrimitiveType::Decimal { .. }, Statistics::Int32(_)) => {
            let bytes = bytes.try_into().map_err(|_| short())?;
            decimal(ty, i128::from(i32::from_le_bytes(bytes)))?
        }
        (PrimitiveType::Decimal { .. }, Statistics::Int64(_)) => {
            let bytes = bytes.try_into().map_err(|_| short())?;
            decimal(ty, i128::from(i64::from_le_bytes(bytes)))?
        }
        (PrimitiveType::Fixed(length), _) if bytes.len() as u64 != *length => return Ok(None),
        _ => Datum::try_from_bytes(bytes, ty.clone())?,
    };
    Ok(Some(datum))
}

fn decimal(ty: &PrimitiveType, unscaled: i128) -> Result<Datum> {
    Ok(Datum::try_from_bytes(&unscaled.to_be_bytes(), ty.clone())?)
}

fn short() -> Error {
    Error::corrupt("a Parquet statistic has the wrong length")
}

/// A lower bound of at most so many code points or bytes.
fn cut_lower(bound: Datum, length: usize) -> Datum {
    match (bound.data_type(), bound.literal()) {
        (PrimitiveType::String, PrimitiveLiteral::String(text)) => {
            Datum::string(text.chars().take(length).collect::<String>())
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(bytes)) => {
            Datum::binary(bytes.iter().copied().take(length))
        }
        _ => bound,
    }
}

/// An upper bound of at most so many code points or bytes: what is left after the cut is incremented,
/// and where that is impossible there is no bound.
fn cut_upper(bound: Datum, length: usize) -> Option<Datum> {
    match (bound.data_type(), bound.literal()) {
        (PrimitiveType::String, PrimitiveLiteral::String(text)) => {
            if text.chars().nth(length).is_none() {
                return Some(bound);
            }
            let mut kept: Vec<char> = text.chars().take(length).collect();
            while let Some(last) = kept.pop() {
                if let Some(next) = next_char(last) {
                    kept.push(next);
                    return Some(Datum::string(kept.into_iter().collect::<String>()));
                }
            }
            None
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(bytes)) => {
            if bytes.len() <= length {
                return Some(bound);
            }
            let mut kept = bytes[..length].to_vec();
            while let Some(last) = kept.pop() {
                if let Some(next) = last.checked_add(1) {
                    kept.push(next);
                    return Some(Datum::binary(kept));
                }
            }
            None
        }
        _ => Some(bound),
    }
}

/// The next code point; surrogates are none.
fn next_char(c: char) -> Option<char> {
    match c {
        '\u{D7FF}' => Some('\u{E000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

/// Adds the NaNs of a column to the counts of its leaves, in order. Values under a NULL do not count.
pub(super) fn count_nans(array: &ArrayRef, counts: &mut [u64]) -> Result<()> {
    let mut at = 0;
    walk(array, None, &mut at, counts)
}

/// How many Parquet columns a column of this type becomes.
pub(super) fn leaf_count(ty: &DataType) -> usize {
    match ty {
        DataType::Struct(fields) => fields.iter().map(|f| leaf_count(f.data_type())).sum(),
        DataType::List(field) | DataType::Map(field, _) => leaf_count(field.data_type()),
        _ => 1,
    }
}

/// Whether a column of this type can hold a NaN anywhere.
pub(super) fn has_floats(ty: &DataType) -> bool {
    match ty {
        DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_floats(field.data_type()),
        _ => false,
    }
}

fn walk(
    array: &ArrayRef,
    parent: Option<&NullBuffer>,
    at: &mut usize,
    counts: &mut [u64],
) -> Result<()> {
    let valid = NullBuffer::union(parent, array.nulls());
    match array.data_type() {
        DataType::Struct(_) => {
            for child in array.as_struct().columns() {
                walk(child, valid.as_ref(), at, counts)?;
            }
        }
        DataType::List(_) => {
            let array = visible(array, valid.as_ref())?;
            let list = array.as_list::<i32>();
            let (first, length) = extent(list.value_offsets());
            walk(&list.values().slice(first, length), None, at, counts)?;
        }
        DataType::Map(_, _) => {
            let array = visible(array, valid.as_ref())?;
            let map = array.as_map();
            let (first, length) = extent(map.value_offsets());
            walk(&map.keys().slice(first, length), None, at, counts)?;
            walk(&map.values().slice(first, length), None, at, counts)?;
        }
        ty => {
            let nans = match ty {
                DataType::Float32 => {
                    nans::<Float32Type>(array, valid.as_ref(), |value| value.is_nan())
                }
                DataType::Float64 => {
                    nans::<Float64Type>(array, valid.as_ref(), |value| value.is_nan())
                }
                _ => 0,
            };
            if let Some(count) = counts.get_mut(*at) {
                *count += nans;
            }
            *at += 1;
        }
    }
    Ok(())
}

/// The rows that are not NULL. A NULL list may cover elements, which no reader sees.
fn visible(array: &ArrayRef, valid: Option<&NullBuffer>) -> Result<ArrayRef> {
    match valid.filter(|valid| valid.null_count() > 0) {
        None => Ok(array.clone()),
        Some(valid) => {
            let mask = BooleanArray::new(valid.inner().clone(), None);
            Ok(arrow::compute::filter(array, &mask)?)
        }
    }
}

fn extent(offsets: &[i32]) -> (usize, usize) {
    let first = offsets.first().copied().unwrap_or_default() as usize;
    let last = offsets.last().copied().unwrap_or_default() as usize;
    (first, last - first)
}

fn nans<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    valid: Option<&NullBuffer>,
    is_nan: impl Fn(&T::Native) -> bool,
) -> u64 {
    let values = array.as_primitive::<T>().values();
    let count = match valid.filter(|valid| valid.null_count() > 0) {
        None => values.iter().filter(|value| is_nan(value)).count(),
        Some(valid) => values
            .iter()
            .zip(valid.iter())
            .filter(|(value, valid)| *valid && is_nan(value))
            .count(),
    };
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_at_code_points_and_incremented_there() {
        let cut = |text: &str, length| {
            let upper = cut_upper(Datum::string(text), length);
            (cut_lower(Datum::string(text), length), upper)
        };
        assert_eq!(
            cut("abc", 3),
            (Datum::string("abc"), Some(Datum::string("abc")))
        );
        assert_eq!(
            cut("abcd", 3),
            (Datum::string("abc"), Some(Datum::string("abd")))
        );
        assert_eq!(
            cut("äöüß", 2),
            (Datum::string("äö"), Some(Datum::string("ä÷")))
        );
        assert_eq!(
            cut("a\u{D7FF}x", 2),
            (Datum::string("a\u{D7FF}"), Some(Datum::string("a\u{E000}")))
        );
        assert_eq!(
            cut("a\u{10FFFF}x", 2),
            (Datum::string("a\u{10FFFF}"), Some(Datum::string("b")))
        );
        assert_eq!(
            cut("\u{10FFFF}\u{10FFFF}x", 2),
            (Datum::string("\u{10FFFF}\u{10FFFF}"), None)
        );
    }

    #[test]
    fn binaries_are_cut_at_bytes() {
        let upper = |bytes: &[u8]| cut_upper(Datum::binary(bytes.to_vec()), 2);
        assert_eq!(upper(&[1, 2]), Some(Datum::binary([1, 2])));
        assert_eq!(upper(&[1, 2, 3]), Some(Datum::binary([1, 3])));
        assert_eq!(upper(&[1, 255, 3]), Some(Datum::binary([2])));
        assert_eq!(upper(&[255, 255, 3]), None);
    }
}
