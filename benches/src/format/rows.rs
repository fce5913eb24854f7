//! Tables of real rows: one file per day, with and without deletes, and with a history.
//!
//! All of them have the files of the table `rows`, as far as no rows of these are rewritten: nothing of
//! a difference in time comes from files that were written differently.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use berglake_benches::{Error, Watch};
use berglake_catalog::{NewTable, SqlCatalog};
use berglake_format::commit::Committer;
use berglake_format::snapshot::{Append, CommitNotes, DeleteFiles, RowDelta};
use berglake_format::write::{DataWriter, DeletedRows, WrittenFile, write_deletes};
use berglake_format::{Table, schema};
use iceberg::spec::{
    FormatVersion, NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec,
};
use roaring::RoaringTreemap;

use crate::protocol::{self, Made, MakeDeleted, MakeHistory, MakeRows};
use crate::tables::{Deferred, Lake, create, data_files, described, ident, noise};

/// 2024-01-01, in seconds since 1970.
const START: i64 = 1_704_067_200;
const DAY_SECONDS: u64 = 86_400;
/// One row of so many is deleted in a file that is touched.
const ONE_OF: u64 = 10;
/// Rows that are handed to a writer at a time.
const BATCH_ROWS: usize = 8_192;
/// The table that the others have their files of.
const ROWS: &str = "rows";

fn new_table(name: &str, version: FormatVersion) -> Result<NewTable, Error> {
    let columns = [
        ("id", PrimitiveType::Long),
        ("ts", PrimitiveType::Timestamp),
        ("customer", PrimitiveType::Int),
        ("amount", PrimitiveType::Long),
        ("price", PrimitiveType::Double),
        ("item", PrimitiveType::String),
    ];
    let fields = (1..)
        .zip(columns)
        .map(|(id, (name, ty))| Arc::new(NestedField::required(id, name, Type::Primitive(ty))));
    let by_day = UnboundPartitionSpec::builder()
        .add_partition_field(2, "ts_day", Transform::Day)?
        .build();
    let mut table = NewTable::new(ident(name), Schema::builder().with_fields(fields).build()?);
    table.partition_spec = Some(by_day);
    table.format_version = version;
    Ok(table)
}

/// Rows at these positions of the file of a day.
fn batch(schema: &SchemaRef, day: u64, rows: u64, positions: &[u64]) -> Result<RecordBatch, Error> {
    let id = |position: u64| day * rows + position;
    let random = |position, salt| noise(id(position), salt);
    let micros = |position| {
        let second = day * DAY_SECONDS + position * DAY_SECONDS / rows;
        (START + second as i64) * 1_000_000
    };
    let at = || positions.iter().copied();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(at().map(|p| id(p) as i64))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            at().map(micros),
        )),
        Arc::new(Int32Array::from_iter_values(
            at().map(|p| (random(p, 1) % 100_000) as i32),
        )),
        Arc::new(Int64Array::from_iter_values(
            at().map(|p| (random(p, 2) % 1_000_000) as i64),
        )),
        // Eighths are exact, and every engine writes them alike.
        Arc::new(Float64Array::from_iter_values(
            at().map(|p| (random(p, 3) % 8_000) as f64 / 8.0),
        )),
        Arc::new(StringArray::from_iter_values(
            at().map(|p| format!("item-{:05}", random(p, 4) % 20_000)),
        )),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Writes the rows at these positions of a day as one file.
async fn write(
    table: &Table,
    day: u64,
    rows: u64,
    positions: impl Iterator<Item = u64>,
) -> Result<WrittenFile, Error> {
    let schema = schema::to_arrow(table.schema())?;
    let mut writer = DataWriter::new(table)?;
    let mut chunk = Vec::with_capacity(BATCH_ROWS);
    for position in positions {
        chunk.push(position);
        if chunk.len() == BATCH_ROWS {
            writer.write(&batch(&schema, day, rows, &chunk)?).await?;
            chunk.clear();
        }
    }
    writer.write(&batch(&schema, day, rows, &chunk)?).await?;
    let mut files = writer.finish().await?;
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => Err("the rows of a day are not one file".into()),
    }
}

async fn append(deferred: &Deferred, files: Vec<WrittenFile>) -> Result<(), Error> {
    let notes = CommitNotes::default();
    deferred.apply(Append { files, notes }).await
}

pub async fn make(lake: &mut Lake, make: &MakeRows) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let deferred = create(&catalog, new_table(ROWS, FormatVersion::V2)?).await?;
    let (table, rows) = (deferred.table(), u64::from(make.rows));
    let mut files = Vec::new();
    for day in 0..u64::from(make.files) {
        files.push(write(&table, day, rows, 0..rows).await?);
    }
    let bytes: u64 = files
        .iter()
        .map(|file| file.file.file_size_in_bytes())
        .sum();
    let paths = files.iter().map(|written| {
        let path = written.file.file_path();
        path.strip_prefix("file://").unwrap_or(path).to_string()
    });
    let paths = paths.collect();
    append(&deferred, files).await?;
    let table = deferred.publish(&catalog).await?;
    let mut made = Made::default();
    let details = &mut made.details;
    details.insert("seconds".to_string(), watch.seconds().into());
    details.insert("bytes".to_string(), bytes.into());
    let described = protocol::Table {
        files: paths,
        ..described(&make.folder, &table)
    };
    made.tables.insert(ROWS.to_string(), described);
    Ok(made)
}

