//! Where a streaming flow begins: at its recorded progress, or anew on a full refresh.

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange, Transaction};
use berglake_format::snapshot::{CommitNotes, NextSnapshot, Overwrite};
use berglake_format::{Error, Result, Table, properties};
use berglake_ingest::progress::{
    Delta, FlowId, Position, Progress, Step, TopicDelta, record_start,
};
use berglake_ingest::sink::AppendRows;
use iceberg::expr::Predicate;

use super::owner::{self, Owning};
use super::{DEAD_LETTER_PROPERTY, FlowRun, Resume, Runner, progress_key, refresh, tables};
use crate::language::Flow;
use crate::report::{FlowReport, FlowStatus};

/// The flow's target as it stands; on a full refresh it is emptied first, and the progress of all
/// its flows set back, in one commit. If the run ends there, the next one goes on from the start.
pub(super) async fn target(run: &FlowRun<'_>) -> Result<Table> {
    let target = tables::load(run).await?;
    if !run.full_refresh() || target.current_snapshot().is_none() {
        return Ok(target);
    }
    let pipeline = run.runner.project.config.name.as_str();
    let mut into = run.runner.pipeline.flows_into(&run.flow.target);
    // Once for all: a later flow must not remove what the first has written anew.
    if into.next().is_some_and(|first| first.name != run.flow.name) {
        return Ok(target);
    }
    let mut flows = vec![FlowId::new(run.progress_key())?];
    for flow in into {
        flows.push(FlowId::new(progress_key(&run.runner.project, flow))?);
    }
    // Of those that are defined no more nothing is left either.
    flows.extend(left_behind(run.runner, run.flow, &target));
    let reset = Reset {
        flows,
        pipeline: pipeline.to_owned(),
        flow: run.flow.name.clone(),
    };
    Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(target.ident().clone(), Owning::new(reset, pipeline))
        .commit()
        .await?;
    tables::load(run).await
}

/// Whether a flow may begin to fill its table. Progress goes by the flow's name, so a flow that was
/// renamed looks like a new one, and would append all rows of its source again.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if the flow has no progress and the table
/// holds what a flow of this pipeline wrote that is defined no more, unless it was said that the flow
/// reads its source nonetheless.
pub(super) fn may_begin(
    runner: &Runner,
    flow: &Flow,
    id: &FlowId,
    target: &Table,
    resume: Option<Resume>,
) -> Result<()> {
    let begins = Progress::of(target.metadata(), id)? == Progress::Fresh;
    if !begins || resume == Some(Resume::Replay) {
        return Ok(());
    }
    let pipeline = &runner.project.config.name;
    let own = format!("{pipeline}.");
    let mut writers: Vec<String> = left_behind(runner, flow, target)
        .iter()
        .map(|id| id.as_str().strip_prefix(&own).unwrap_or(id.as_str()).into())
        .collect();
    writers.extend(refresh::view_at(target, pipeline));
    if writers.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "the flow has read nothing yet, and its table holds rows of a flow that is defined no more: if \
         this is that flow under another name, it would read its source again",
    )
    .with("table", target.ident())
    .with("flow", &flow.name)
    .with("rows of", writers.join(", "))
    .help(format!(
        "give it its old name; or fill the table anew with --full-refresh {}; or, if it is another flow \
         and the rows that are there stay, run once with --resume replay",
        flow.target
    )))
}

/// The flows of this pipeline that have written a table and are defined no more.
fn left_behind(runner: &Runner, flow: &Flow, target: &Table) -> Vec<FlowId> {
    let own = format!("{}.", runner.project.config.name);
    let metadata = target.metadata();
    let is_defined = |id: &FlowId| {
        let mut into = runner.pipeline.flows_into(&flow.target);
        into.any(|flow| progress_key(&runner.project, flow) == id.as_str())
    };
    let has_written = |id: &FlowId| {
        let progress = Progress::of(metadata, id);
        // What cannot be read was written nonetheless.
        !matches!(
            progress,
            Ok(Progress::Fresh | Progress::At(Position::Start))
        )
    };
    FlowId::all_of(metadata)
        .into_iter()
        .filter(|id| id.as_str().starts_with(&own) && !is_defined(id) && has_written(id))
        .collect()
}

/// Says that dead letters are there twice, where the flow was set back to its start.
pub(super) fn warn_of_dead_letters(run: &FlowRun<'_>, report: &mut FlowReport) {
    let definition = run.runner.pipeline.table(&run.flow.target);
    let letters =
        definition.and_then(|table| table.definition.properties.get(DEAD_LETTER_PROPERTY));
    if let (Some(letters), 1..) = (letters, report.dead_letters) {
        report.warn(vec![format!(
            "a full refresh has read the source again, and its dead letters were written to {} again; \
             those of the same record have the same error_id",
            letters.node
        )]);
    }
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
            Owning::new(
                AppendRows::new(Vec::new()).with_step(step),
                &run.runner.project.config.name,
            ),
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
    pipeline: String,
    /// The flow for which it is done.
    flow: String,
}

#[async_trait]
impl Operation for Reset {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        owner::may_empty(base, &self.pipeline, &self.flow)?;
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
