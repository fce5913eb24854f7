//! Materialized views: computed in full when something that they read has changed.
//!
//! What a refresh saw is recorded in the snapshot that it made: the fingerprint of its definition
//! and, for each table that it read, the snapshot. A refresh is due when the newest such record on
//! the head's ancestry says something else than now, or when somebody else changed rows since.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange, Transaction};
use berglake_format::plan::SnapshotSelector;
use berglake_format::snapshot::{CommitNotes, NextSnapshot, Overwrite};
use berglake_format::write::{WrittenFile, discard};
use berglake_format::{Error, ErrorKind, Result, Table, failpoint, properties};
use berglake_query::IcebergTable;
use iceberg::expr::Predicate;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::dataflow::{self, Providers};
use super::expectations::Checks;
use super::owner::{self, Owning};
use super::telemetry::{self, Measured, Newest};
use super::{FlowRun, RunOptions, Runner, inputs, progress_key, sink, tables};
use crate::language::{Flow, SourceRef};
use crate::report::{FlowReport, FlowStatus, PlannedAction};

/// What a refresh was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Of the flow's definition.
    definition: String,
    /// The snapshot of each table by the table's UUID; none for a table without rows.
    sources: BTreeMap<String, Option<i64>>,
}

/// What the keys of all records begin with.
const KEY_PREFIX: &str = "berglake.refresh.";

/// Whether a view may replace what a table holds: its own rows, or those of a table of the pipeline.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) if there are rows of others.
pub(super) fn may_replace(table: &Table, pipeline: &str, flow: &str) -> Result<()> {
    let key = Record::key(&format!("{pipeline}.{flow}"));
    // Before tables were taken over, a view could fill one that has no owner.
    let has_refreshed = table.metadata().snapshots().any(|snapshot| {
        let summary = snapshot.summary();
        summary.additional_properties.contains_key(&key)
    });
    match has_refreshed {
        true => owner::may_write(table, pipeline),
        false => owner::may_empty(table, pipeline, flow),
    }
}

/// The materialized view of this pipeline whose rows are at the head of a table, below what was appended
/// to them.
pub(super) fn view_at(table: &Table, pipeline: &str) -> Option<String> {
    let prefix = Record::key(&format!("{pipeline}."));
    for snapshot in table.ancestors(table.metadata().current_snapshot_id()) {
        let summary = snapshot.summary();
        let mut keys = summary.additional_properties.keys();
        if let Some(view) = keys.find_map(|key| key.strip_prefix(&prefix)) {
            return Some(view.to_owned());
        }
        let removes = matches!(
            summary.operation,
            iceberg::spec::Operation::Overwrite | iceberg::spec::Operation::Delete
        );
        if removes {
            return None;
        }
    }
    None
}

impl Record {
    fn key(progress_key: &str) -> String {
        format!("{KEY_PREFIX}{progress_key}")
    }

