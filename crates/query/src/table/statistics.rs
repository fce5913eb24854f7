//! What manifests say of rows and columns, as DataFusion's statistics.
//!
//! Only a count of live rows is ever exact, and only where deletes are counted exactly too. Bounds
//! and null counts are of the file as it was written: a deleted row may have been the smallest.
//! DataFusion takes exact statistics at their word (it turns a column whose exact minimum is its exact
//! maximum into a literal), so those are always estimates.

use arrow::datatypes::Schema as ArrowSchema;
use berglake_format::plan::ScanTask;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use iceberg::spec::{DataFileFormat, Datum, PrimitiveType, Schema, Type};

use super::values::scalar;

/// The number of live rows of a file.
fn live_rows(task: &ScanTask) -> Precision<usize> {
    let Ok(rows) = usize::try_from(task.file.record_count()) else {
        return Precision::Absent;
    };
    // Of a part of a file it is not known how many rows it has.
    if task.range.is_some() {
        return Precision::Inexact(rows);
    }
    match task.position_deletes.as_slice() {
        [] if task.equality_deletes.is_empty() => Precision::Exact(rows),
        // A deletion vector is a set of positions, so its count is exact. A file of position deletes
        // may name a position twice.
        [only]
            if task.equality_deletes.is_empty()
                && only.file.file_format() == DataFileFormat::Puffin =>
        {
            match usize::try_from(only.file.record_count()) {
                Ok(deleted) if deleted <= rows => Precision::Exact(rows - deleted),
                _ => Precision::Inexact(rows),
            }
        }
        _ => Precision::Inexact(rows),
    }
}

/// The statistics of one file as it was written, for the columns of the table. Rows are counted with
/// the deleted ones, because null counts are, and a column with as many NULLs as rows is taken to hold
/// nothing else.
pub(super) fn of_file(task: &ScanTask, schema: &Schema, arrow: &ArrowSchema) -> Statistics {
    let file = &task.file;
    let column_statistics = schema
        .as_struct()
        .fields()
        .iter()
        .zip(arrow.fields())
        .map(|(field, arrow_field)| {
            let Type::Primitive(ty) = field.field_type.as_ref() else {
                return ColumnStatistics::new_unknown();
            };
            let null_count = file
                .null_value_counts()
                .get(&field.id)
                .and_then(|count| usize::try_from(*count).ok())
                .map_or(Precision::Absent, Precision::Inexact);
            // NaN lies outside of the bounds and is greater than every number for the engine.
            let bounded = !matches!(ty, PrimitiveType::Float | PrimitiveType::Double)
                || file.nan_value_counts().get(&field.id) == Some(&0);
            let bound = |bound: Option<&Datum>| {
                bound
                    .filter(|_| bounded)
                    .and_then(|datum| {
                        scalar(datum.literal(), datum.data_type(), arrow_field.data_type())
                    })
                    .map_or(Precision::Absent, Precision::Inexact)
            };
            ColumnStatistics {
                null_count,
                min_value: bound(file.lower_bounds().get(&field.id)),
                max_value: bound(file.upper_bounds().get(&field.id)),
                ..ColumnStatistics::new_unknown()
            }
        })
        .collect();
    Statistics {
        num_rows: usize::try_from(file.record_count())
            .map_or(Precision::Absent, Precision::Inexact),
        total_byte_size: bytes(file.file_size_in_bytes()),
        column_statistics,
    }
}

fn bytes(size: u64) -> Precision<usize> {
    usize::try_from(size).map_or(Precision::Absent, Precision::Inexact)
}

/// The statistics of all files together, with their live rows.
pub(super) fn of_scan<'a>(
    tasks: &[ScanTask],
    files: impl IntoIterator<Item = &'a Statistics>,
    columns: usize,
) -> Statistics {
    let rows = tasks
        .iter()
        .map(live_rows)
        .fold(Precision::Exact(0), |sum, rows| sum.add(&rows));
    Statistics {
        num_rows: rows,
        ..together(files, columns)
    }
}

fn together<'a>(files: impl IntoIterator<Item = &'a Statistics>, columns: usize) -> Statistics {
    let mut files = files.into_iter();
    let Some(first) = files.next() else {
        return Statistics {
            num_rows: Precision::Exact(0),
            total_byte_size: Precision::Exact(0),
            column_statistics: vec![ColumnStatistics::new_unknown(); columns],
        };
    };
    let mut all = first.clone();
    for file in files {
        all.total_byte_size = all.total_byte_size.add(&file.total_byte_size);
        for (sum, column) in all
            .column_statistics
            .iter_mut()
            .zip(&file.column_statistics)
        {
            sum.null_count = sum.null_count.add(&column.null_count);
            merge(&mut sum.min_value, &column.min_value, |new, old| new < old);
            merge(&mut sum.max_value, &column.max_value, |new, old| new > old);
        }
    }
    all
}

/// Keeps the outer of two bounds; a bound that one file lacks is unknown for all.
fn merge(
    kept: &mut Precision<ScalarValue>,
    other: &Precision<ScalarValue>,
    is_outer: fn(&ScalarValue, &ScalarValue) -> bool,
) {
    match (kept.get_value(), other.get_value()) {
        (Some(old), Some(new)) => {
            if is_outer(new, old) {
                *kept = Precision::Inexact(new.clone());
            }
        }
        _ => *kept = Precision::Absent,
    }
}