/// The files of the table `rows`: that of the first day first.
async fn base(catalog: &SqlCatalog) -> Result<Vec<WrittenFile>, Error> {
    let table = catalog.load(&ident(ROWS)).await?;
    let mut files = data_files(&table).await?;
    // Ids rise from day to day.
    let first_id = |file: &WrittenFile| {
        let bound = file.file.lower_bounds().get(&1)?;
        Some(bound.to_string().parse::<i64>().unwrap_or_default())
    };
    files.sort_by_key(first_id);
    Ok(files)
}

/// The positions that are deleted in the file of a day: one in each ten, and no telling which.
fn deleted(day: u64, rows: u64) -> impl Iterator<Item = u64> {
    (0..rows / ONE_OF).map(move |ten| ten * ONE_OF + noise(day, ten) % ONE_OF)
}

/// Makes three tables of the same rows: with position deletes, with deletion vectors, and clean.
pub async fn make_deleted(lake: &mut Lake, make: &MakeDeleted) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let files = base(&catalog).await?;
    let touched = usize::try_from(make.touched)?;
    let mut made = Made::default();

    let deletes = (0..)
        .zip(&files)
        .take(touched)
        .map(|(day, written)| DeletedRows {
            data_file: written.file.clone(),
            spec_id: written.spec_id,
            positions: deleted(day, written.file.record_count()).collect(),
        });
    let deletes: Vec<DeletedRows> = deletes.collect();
    for (form, version) in [
        ("positions", FormatVersion::V2),
        ("vectors", FormatVersion::V3),
    ] {
        let name = format!("{form}_{touched}");
        let deferred = create(&catalog, new_table(&name, version)?).await?;
        append(&deferred, files.clone()).await?;
        let table = deferred.table();
        let delta = RowDelta {
            base: table.current_snapshot().map(|head| head.snapshot_id()),
            delete_files: write_deletes(&table, &deletes).await?,
            ..RowDelta::default()
        };
        deferred.apply(delta).await?;
        publish(&catalog, &deferred, &make.folder, &mut made).await?;
    }

    let name = format!("clean_{touched}");
    let deferred = create(&catalog, new_table(&name, FormatVersion::V2)?).await?;
    let table = deferred.table();
    let mut clean = Vec::with_capacity(files.len());
    for (day, written) in (0..).zip(&files) {
        clean.push(match deletes.get(usize::try_from(day)?) {
            None => written.clone(),
            Some(deletes) => {
                let rows = written.file.record_count();
                let gone: &RoaringTreemap = &deletes.positions;
                let kept = (0..rows).filter(|position| !gone.contains(*position));
                write(&table, day, rows, kept).await?
            }
        });
    }
    append(&deferred, clean).await?;
    publish(&catalog, &deferred, &make.folder, &mut made).await?;
    made.details
        .insert("seconds".to_string(), watch.seconds().into());
    Ok(made)
}

async fn publish(
    catalog: &SqlCatalog,
    deferred: &Deferred,
    folder: &Path,
    made: &mut Made,
) -> Result<Table, Error> {
    let table = deferred.publish(catalog).await?;
    let name = table.ident().name().to_string();
    made.tables.insert(name, described(folder, &table));
    Ok(table)
}

/// Makes a table whose head has the rows of its first snapshot: each commit in between has added a row,
/// and the last one has removed them.
pub async fn make_history(lake: &mut Lake, make: &MakeHistory) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let deferred = create(&catalog, new_table("history", FormatVersion::V2)?).await?;
    append(&deferred, base(&catalog).await?).await?;
    let table = deferred.table();
    let first = table.current_snapshot().map(|head| head.snapshot_id());
    let mut paths = Vec::new();
    for number in 1..u64::from(make.commits) {
        let file = write(&table, 0, DAY_SECONDS, std::iter::once(number)).await?;
        paths.push(file.file.file_path().to_string());
        append(&deferred, vec![file]).await?;
    }
    deferred.apply(DeleteFiles::paths(paths)).await?;
    let mut made = Made::default();
    let table = publish(&catalog, &deferred, &make.folder, &mut made).await?;
    made.details = BTreeMap::from([
        ("seconds".to_string(), watch.seconds().into()),
        ("first".to_string(), first.into()),
        (
            "snapshots".to_string(),
            table.metadata().snapshots().len().into(),
        ),
    ]);
    Ok(made)
}
