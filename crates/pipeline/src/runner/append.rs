//! Streaming tables: each source row once, appended together with the progress of the flow.

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange, Transaction};
use berglake_format::snapshot::{Append, CommitNotes, NextSnapshot, Overwrite};
use berglake_format::write::{WrittenFile, discard};
use berglake_format::{ErrorKind, Result, Table, failpoint, properties};
use berglake_ingest::progress::{FlowId, Step};
use iceberg::expr::Predicate;

use super::dead_letters::{self, DeadLetters, Written};
use super::expectations::Checks;
use super::inputs::{self, Batch};
use super::{FlowRun, dataflow, sink, tables};
use crate::report::{FlowReport, FlowStatus};

/// Takes batch after batch until nothing is left.
pub(super) async fn run(run: &FlowRun<'_>, report: &mut FlowReport) -> Result<()> {
    let id = FlowId::new(run.progress_key())?;
    let ident = tables::ident(&run.flow.target)?;
    let checks = Checks::new(&run.runner.definition(run.flow)?.definition.expectations);
    let mut target = run.runner.catalog.load(&ident).await?;
    let mut reset = run.full_refresh();
    loop {
        let from = match reset {
            true => None,
            false => inputs::position(&id, &target, run.options.resume)?,
        };
        let batch = match inputs::next_batch(run, &id, &target, from).await? {
            Ok(batch) => batch,
            Err(warnings) => {
                report.warnings.extend(warnings);
                report.expectations = checks.results();
                return Ok(());
            }
        };
        let result = take(run, &target, batch, reset, &checks, report).await;
        report.expectations = checks.results();
        target = result?;
        reset = false;
    }
}

/// Writes and commits one batch; gives the target as it stands afterwards.
async fn take(
    run: &FlowRun<'_>,
    target: &Table,
    batch: Batch,
    reset: bool,
    checks: &Checks,
    report: &mut FlowReport,
) -> Result<Table> {
    let Batch { step, rows, dead_letters, warnings } = batch;
    report.warnings.extend(warnings);
    let dead_table = dead_letters::table_of(run).await?;
    let mut dead = DeadLetters::start(run, dead_table, dead_letters);
    let session = run.runner.engine.ordered_session();
    let before = report.rows_inserted;
    let written = async {
        let providers = inputs::providers(run, rows).await?;
        let frame = dataflow::plan_flow(&session, run.flow, &providers).await?;
        let frame = checks.flag(&session, frame)?;
        sink::write_rows(run, target, frame, checks, report).await
    }
    .await;
    // The stream of rows is gone now, and with it the sender of dead letters.
    let letters = dead.finish().await;
    let (files, letters) = match (written, letters) {
        (Ok(files), Ok(letters)) => (files, letters),
        (written, letters) => {
            // Nothing of a batch that failed stays, and it counts for nothing.
            report.rows_inserted = before;
            if let Ok(files) = &written {
                discard(target, files).await;
            }
            if let (Ok(letters), Some(table)) = (&letters, dead.table()) {
                discard(table, &letters.files).await;
            }
            // A failure to keep dead letters is the cause when both have failed.
            return Err(match (written, letters) {
                (_, Err(error)) => error,
                (Err(error), _) => error,
                (Ok(_), Ok(_)) => berglake_format::Error::internal("a batch failed without an error"),
            });
        }
    };
    commit(run, target, Commit { step, files, reset }, dead.table(), letters, report).await
}

async fn commit(
    run: &FlowRun<'_>,
    target: &Table,
    commit: Commit,
    dead_table: Option<&Table>,
    letters: Written,
    report: &mut FlowReport,
) -> Result<Table> {
    let files = commit.files.clone();
    let mut transaction = Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(target.ident().clone(), commit);
    if let (Some(table), false) = (dead_table, letters.files.is_empty()) {
        // In the same transaction: neither rows without their dead letters nor the reverse.
        let append = Append { files: letters.files.clone(), notes: CommitNotes::default() };
        transaction = transaction.step(table.ident().clone(), append);
    }
    match transaction.commit().await {
        Ok(applied) => {
            failpoint::hit(failpoint::BATCH_COMMITTED);
            report.status = FlowStatus::Updated;
            report.dead_letters += letters.count;
            let first = applied.into_iter().next();
            report.snapshot_id = first.as_ref().and_then(|applied| applied.snapshot_id());
            match first {
                Some(applied) => Ok(applied.table().clone()),
                None => run.runner.catalog.load(target.ident()).await,
            }
        }
        Err(error) => {
            if error.kind() != ErrorKind::UnknownOutcome {
                discard(target, &files).await;
                if let Some(table) = dead_table {
                    discard(table, &letters.files).await;
                }
            }
            Err(error)
        }
    }
}

/// One batch of rows with its progress. The progress is checked against each head that the commit is
/// planned on, so a second run of the flow cannot write the same rows again.
struct Commit {
    step: Step,
    files: Vec<WrittenFile>,
    /// Whether the rows replace all that was there, and the progress begins anew.
    reset: bool,
}

#[async_trait]
impl Operation for Commit {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let next = NextSnapshot::of(base);
        let mut notes = CommitNotes::default();
        if self.reset {
            self.step.record_reset(next, &mut notes)?;
            let overwrite = Overwrite { filter: Predicate::AlwaysTrue, files: self.files.clone(), notes };
            return overwrite.plan_as(base, next).await.map(Some);
        }
        self.step.record(base.metadata(), next, &mut notes)?;
        Append { files: self.files.clone(), notes }.plan_as(base, next).await.map(Some)
    }
}
