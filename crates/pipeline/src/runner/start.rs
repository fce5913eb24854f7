//! Where a streaming flow begins: at its recorded progress, or anew on a full refresh.

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange, Transaction};
use berglake_format::snapshot::{CommitNotes, NextSnapshot, Overwrite};
use berglake_format::{Result, Table, properties};
use berglake_ingest::progress::{FlowId, record_start};
use iceberg::expr::Predicate;

use super::{FlowRun, tables};

/// The flow's target as it stands; on a full refresh it is emptied first, and the progress of all
/// its flows set back, in one commit. If the run ends there, the next one goes on from the start.
pub(super) async fn target(run: &FlowRun<'_>, id: &FlowId) -> Result<Table> {
    let target = tables::load(run).await?;
    if !run.full_refresh() || target.current_snapshot().is_none() {
        return Ok(target);
    }
    let reset = Reset { flow: id.clone() };
    Transaction::new(run.runner.catalog.as_ref())
        .retry(properties::retry_policy(target.metadata())?)
        .step(target.ident().clone(), reset)
        .commit()
        .await?;
    tables::load(run).await
}

/// Removes all rows and sets the flow back to its start.
struct Reset {
    flow: FlowId,
}

#[async_trait]
impl Operation for Reset {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let next = NextSnapshot::of(base);
        let mut notes = CommitNotes::default();
        record_start(&self.flow, next, &mut notes)?;
        let overwrite = Overwrite {
            filter: Predicate::AlwaysTrue,
            files: Vec::new(),
            notes,
        };
        overwrite.plan_as(base, next).await.map(Some)
    }
}