    /// The record that describes the rows of the table's head, if they come from a refresh.
    fn of_head(table: &Table, key: &str) -> Result<Option<Self>> {
        for snapshot in table.ancestors(table.metadata().current_snapshot_id()) {
            let summary = snapshot.summary();
            if let Some(text) = summary.additional_properties.get(key) {
                return serde_json::from_str(text).map(Some).map_err(|error| {
                    Error::corrupt("the record of a refresh cannot be read")
                        .with("table", table.ident())
                        .with("snapshot", snapshot.snapshot_id())
                        .source_error(error)
                });
            }
            // A compaction changes no rows; anything else does.
            if summary.operation != iceberg::spec::Operation::Replace {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The tables that the flow reads, each as it stands now.
async fn sources(runner: &Runner, flow: &Flow) -> Result<Vec<(String, Table)>> {
    let mut sources: Vec<(String, Table)> = Vec::new();
    for source in flow.inputs() {
        let SourceRef::Table(name) = &source.from else {
            return Err(
                Error::unsupported("a materialized view reads tables, not files")
                    .with("flow", &flow.name)
                    .help("read the files into a streaming table first"),
            );
        };
        let ident = tables::ident(name)?;
        // Two references to one table must see one snapshot.
        let known = sources.iter().find(|(_, table)| *table.ident() == ident);
        let table = match known {
            Some((_, table)) => table.clone(),
            None => runner.catalog.load(&ident).await?,
        };
        sources.push((source.id.clone(), table));
    }
    Ok(sources)
}

fn record_of(flow: &Flow, sources: &[(String, Table)]) -> Record {
    Record {
        definition: flow.fingerprint.as_str().to_string(),
        sources: sources
            .iter()
            .map(|(_, table)| {
                let uuid = table.metadata().uuid().to_string();
                (uuid, rows_as_of(table))
            })
            .collect(),
    }
}

/// The snapshot that the rows of a table come from: files that were replaced since have the same rows, so
/// a compaction makes no refresh due.
fn rows_as_of(table: &Table) -> Option<i64> {
    let head = table.metadata().current_snapshot_id();
    let changes = |snapshot: &&iceberg::spec::SnapshotRef| {
        snapshot.summary().operation != iceberg::spec::Operation::Replace
    };
    let newest = table.ancestors(head).find(changes);
    newest.map(|snapshot| snapshot.snapshot_id()).or(head)
}

/// What a refresh would do.
pub(super) async fn describe(
    runner: &Runner,
    flow: &Flow,
    target: Option<&Table>,
    options: &RunOptions,
) -> Result<PlannedAction> {
    let inputs: Vec<String> = flow
        .inputs()
        .map(|source| source.from.to_string())
        .collect();
    let reads = format!("all rows of {}", inputs.join(", "));
    let Some(target) = target else {
        return Ok(PlannedAction::Create { reads });
    };
    let sources = match sources(runner, flow).await {
        Ok(sources) => sources,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(PlannedAction::Update { reads });
        }
        Err(error) => return Err(error),
    };
    let key = Record::key(&progress_key(&runner.project, flow));
    let now = record_of(flow, &sources);
    Ok(match Record::of_head(target, &key)? {
        _ if options.full_refresh.contains(&flow.target.to_string()) => {
            PlannedAction::Update { reads }
        }
        Some(seen) if seen == now => PlannedAction::UpToDate,
        Some(seen) if seen.definition != now.definition => PlannedAction::Update {
            reads: format!("{reads}, because the definition has changed"),
        },
        Some(_) => PlannedAction::Update { reads },
        None if target.current_snapshot().is_some() => PlannedAction::Update {
            reads: format!("{reads}, because another writer has changed the table"),
        },
        None => PlannedAction::Update { reads },
    })
}

/// Refreshes the flow's target if it is due.
pub(super) async fn run(run: &FlowRun<'_>, report: &mut FlowReport) -> Result<()> {
    let (runner, flow) = (run.runner, run.flow);
    let key = Record::key(&run.progress_key());
    let target = tables::load(run).await?;
    let sources = sources(runner, flow).await?;
    let now = record_of(flow, &sources);
    let seen = Record::of_head(&target, &key)?;
    if seen.as_ref() == Some(&now) && !run.full_refresh() {
        report.snapshot_id = None;
        return Ok(());
    }
    for (_, source) in &sources {
        let id = source.metadata().uuid().to_string();
        let after = seen.as_ref().and_then(|seen| seen.sources.get(&id));
        telemetry::table_lag(&run.progress_key(), source, after.copied().flatten());
    }
    let heads = sources
        .iter()
        .filter_map(|(_, table)| table.current_snapshot());
    let newest = heads.map(|head| head.timestamp_ms()).max();
    let measured = Measured::start(run, report, Newest::of(newest));
    let pinned = Pinned {
        key,
        sources,
        seen,
        now,
    };
    let result = compute(run, &target, pinned, report);
    let result = result.instrument(measured.span()).await;
    measured.finish(report, &result);
    result
}

/// What a refresh is made from.
struct Pinned {
    key: String,
    sources: Vec<(String, Table)>,
    seen: Option<Record>,
    now: Record,
}

/// Computes the rows in full and puts them in place of those that were there.
async fn compute(
    run: &FlowRun<'_>,
    target: &Table,
    pinned: Pinned,
    report: &mut FlowReport,
) -> Result<()> {
    let (runner, flow) = (run.runner, run.flow);
    let Pinned {
        key,
        sources,
        seen,
        now,
    } = pinned;
    let mut providers = Providers::new();
    for (id, table) in &sources {
        providers.insert(
            id.clone(),
            Arc::new(IcebergTable::new(table.clone(), SnapshotSelector::Head)?),
        );
    }
    let frame = dataflow::plan_flow(&runner.engine, flow, &providers).await?;
    let checks = Checks::new(&runner.definition(flow)?.definition.expectations);
    let frame = checks.flag(&runner.engine, frame).await?;
    let counted = inputs::Counter::default();
    let writing = tracing::info_span!("write", berglake.table = %target.ident());
    let written = sink::write_rows(run, target, frame, &checks, &counted)
        .instrument(writing)
        .await;
    report.expectations = checks.results();
    let sink::Written { files, rows } = written?;
    report.rows_read = sources.iter().map(|(_, table)| live_rows(table)).sum();

    let pipeline = runner.project.config.name.as_str();
    let refresh = Refresh {
        key,
        pipeline: pipeline.to_owned(),
        flow: flow.name.clone(),
        seen,
        now,
        files: files.clone(),
    };
    let policy = properties::retry_policy(target.metadata())?;
    let committed = Transaction::new(runner.catalog.as_ref())
        .retry(policy)
        .step(target.ident().clone(), Owning::new(refresh, pipeline))
        .commit()
        .await;
    match committed {
        Ok(applied) => {
            failpoint::hit(failpoint::BATCH_COMMITTED);
            report.status = FlowStatus::Updated;
            report.rows_inserted = rows;
            report.snapshot_id = applied.first().and_then(|applied| applied.snapshot_id());
            for (_, source) in &sources {
                let taken = source.metadata().current_snapshot_id();
                telemetry::table_lag(&run.progress_key(), source, taken);
            }
            run.committed(report);
            Ok(())
        }
        Err(error) => {
            // Files of a commit with an unknown outcome may be in the table.
            if error.kind() != ErrorKind::UnknownOutcome {
                discard(target, &files).await;
            }
            Err(error)
        }
    }
}

/// Rows of a table by its summary, for the report.
fn live_rows(table: &Table) -> u64 {
    let Some(snapshot) = table.current_snapshot() else {
        return 0;
    };
    let count = |key: &str| -> u64 {
        let text = snapshot.summary().additional_properties.get(key);
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    count("total-records").saturating_sub(count("total-position-deletes"))
}

/// Replaces all rows, provided that nobody else changed the table since the sources were pinned.
struct Refresh {
    key: String,
    pipeline: String,
    flow: String,
    seen: Option<Record>,
    now: Record,
    files: Vec<WrittenFile>,
}

#[async_trait]
impl Operation for Refresh {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        if Record::of_head(base, &self.key)? != self.seen {
            return Err(Error::new(
                ErrorKind::Conflict,
                "another writer changed the table while it was computed",
            )
            .help("run again"));
        }
        may_replace(base, &self.pipeline, &self.flow)?;
        let record = serde_json::to_string(&self.now)
            .map_err(|error| Error::internal("a record cannot be written").source_error(error))?;
        let overwrite = Overwrite {
            filter: Predicate::AlwaysTrue,
            files: self.files.clone(),
            notes: CommitNotes {
                summary: [(self.key.clone(), record)].into(),
                ..CommitNotes::default()
            },
        };
        overwrite
            .plan_as(base, NextSnapshot::of(base))
            .await
            .map(Some)
    }
}
