//! `berglake info`

use berglake_catalog::Catalog;
use berglake_format::deletes::DeleteLoader;
use berglake_format::{Error, Result, Table};
use berglake_pipeline::config::mask_url;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;
use crate::render::layout::{Column, table as aligned};
use crate::render::{count, size, time};

/// Delete files that are read at the same time.
const CONCURRENT_LOADS: usize = 8;

/// What `info` says. Field names are part of the interface; sizes are in bytes.
#[derive(Debug, Serialize)]
struct Info {
    format: &'static str,
    /// Of new tables, where neither table nor project says otherwise.
    format_version: String,
    project: String,
    catalog: CatalogInfo,
    warehouse: String,
    tables: Vec<TableInfo>,
}

#[derive(Debug, Serialize)]
struct CatalogInfo {
    name: String,
    uri: String,
}

#[derive(Debug, Serialize)]
struct TableInfo {
    name: String,
    location: String,
    metadata_location: String,
    format_version: u8,
    snapshots: usize,
    latest_snapshot_id: Option<i64>,
    last_updated: String,
    rows: u64,
    files: usize,
    delete_files: usize,
    total_size: u64,
    mean_file_size: u64,
}

pub(crate) async fn run(global: &Global, name: Option<&str>) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    if lake.is_fresh() && name.is_some() {
        return Err(lake.nothing_yet().into());
    }
    let catalog = compose::catalog_to_read(&lake).await?;
    let mut tables = Vec::new();
    for table in selected(catalog.as_ref(), name).await? {
        tables.push(describe(&table).await?);
    }
    let config = &lake.project.config;
    let version = config.defaults.get("format-version");
    let info = Info {
        format: "iceberg",
        format_version: version.cloned().unwrap_or_else(|| "2".to_string()),
        project: config.name.clone(),
        catalog: CatalogInfo {
            name: config.catalog_name.clone(),
            uri: mask_url(config.catalog_uri.reveal()),
        },
        warehouse: config.warehouse.clone(),
        tables,
    };
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&info)?,
        _ => out.text(&for_people(&info))?,
    }
    out.flush()
}

async fn selected(catalog: &dyn Catalog, name: Option<&str>) -> Result<Vec<Table>> {
    if let Some(name) = name {
        return Ok(vec![super::load_table(catalog, name).await?]);
    }
    let mut tables = Vec::new();
    for ident in super::all_tables(catalog).await? {
        tables.push(catalog.load(&ident).await?);
    }
    Ok(tables)
}

async fn describe(table: &Table) -> Result<TableInfo> {
    let metadata = table.metadata();
    let plan = table.scan().plan().await?;
    let files = plan.tasks.len();
    let total_size = plan.metrics.bytes;
    Ok(TableInfo {
        name: table.ident().to_string(),
        location: metadata.location().to_string(),
        metadata_location: table.metadata_location().to_string(),
        format_version: metadata.format_version() as u8,
        snapshots: metadata.snapshots().len(),
        latest_snapshot_id: metadata.current_snapshot_id(),
        last_updated: time(metadata.last_updated_ms()),
        rows: live_rows(table, &plan.tasks).await?,
        files,
        delete_files: plan.metrics.delete_files,
        total_size,
        mean_file_size: total_size.checked_div(files as u64).unwrap_or(0),
    })
}

/// Rows that a reader sees: those of the data files without those that are deleted by position.
async fn live_rows(table: &Table, tasks: &[berglake_format::plan::ScanTask]) -> Result<u64> {
    if tasks.iter().any(|task| !task.equality_deletes.is_empty()) {
        // Which rows an equality delete hits is known only by reading them.
        return counted(table).await;
    }
    let loader = DeleteLoader::new(table.storage().clone());
    let live = |task| {
        let loader = loader.clone();
        async move { live_rows_of(&loader, task).await }
    };
    stream::iter(tasks)
        .map(live)
        .buffer_unordered(CONCURRENT_LOADS)
        .try_fold(0, |sum, rows| async move { Ok(sum + rows) })
        .await
        .map_err(|error: Error| error.with("table", table.ident()))
}

async fn live_rows_of(
    loader: &DeleteLoader,
    task: &berglake_format::plan::ScanTask,
) -> Result<u64> {
    let all = task.file.record_count();
    let deleted = match task.position_deletes.is_empty() {
        true => None,
        false => loader.positions(task).await?,
    };
    Ok(all.saturating_sub(deleted.map_or(0, |positions| positions.len())))
}

/// The rows that a scan gives.
async fn counted(table: &Table) -> Result<u64> {
    let plan = table.scan().plan().await?;
    let options = berglake_format::read::ReadOptions::default();
    berglake_format::read::read(&plan, options)
        .try_fold(
            0,
            |sum, batch| async move { Ok(sum + batch.num_rows() as u64) },
        )
        .await
}

fn for_people(info: &Info) -> String {
    let mut text = format!(
        "project    {}\nformat     Iceberg, version {} for new tables\ncatalog    {} at {}\nwarehouse  {}\n\n",
        info.project, info.format_version, info.catalog.name, info.catalog.uri, info.warehouse
    );
    if info.tables.is_empty() {
        return text + "there are no tables yet; `berglake run` makes those of the pipelines\n";
    }
    let columns = vec![
        Column::left("table"),
        Column::right("rows"),
        Column::right("files"),
        Column::right("delete files"),
        Column::right("size"),
        Column::right("mean file"),
        Column::right("snapshots"),
        Column::right("latest snapshot"),
        Column::left("last updated"),
    ];
    let rows: Vec<Vec<String>> = info
        .tables
        .iter()
        .map(|table| {
            vec![
                table.name.clone(),
                count(table.rows),
                count(table.files as u64),
                count(table.delete_files as u64),
                size(table.total_size),
                size(table.mean_file_size),
                count(table.snapshots as u64),
                table
                    .latest_snapshot_id
                    .map_or_else(|| "none".to_string(), |id| id.to_string()),
                table.last_updated.clone(),
            ]
        })
        .collect();
    text += &aligned(columns, &rows);
    if let [table] = &info.tables[..] {
        text += &format!(
            "\nlocation   {}\nmetadata   {}\nformat     version {}\n",
            table.location, table.metadata_location, table.format_version
        );
    }
    text
}
