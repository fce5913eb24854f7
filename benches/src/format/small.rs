//! A table of many files of few rows, and a commit that deletes a row of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use berglake_benches::{Error, Watch};
use berglake_catalog::NewTable;
use berglake_format::commit::{Committer, MemoryCommitter, Transaction};
use berglake_format::plan::{ScanPlan, ScanTask};
use berglake_format::read::{POS_COLUMN, ReadOptions, read_task};
use berglake_format::snapshot::{Append, CommitNotes, RowDelta};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::{DataWriter, DeletedRows, WrittenFile, write_deletes};
use berglake_format::{Environment, Table, schema};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::TableCreation;
use iceberg::expr::Reference;
use iceberg::spec::{Datum, FormatVersion, NestedField, PrimitiveType, Schema, Type};
use roaring::RoaringTreemap;

use crate::protocol::{self, Answer, CopySmall, DeleteRows, Made, MakeSmall};
use crate::tables::{Deferred, Lake, NAMESPACE, create, data_files, described, ident, noise};

const SMALL: &str = "small";
/// The column that says which row of its file a row is.
const SLOT: &str = "slot";
/// Files that are written or read at the same time, for each thread.
const AT_ONCE: usize = 4;
/// Spark deletes by deletion vectors where it is told so.
const PROPERTIES: [(&str, &str); 2] = [
    ("write.delete.mode", "merge-on-read"),
    ("write.delete.granularity", "file"),
];

fn columns() -> Result<Schema, Error> {
    let columns = [
        ("id", PrimitiveType::Long),
        (SLOT, PrimitiveType::Int),
        ("text", PrimitiveType::String),
    ];
    let fields = (1..)
        .zip(columns)
        .map(|(id, (name, ty))| Arc::new(NestedField::required(id, name, Type::Primitive(ty))));
    Ok(Schema::builder().with_fields(fields).build()?)
}

fn properties() -> impl Iterator<Item = (String, String)> {
    let owned = |(key, value): (&str, &str)| (key.to_string(), value.to_string());
    PROPERTIES.into_iter().map(owned)
}

async fn write(table: Table, number: u32, rows: i32) -> Result<Vec<WrittenFile>, Error> {
    let id = |slot: i32| i64::from(number) * i64::from(rows) + i64::from(slot);
    let texts = (0..rows).map(|slot| format!("{:016x}", noise(u64::from(number), slot as u64)));
    let batch = RecordBatch::try_new(
        schema::to_arrow(table.schema())?,
        vec![
            Arc::new(Int64Array::from_iter_values((0..rows).map(id))),
            Arc::new(Int32Array::from_iter_values(0..rows)),
            Arc::new(StringArray::from_iter_values(texts)),
        ],
    )?;
    let mut writer = DataWriter::new(&table)?;
    writer.write(&batch).await?;
    Ok(writer.finish().await?)
}

pub async fn make(lake: &mut Lake, make: &MakeSmall, threads: usize) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let deferred = create(&catalog, NewTable::new(ident(SMALL), columns()?)).await?;
    let table = deferred.table();
    let files: Vec<Vec<WrittenFile>> = stream::iter(0..make.files)
        .map(|number| write(table.clone(), number, make.rows))
        .buffered(AT_ONCE * threads)
        .try_collect()
        .await?;
    append(&deferred, files.concat()).await?;
    let table = deferred.publish(&catalog).await?;
    let mut made = Made::default();
    made.details
        .insert("seconds".to_string(), watch.seconds().into());
    made.tables
        .insert(SMALL.to_string(), described(&make.folder, &table));
    Ok(made)
}

async fn append(deferred: &Deferred, files: Vec<WrittenFile>) -> Result<(), Error> {
    let notes = CommitNotes::default();
    deferred.apply(Append { files, notes }).await
}

