//! Streaming tables: each source row once, appended together with the progress of the flow.

use berglake_format::commit::Transaction;
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::write::discard;
use berglake_format::{Error, ErrorKind, Result, Table, failpoint, properties};
use berglake_ingest::sink::AppendRows;
use tracing::Instrument;

use super::dead_letters::{self, DeadLetters};
use super::expectations::Checks;
use super::inputs::{self, Batch};
use super::owner::Owning;
use super::{FlowRun, dataflow, sink, tables};
use crate::report::{FlowReport, FlowStatus};

/// Writes and commits one batch; gives the target as it stands afterwards.
pub(super) async fn take(
    run: &FlowRun<'_>,
    target: &Table,
    batch: Batch,
    checks: &Checks,
    report: &mut FlowReport,
) -> Result<Table> {
    let Batch {
        taken,
        rows,
        dead_letters,
        newest: _,
    } = batch;
    let has_dead_letters = dead_letters.is_some();
    let mut dead = DeadLetters::start(run, dead_letters::table_of(run).await?, dead_letters);
    let engine = &run.runner.ordered;
    let counted = inputs::Counter::default();
    let written = async {
        let providers = inputs::providers(run, counted.count(rows)).await?;
        let frame = dataflow::plan_flow(engine, run.flow, &providers).await?;
        drop(providers);
        let frame = checks.flag(engine, frame).await?;
        let written = sink::write_rows(run, target, frame, checks, &counted).await?;
        if has_dead_letters && let Err(error) = counted.drain().await {
            discard(target, &written.files).await;
            return Err(error);
        }
        Ok(written)
    }
    .instrument(tracing::info_span!("write", berglake.table = %target.ident()))
    .await;
    // The stream of rows is gone then, and with it the sender of dead letters.
    counted.abandon();
    let (written, letters) = match (written, dead.finish().await) {
        (Ok(written), Ok(letters)) => (written, letters),
        (written, letters) => {
            // Nothing of a batch that failed stays.
            if let Ok(written) = &written {
                discard(target, &written.files).await;
            }
            if let (Ok(letters), Some(table)) = (&letters, dead.table()) {
                discard(table, &letters.files).await;
            }
            // Where both have failed, the rows stopped because the dead letters could not be kept.
            return Err(match (written, letters) {
                (_, Err(error)) | (Err(error), _) => error,
                (Ok(_), Ok(_)) => Error::internal("a batch failed without an error"),
            });
        }
    };

    let step = match taken.step(counted.rows() + letters.count > 0) {
        Ok(Some(step)) => step,
        // There was nothing in the batch, so nothing is written either.
        Ok(None) => return Ok(target.clone()),
        Err(error) => {
            discard(target, &written.files).await;
            if let Some(table) = dead.table() {
                discard(table, &letters.files).await;
            }
            return Err(error);
        }
    };
    // The table has them from its creation, unless the flow was added to it later.
    let pins = run.schemas.pins(&run.flow.target);
    let known = target.metadata().properties();
    let pins = pins.into_iter().filter(|(key, _)| !known.contains_key(key));
    let rows = AppendRows::new(written.files.clone())
        .with_step(step)
        .with_properties(pins);
    let mut transaction = Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(
            target.ident().clone(),
            Owning::new(rows, &run.runner.project.config.name),
        );
    if let (Some(table), false) = (dead.table(), letters.files.is_empty()) {
        // In the same transaction: neither rows without their dead letters nor the reverse.
        let append = Append {
            files: letters.files.clone(),
            notes: CommitNotes::default(),
        };
        transaction = transaction.step(table.ident().clone(), append);
    }
    match transaction.commit().await {
        Ok(applied) => {
            failpoint::hit(failpoint::BATCH_COMMITTED);
            report.status = FlowStatus::Updated;
            report.rows_read += counted.rows();
            report.rows_inserted += written.rows;
            report.dead_letters += letters.count;
            let first = applied.into_iter().next();
            report.snapshot_id = first.as_ref().and_then(|applied| applied.snapshot_id());
            match first {
                Some(applied) => Ok(applied.table().clone()),
                None => tables::load(run).await,
            }
        }
        Err(error) => {
            // Files of a commit with an unknown outcome may be in the table.
            if error.kind() != ErrorKind::UnknownOutcome {
                discard(target, &written.files).await;
                if let Some(table) = dead.table() {
                    discard(table, &letters.files).await;
                }
            }
            Err(error)
        }
    }
}
