//! Streaming tables: batch after batch of what is new in a source.

use berglake_format::Result;
use berglake_ingest::progress::FlowId;
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
        target = result?;
        run.committed(report);
        if run.is_stopping() {
            return Ok(());
        }
    }
}
