//! Finding the table's rows that have the keys of a batch.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use berglake_format::deletes::DeleteLoader;
use berglake_format::plan::ScanTask;
use berglake_format::read::{POS_COLUMN, ReadOptions, read_task};
use berglake_format::write::DeletedRows;
use berglake_format::{Error, Result, Table};
use futures::TryStreamExt;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, FormatVersion, PrimitiveType, Type};
use roaring::RoaringTreemap;

use super::winners::Winners;

/// What was found.
pub(super) struct Found {
    /// Which winners are written: those that are not older than the table's row.
    pub(super) keep: Vec<bool>,
    /// Rows of the table to delete, by data file.
    pub(super) deletes: Vec<FileDeletes>,
    /// How many winners replace a row.
    pub(super) updated: u64,
    /// How many winners are older than the table's row.
    pub(super) late: u64,
}

/// Deletes of one data file.
pub(super) struct FileDeletes {
    pub(super) deleted: DeletedRows,
    /// How many rows they delete that were not deleted before.
    pub(super) new: u64,
}

/// A row of the table that has the key of a winner.
struct Match {
    winner: usize,
    task: usize,
    position: u64,
}

/// Reads key and sequence columns of the files that may hold the keys.
pub(super) async fn look_up(base: &Table, winners: &Winners) -> Result<Found> {
    let mut keep = vec![true; winners.len()];
    if winners.len() == 0 {
        return Ok(Found {
            keep,
            deletes: Vec::new(),
            updated: 0,
            late: 0,
        });
    }
    let filter = key_range(base, &winners.key_columns)?;
    let plan = base
        .scan()
        .filter(filter)
        .select(winners.converter.columns())
        .plan()
        .await?;
    let options = ReadOptions {
        positions: true,
        ..ReadOptions::default()
    };
    let mut matches = Vec::new();
    let mut found = vec![false; winners.len()];
    for (at, task) in plan.tasks.iter().enumerate() {
        let mut batches = read_task(&plan, task, options);
        while let Some(batch) = batches.try_next().await? {
            let positions = batch
                .column_by_name(POS_COLUMN)
                .and_then(|column| column.as_primitive_opt::<Int64Type>())
                .ok_or_else(|| {
                    Error::internal("the reader gave no positions")
                        .with("path", task.file.file_path())
                })?;
            let rows = winners.converter.convert(&batch)?;
            for row in 0..batch.num_rows() {
                let Some(winner) = winners.of_key(rows.keys.row(row).as_ref()) else {
                    continue;
                };
                found[winner] = true;
                if rows.sequences.row(row).as_ref() > &*winners.sequences[winner] {
                    keep[winner] = false;
                }
                let position = u64::try_from(positions.value(row)).map_err(|_| {
                    Error::internal("a row has a negative position")
                        .with("path", task.file.file_path())
                })?;
                matches.push(Match {
                    winner,
                    task: at,
                    position,
                });
            }
        }
    }
    // Only now is it known which winners lose: a key may be there more than once, in an older and a
    // newer row, and then all of its rows stay.
    matches.retain(|found| keep[found.winner]);
    let count = |wanted: bool| {
        found
            .iter()
            .zip(&keep)
            .filter(|(found, keep)| **found && **keep == wanted)
            .count() as u64
    };
    let (updated, late) = (count(true), count(false));
    let deletes = deletes(base, &plan.tasks, matches).await?;
    Ok(Found {
        keep,
        deletes,
        updated,
        late,
    })
}

async fn deletes(
    base: &Table,
    tasks: &[ScanTask],
    matches: Vec<Match>,
) -> Result<Vec<FileDeletes>> {
    let mut by_task: Vec<RoaringTreemap> = vec![RoaringTreemap::new(); tasks.len()];
    for found in matches {
        by_task[found.task].insert(found.position);
    }
    // On V3 a data file has one deletion vector, so the new one holds the old one's rows as well.
    let merges = base.metadata().format_version() >= FormatVersion::V3;
    let loader = DeleteLoader::new(base.storage().clone());
    let mut deletes = Vec::new();
    for (task, mut positions) in tasks.iter().zip(by_task) {
        if positions.is_empty() {
            continue;
        }
        let new = positions.len();
        if merges && let Some(before) = loader.positions(task).await? {
            positions |= &*before;
        }
        let data_file = task.file.as_ref().clone();
        let deleted = DeletedRows {
            data_file,
            spec_id: task.spec_id,
            positions,
        };
        deletes.push(FileDeletes { deleted, new });
    }
    Ok(deletes)
}

/// A filter that is true for all keys of the batch: each key column within its least and its
/// greatest value, or NULL where the batch has NULLs.
pub(super) fn key_range(base: &Table, columns: &[(String, Vec<ArrayRef>)]) -> Result<Predicate> {
    let mut filter = Predicate::AlwaysTrue;
    for (name, parts) in columns {
        let field = base
            .schema()
            .field_by_name(name)
            .map(|field| field.field_type.as_ref());
        let Some(Type::Primitive(primitive)) = field else {
            continue;
        };
        let has_nulls = parts.iter().any(|part| part.null_count() > 0);
        let all_null = parts.iter().all(|part| part.null_count() == part.len());
        if all_null {
            filter = filter.and(Reference::new(name).is_null());
            continue;
        }
        let Some((least, greatest)) = bounds(parts, primitive)? else {
            continue;
        };
        let range = Reference::new(name)
            .greater_than_or_equal_to(least)
            .and(Reference::new(name).less_than_or_equal_to(greatest));
        filter = filter.and(match has_nulls {
            true => range.or(Reference::new(name).is_null()),
            false => range,
        });
    }
    Ok(filter)
}

/// The least and the greatest value of a column, in the binary form of the specification, for the
/// types whose order the bounds of files follow. Floats are left out: their bounds know no NaN.
fn bounds(parts: &[ArrayRef], primitive: &PrimitiveType) -> Result<Option<(Datum, Datum)>> {
    macro_rules! primitive {
        ($type:ty, $bytes:ident) => {{
            let arrays = || parts.iter().map(|part| part.as_primitive::<$type>());
            let least = arrays().filter_map(min).min();
            let greatest = arrays().filter_map(max).max();
            least
                .zip(greatest)
                .map(|(least, greatest)| (least.$bytes().to_vec(), greatest.$bytes().to_vec()))
        }};
    }
    let Some(first) = parts.first() else {
        return Ok(None);
    };
    let range = match first.data_type() {
        DataType::Int32 => primitive!(Int32Type, to_le_bytes),
        DataType::Int64 => primitive!(Int64Type, to_le_bytes),
        DataType::Date32 => primitive!(Date32Type, to_le_bytes),
        DataType::Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, to_le_bytes),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive!(TimestampMicrosecondType, to_le_bytes)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive!(TimestampNanosecondType, to_le_bytes)
        }
        DataType::Decimal128(_, _) => primitive!(Decimal128Type, to_be_bytes),
        DataType::Utf8 => {
            let arrays = || parts.iter().map(|part| part.as_string::<i32>());
            let least = arrays().filter_map(min_string).min();
            let greatest = arrays().filter_map(max_string).max();
            least
                .zip(greatest)
                .map(|(least, greatest)| (least.as_bytes().to_vec(), greatest.as_bytes().to_vec()))
        }
        _ => None,
    };
    let Some((least, greatest)) = range else {
        return Ok(None);
    };
    let datum = |bytes: Vec<u8>| Datum::try_from_bytes(&bytes, primitive.clone());
    Ok(Some((datum(least)?, datum(greatest)?)))
}