/// Makes another table of the same files, of format version 3.
pub async fn copy(lake: &mut Lake, request: &CopySmall) -> Result<Made, Error> {
    let catalog = lake.catalog(&request.folder).await?;
    let files = data_files(&catalog.load(&ident(SMALL)).await?).await?;
    let mut made = Made::default();
    let table = if request.hadoop {
        let folder = request.folder.join("hadoop").join(NAMESPACE);
        let folder = folder.join(&request.name);
        let tables = MemoryCommitter::new(Storage::default(), Environment::default());
        let creation = TableCreation::builder()
            .name(request.name.clone())
            .location(Location::from_path(&folder)?.to_string())
            .schema(columns()?)
            .properties(properties())
            .format_version(FormatVersion::V3)
            .build();
        let table = tables.create(ident(&request.name), creation).await?;
        let deferred = Deferred::new(table);
        append(&deferred, files).await?;
        // Such tables have metadata files that are numbered, and one that says which is current.
        let metadata = folder.join("metadata");
        let json = serde_json::to_vec(deferred.table().metadata())?;
        let first = metadata.join("v1.metadata.json");
        std::fs::write(&first, json)?;
        std::fs::write(metadata.join("version-hint.text"), "1")?;
        protocol::Table {
            metadata: first.display().to_string(),
            ..described(&request.folder, &deferred.table())
        }
    } else {
        let mut table = NewTable::new(ident(&request.name), columns()?);
        table.format_version = FormatVersion::V3;
        table.properties = properties().collect();
        let deferred = create(&catalog, table).await?;
        append(&deferred, files).await?;
        described(&request.folder, &deferred.publish(&catalog).await?)
    };
    made.tables.insert(request.name.clone(), table);
    Ok(made)
}

/// Finds the rows whose slot it is, writes their deletes and commits them.
pub async fn delete_rows(
    lake: &mut Lake,
    request: &DeleteRows,
    threads: usize,
) -> Result<Answer, Error> {
    let catalog = lake.catalog(&request.folder).await?;
    let ident = ident(&request.name);

    let watch = Watch::start();
    let table = catalog.load(&ident).await?;
    let filter = Reference::new(SLOT).equal_to(Datum::int(request.slot));
    let plan = table.scan().filter(filter).select([SLOT]).plan().await?;
    let found: Vec<RoaringTreemap> = stream::iter(&plan.tasks)
        .map(|task| positions(&plan, task, request.slot))
        .buffered(AT_ONCE * threads)
        .try_collect()
        .await?;
    let found_after = watch.seconds();
    let with_rows = plan
        .tasks
        .iter()
        .zip(found)
        .filter(|(_, found)| !found.is_empty());
    let deletes: Vec<DeletedRows> = with_rows
        .map(|(task, positions)| DeletedRows {
            data_file: task.file.as_ref().clone(),
            spec_id: task.spec_id,
            positions,
        })
        .collect();
    let delta = RowDelta {
        base: table.current_snapshot().map(|head| head.snapshot_id()),
        delete_files: write_deletes(&table, &deletes).await?,
        ..RowDelta::default()
    };
    let written_after = watch.seconds();
    Transaction::new(&*catalog)
        .step(ident.clone(), delta)
        .commit()
        .await?;
    let seconds = watch.seconds();

    let after = catalog.load(&ident).await?;
    Ok(Answer {
        seconds,
        result: Vec::new(),
        details: BTreeMap::from([
            ("metadata".to_string(), after.metadata_location().into()),
            ("files".to_string(), deletes.len().into()),
            ("find".to_string(), found_after.into()),
            ("write".to_string(), (written_after - found_after).into()),
            ("commit".to_string(), (seconds - written_after).into()),
        ]),
    })
}

/// Where in its file the rows are whose slot it is.
async fn positions(plan: &ScanPlan, task: &ScanTask, slot: i32) -> Result<RoaringTreemap, Error> {
    let options = ReadOptions {
        positions: true,
        ..ReadOptions::default()
    };
    let mut found = RoaringTreemap::new();
    let mut batches = read_task(plan, task, options);
    while let Some(batch) = batches.try_next().await? {
        let column = |name: &str| batch.column_by_name(name).ok_or("a column is missing");
        let slots = column(SLOT)?.as_primitive::<Int32Type>();
        let positions = column(POS_COLUMN)?.as_primitive::<Int64Type>();
        for (at, position) in slots.values().iter().zip(positions.values()) {
            if *at == slot {
                found.insert(u64::try_from(*position)?);
            }
        }
    }
    Ok(found)
}
