//! `berglake rollback`

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use berglake_format::{Error, Result, Table};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::cli::{Global, Output, RollbackArguments};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;

/// The property that names the pipeline that writes a table.
const PIPELINE: &str = "berglake.pipeline";

pub(crate) async fn run(global: &Global, arguments: &RollbackArguments) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    if lake.is_fresh() {
        return Err(lake.nothing_yet().into());
    }
    let catalog = compose::catalog(&lake).await?;
    let table = super::load_table(catalog.as_ref(), &arguments.table).await?;
    // Whoever rolls a table back by its name means it, whoever writes it.
    let session = lake.engine(&catalog)?.connect();
    session.sql("SET berglake.force_write = true").await?;
    let ident = table.ident();
    let levels = ident.namespace().iter().map(String::as_str);
    let name: Vec<String> = levels
        .chain([ident.name()])
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    let name = literal(&name.join("."));
    let call = match (arguments.to_snapshot, &arguments.to_timestamp) {
        (Some(id), _) => format!("CALL system.rollback_to_snapshot({name}, {id})"),
        (None, Some(time)) => {
            let time = literal(time);
            format!("CALL system.rollback_to_timestamp({name}, {time})")
        }
        (None, None) => return Err(Error::internal("a rollback without a goal").into()),
    };
    let batches = session.sql(&call).await?.collect().await?;
    let table = super::load_table(catalog.as_ref(), &arguments.table).await?;
    let (was, is) = (
        snapshot(&batches, "previous_snapshot_id")?,
        snapshot(&batches, "current_snapshot_id")?,
    );
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&json!({
            "table": table.ident().to_string(),
            "previous": shown(&table, was),
            "current": shown(&table, is),
        }))?,
        _ => {
            out.line(&format!("{}", table.ident()))?;
            out.line(&format!("  was  {}", line(&table, was)))?;
            out.line(&format!("  is   {}", line(&table, is)))?;
            if let Some(pipeline) = table.metadata().properties().get(PIPELINE)
                && was != is
            {
                out.line(&format!(
                    "the pipeline {pipeline} writes this table; a flow whose rows are gone stops at its next \
                     run and asks: berglake run --resume replay|skip"
                ))?;
            }
        }
    }
    out.flush()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn snapshot(batches: &[RecordBatch], column: &str) -> Result<Option<i64>> {
    let ids = batches
        .first()
        .and_then(|batch| batch.column_by_name(column))
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| Error::internal("a rollback does not say what it did"))?;
    Ok(ids.iter().next().flatten())
}

fn committed_at(table: &Table, id: i64) -> Option<String> {
    let snapshot = table.metadata().snapshot_by_id(id)?;
    let time = DateTime::from_timestamp_millis(snapshot.timestamp_ms())?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn shown(table: &Table, id: Option<i64>) -> Value {
    match id {
        Some(id) => json!({"snapshot_id": id, "committed_at": committed_at(table, id)}),
        None => Value::Null,
    }
}

fn line(table: &Table, id: Option<i64>) -> String {
    match id {
        Some(id) => match committed_at(table, id) {
            Some(time) => format!("snapshot {id} of {time}"),
            None => format!("snapshot {id}"),
        },
        None => "without a snapshot".to_string(),
    }
}
