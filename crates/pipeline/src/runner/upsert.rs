//! AUTO CDC into a table that keeps the newest row of each key (SCD type 1).

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use berglake_format::commit::Transaction;
use berglake_format::{Error, Result, Table, failpoint, properties};
use berglake_ingest::sink::Upsert;
use futures::StreamExt;
use tracing::Instrument;

use super::expectations::Checks;
use super::inputs::{self, Batch};
use super::owner::Owning;
use super::types::table_schema;
use super::{FlowRun, dataflow, tables};
use crate::language::{ColumnSelection, Flow, Write};
use crate::report::{FlowReport, FlowStatus};

/// The columns that the flow writes, out of those that its source gives.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if a named column is not there, or a key
/// or the sequence is not among those written.
pub(super) fn columns(flow: &Flow, source: &SchemaRef) -> Result<SchemaRef> {
    let Write::Upsert {
        keys,
        sequence_by,
        columns,
    } = &flow.write
    else {
        return Ok(source.clone());
    };
    let missing = |clause: &str, name: &str, schema: &Schema| {
        let known: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        Error::invalid(format!(
            "{clause} names the column {name:?}, which is not there"
        ))
        .with("flow", &flow.name)
        .help(format!("there are {}", known.join(", ")))
    };
    let written = match columns {
        ColumnSelection::All => source.clone(),
        ColumnSelection::Only(names) => {
            let mut fields = Vec::new();
            for name in names {
                let found = source.column_with_name(&name.node);
                let (_, field) = found.ok_or_else(|| missing("COLUMNS", &name.node, source))?;
                fields.push(field.clone());
            }
            Arc::new(Schema::new(fields))
        }
        ColumnSelection::AllExcept(names) => {
            for name in names {
                if source.column_with_name(&name.node).is_none() {
                    return Err(missing("COLUMNS * EXCEPT", &name.node, source));
                }
            }
            let kept = source
                .fields()
                .iter()
                .filter(|f| !names.iter().any(|n| n.node == *f.name()));
            Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()))
        }
    };
    for (clause, name) in keys
        .iter()
        .map(|key| ("KEYS", key))
        .chain([("SEQUENCE BY", sequence_by)])
    {
        if written.column_with_name(name).is_none() {
            // Without it the table could not tell later which of two rows is newer.
            return Err(missing(clause, name, &written));
        }
    }
    Ok(written)
}

/// Upserts and commits one batch; gives the target as it stands afterwards.
pub(super) async fn take(
    run: &FlowRun<'_>,
    target: &Table,
    batch: Batch,
    checks: &Checks,
    report: &mut FlowReport,
) -> Result<Table> {
    let Write::Upsert {
        keys, sequence_by, ..
    } = &run.flow.write
    else {
        return Err(Error::internal("a flow that is no upsert").with("flow", &run.flow.name));
    };
    if batch.dead_letters.is_some() {
        return Err(Error::unsupported("AUTO CDC directly from a source")
            .with("flow", &run.flow.name)
            .help("read the source into a streaming table, and that table with AUTO CDC"));
    }
    let collecting = tracing::info_span!("collect", berglake.table = %target.ident());
    let (batches, rows) = collect(run, batch.rows, checks)
        .instrument(collecting)
        .await?;
    let mut upsert = Upsert::new(batches, keys.iter().cloned(), sequence_by.clone())?;
    if let Some(step) = batch.taken.step(rows > 0)? {
        upsert = upsert.with_step(step);
    }
    let applied = Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(
            target.ident().clone(),
            Owning::new(&upsert, &run.runner.project.config.name),
        )
        .commit()
        .await?;
    failpoint::hit(failpoint::BATCH_COMMITTED);
    let done = upsert.report();
    report.status = FlowStatus::Updated;
    report.rows_read += rows;
    report.rows_inserted += done.inserted;
    report.rows_updated += done.updated;
    report.rows_superseded += done.superseded + done.late;
    let first = applied.into_iter().next();
    report.snapshot_id = first.as_ref().and_then(|applied| applied.snapshot_id());
    match first {
        Some(applied) => Ok(applied.table().clone()),
        None => tables::load(run).await,
    }
}

/// The rows of a batch after the expectations, in source order, and how many the source had.
async fn collect(
    run: &FlowRun<'_>,
    rows: datafusion::execution::SendableRecordBatchStream,
    checks: &Checks,
) -> Result<(Vec<RecordBatch>, u64)> {
    let engine = &run.runner.ordered;
    let counted = inputs::Counter::default();
    let providers = inputs::providers(run, counted.count(rows)).await?;
    let frame = dataflow::plan_flow(engine, run.flow, &providers).await?;
    // The table may declare columns that are not among COLUMNS.
    let written = columns(run.flow, &table_schema(frame.schema().as_arrow()))?;
    let names: Vec<String> = written.fields().iter().map(|f| f.name().clone()).collect();
    let frame = checks.flag(engine, dataflow::keep(frame, &names)?).await?;
    let mut stream = frame.execute_stream().await.map_err(super::engine_error)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = checks.apply(&batch.map_err(super::engine_error)?)?;
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
        run.observer.rows_read(&run.flow.name, counted.rows());
    }
    Ok((batches, counted.rows()))
}
