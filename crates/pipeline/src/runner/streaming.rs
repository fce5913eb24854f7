//! Streaming tables: batch after batch of what is new in a source.

use berglake_format::Result;
use berglake_ingest::progress::{FlowId, Position, Progress};
use tracing::Instrument;

use super::expectations::Checks;
use super::inputs::{self, Input};
use super::telemetry::Measured;
use super::{FlowRun, append, start, upsert};
use crate::language::Write;
use crate::report::FlowReport;

/// Takes batch after batch until nothing is left. Of a topic that is what was there at the beginning.
pub(super) async fn run(run: &FlowRun<'_>, report: &mut FlowReport) -> Result<()> {
    let id = FlowId::new(run.progress_key())?;
    let checks = Checks::new(&run.runner.definition(run.flow)?.definition.expectations);
    let mut target = start::target(run).await?;
    start::may_begin(run.runner, run.flow, &id, &target, run.options.resume)?;
    let was_set_back = Progress::of(target.metadata(), &id)? == Progress::At(Position::Start);
    let mut input = Input::new(run, &id);
    loop {
        let from = inputs::position(&id, &target, run.options.resume)?;
        let next = input.next(&target, from).await?;
        report.warn(next.warnings);
        let Some(batch) = next.batch else {
            return start::settle(run, &id, &target, report).await;
        };
        let measured = Measured::start(run, report, batch.newest.clone());
        let taking = async {
            match run.flow.write {
                Write::Upsert { .. } => upsert::take(run, &target, batch, &checks, report).await,
                _ => append::take(run, &target, batch, &checks, report).await,
            }
        };
        let result = taking.instrument(measured.span()).await;
        report.expectations = checks.results();
        measured.finish(report, &result);
        let before = target.metadata().current_snapshot_id();
        target = result?;
        // Of a topic there may have been nothing to take but what is no message.
        if target.metadata().current_snapshot_id() != before {
            run.committed(report);
        }
        if was_set_back {
            start::warn_of_dead_letters(run, report);
        }
        if run.is_stopping() {
            return Ok(());
        }
    }
}
