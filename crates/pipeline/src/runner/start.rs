//! Where a streaming flow begins: at its recorded progress, or anew on a full refresh.

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange, Transaction};
use berglake_format::snapshot::{CommitNotes, NextSnapshot, Overwrite};
use berglake_format::{Result, Table, properties};
use berglake_ingest::progress::{
    Delta, FlowId, Position, Progress, Step, TopicDelta, record_start,
};
use berglake_ingest::sink::AppendRows;
use iceberg::expr::Predicate;

use super::{FlowRun, progress_key, tables};
use crate::report::{FlowReport, FlowStatus};

/// The flow's target as it stands; on a full refresh it is emptied first, and the progress of all
/// its flows set back, in one commit. If the run ends there, the next one goes on from the start.
pub(super) async fn target(run: &FlowRun<'_>) -> Result<Table> {
    let target = tables::load(run).await?;
    if !run.full_refresh() || target.current_snapshot().is_none() {
        return Ok(target);
    }
    let mut into = run.runner.pipeline.flows_into(&run.flow.target);
    // Once for all: a later flow must not remove what the first has written anew.
    if into.next().is_some_and(|first| first.name != run.flow.name) {
        return Ok(target);
    }
    let mut flows = vec![FlowId::new(run.progress_key())?];
    for flow in into {
        flows.push(FlowId::new(progress_key(&run.runner.project, flow))?);
    }
    let reset = Reset { flows };
    Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(target.ident().clone(), reset)
        .commit()
        .await?;
    tables::load(run).await
}

/// Records what was decided about a rollback where no batch did: the next run must not ask again.
pub(super) async fn settle(
    run: &FlowRun<'_>,
    id: &FlowId,
    target: &Table,
    report: &mut FlowReport,
) -> Result<()> {
    let progress = Progress::of(target.metadata(), id)?;
    let resume = run.options.resume.map(Into::into);
    if !matches!(progress, Progress::RolledBack(_)) {
        return Ok(());
    }
    let from = progress.resume(id, resume)?;
    let delta = match &from {
        Some(Position::Table { source, at }) => Delta::Table {
            source: *source,
            from: Some(*at),
            to: *at,
        },
        Some(Position::Files(_)) => Delta::files([]),
        Some(Position::Topic(at)) => Delta::Topic(TopicDelta::nothing(at)),
        // There is nothing to forget about a flow that has not begun.
        Some(Position::Start) | None => return Ok(()),
    };
    let step = Step {
        flow: id.clone(),
        from,
        delta,
        resume,
    };
    let applied = Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(
            target.ident().clone(),
            AppendRows::new(Vec::new()).with_step(step),
        )
        .commit()
        .await?;
    report.status = FlowStatus::Updated;
    report.snapshot_id = applied.first().and_then(|applied| applied.snapshot_id());
    Ok(())
}

/// Removes all rows and sets these flows back to their start.
struct Reset {
    flows: Vec<FlowId>,
}

#[async_trait]
impl Operation for Reset {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let next = NextSnapshot::of(base);
        let mut notes = CommitNotes::default();
        for flow in &self.flows {
            record_start(flow, next, &mut notes)?;
        }
        let overwrite = Overwrite {
            filter: Predicate::AlwaysTrue,
            files: Vec::new(),
            notes,
        };
        overwrite.plan_as(base, next).await.map(Some)
    }
}
