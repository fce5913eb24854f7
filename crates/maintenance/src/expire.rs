//! Expiry: snapshots that nobody needs go, then the files that nothing else needs.
//!
//! All that is left, and all that goes, is read before the commit: a file that cannot be read is told
//! while nothing has happened yet, not when the snapshots are gone and nobody would look for their files
//! again. Then the commit. Only when it is certain that it was made are files looked for once more, in the
//! table as it stands then, and deleted; a process that dies in between leaves orphans and nothing worse.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use berglake_format::commit::{Applied, Committer, Operation, PlannedChange, Transaction};
use berglake_format::properties::{HistoryProperties, retry_policy};
use berglake_format::reach::{self, Departed, Unreachable};
use berglake_format::snapshot::{ExpireSnapshots, ExpiryPlan, NeededSnapshots};
use berglake_format::{Error, Result, Table, failpoint};
use berglake_ingest::progress::{FlowId, Progress};
use serde::Serialize;

use crate::Watermarks;

/// What an expiry of a table would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableExpiry {
    /// The snapshots and refs that go and stay.
    #[serde(flatten)]
    pub snapshots: ExpiryPlan,
    /// How many files would be deleted.
    pub files: FileCounts,
}

/// Files by their kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    /// Data and delete files.
    pub data: usize,
    /// Statistics files.
    pub statistics: usize,
    /// Manifests.
    pub manifests: usize,
    /// Manifest lists.
    pub manifest_lists: usize,
    /// Files outside of the table's folders, which are left alone.
    pub elsewhere: usize,
}

impl From<&Unreachable> for FileCounts {
    fn from(files: &Unreachable) -> Self {
        Self {
            data: files.data.len(),
            statistics: files.statistics.len(),
            manifests: files.manifests.len(),
            manifest_lists: files.manifest_lists.len(),
            elsewhere: files.elsewhere,
        }
    }
}

/// What an expiry of a table has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExpiryReport {
    /// The snapshots that are gone.
    pub expired: Vec<i64>,
    /// The branches and tags that are gone.
    pub refs: Vec<String>,
    /// The files that nothing needed.
    pub files: FileCounts,
    /// How many of them are deleted.
    pub files_deleted: usize,
    /// How many could not be deleted and stay as orphans.
    pub files_left: usize,
}

/// What would expire of this table.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for `gc.enabled=false` or a property
/// that makes no sense, and whatever reading manifests meets.
pub async fn plan(
    table: &Table,
    history: HistoryProperties,
    watermarks: &Watermarks,
) -> Result<TableExpiry> {
    let expiry = Expiry::new(history, watermarks.clone());
    let (operation, planned) = expiry.prepare(table)?;
    let snapshots = operation.decide(table)?;
    let files = match &planned {
        Some(planned) => FileCounts::from(&left_behind(table, &snapshots, planned).await?),
        None => FileCounts::default(),
    };
    Ok(TableExpiry { snapshots, files })
}

/// The files that nothing would need any more after this change.
async fn left_behind(
    base: &Table,
    snapshots: &ExpiryPlan,
    planned: &PlannedChange,
) -> Result<Unreachable> {
    let mut departed = Departed::default();
    departed.note(base, &snapshots.expired_ids());
    reach::unreachable(&departed, &without(base, planned)?).await
}

/// Expires snapshots of this table and deletes the files that only they needed.
///
/// # Errors
/// As [`plan`], and those of the commit. If something of the table cannot be read nothing is changed. If
/// the outcome of the commit cannot be learned, no file is deleted.
pub async fn run(
    committer: &dyn Committer,
    table: &Table,
    history: HistoryProperties,
    watermarks: &Watermarks,
) -> Result<ExpiryReport> {
    let expiry = Arc::new(Expiry::new(history, watermarks.clone()));
    let (operation, planned) = expiry.prepare(table)?;
    let Some(planned) = planned else {
        return Ok(ExpiryReport::default());
    };
    left_behind(table, &operation.decide(table)?, &planned).await?;
    let applied = Transaction::new(committer)
        .retry(retry_policy(table.metadata())?)
        .step(table.ident().clone(), Shared(expiry.clone()))
        .commit()
        .await?;
    let Some(Applied::Committed { table: after, .. }) = applied.into_iter().next() else {
        return Ok(ExpiryReport::default());
    };
    failpoint::hit(failpoint::SNAPSHOTS_REMOVED);
    let noted = expiry.noted();
    let gone = |id: &i64| after.metadata().snapshot_by_id(*id).is_none();
    let files = reach::unreachable(&noted.departed, &after).await;
    let files = files.map_err(|error| orphaned(&after, error))?;
    let (files_deleted, files_left) = reach::delete(&after, &files).await;
    Ok(ExpiryReport {
        expired: noted.ids.iter().copied().filter(gone).collect(),
        refs: noted
            .refs
            .iter()
            .filter(|name| after.metadata().snapshot_for_ref(name).is_none())
            .cloned()
            .collect(),
        files: FileCounts::from(&files),
        files_deleted,
        files_left,
    })
}

/// The snapshots are gone, and something that could be read a moment ago cannot be read now.
fn orphaned(table: &Table, error: Error) -> Error {
    let kind = error.kind();
    Error::new(
        kind,
        "snapshots have expired, but which of their files nothing else needs could not be found out",
    )
    .with("table", table.ident())
    .help("no file was deleted; those that nothing needs stay behind and cost space, nothing else")
    .source_error(error)
}

/// An expiry that keeps what flows need, and takes note of what it removes.
#[derive(Debug)]
struct Expiry {
    history: HistoryProperties,
    watermarks: Watermarks,
    noted: Mutex<Noted>,
}

/// What the attempts of a commit wanted to remove, all together: which of them won is looked up in
/// the table afterwards.
#[derive(Debug, Clone, Default)]
struct Noted {
    departed: Departed,
    ids: BTreeSet<i64>,
    refs: BTreeSet<String>,
}

impl Expiry {
    fn new(history: HistoryProperties, watermarks: Watermarks) -> Self {
        Self {
            history,
            watermarks,
            noted: Mutex::default(),
        }
    }

    fn noted(&self) -> Noted {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.clone()
    }

    /// The operation at this head, and its change if there is something to do.
    fn prepare(&self, base: &Table) -> Result<(ExpireSnapshots, Option<PlannedChange>)> {
        let mut operation = ExpireSnapshots {
            defaults: self.history,
            needed: self.watermarks.needed(base),
        };
        let mut planned = operation.change(base)?;
        if let Some(change) = &planned
            && let Some(flow) = disturbed(base, change)?
        {
            hold(base, &flow, &mut operation.needed);
            planned = operation.change(base)?;
        }
        Ok((operation, planned))
    }
}

/// An expiry that somebody else looks into afterwards.
struct Shared(Arc<Expiry>);

#[async_trait]
impl Operation for Shared {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let (operation, planned) = self.0.prepare(base)?;
        if planned.is_some() {
            let plan = operation.decide(base)?;
            let ids = plan.expired_ids();
            let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.departed.note(base, &ids);
            noted.ids.extend(ids);
            noted.refs.extend(plan.refs);
        }
        Ok(planned)
    }
}

/// The table as a change would leave it.
fn without(base: &Table, planned: &PlannedChange) -> Result<Table> {
    let after = planned
        .change
        .apply(base.metadata(), base.metadata_location())?
        .map_err(|reason| {
            Error::internal("a planned expiry does not fit its table")
                .with("table", base.ident())
                .with("reason", reason)
        })?;
    Ok(Table::new(
        base.ident().clone(),
        Arc::new(after),
        base.metadata_location(),
        base.storage().clone(),
        base.environment().clone(),
    ))
}

/// A flow into this table whose progress could not be told any more after the change, as it can now.
///
/// The table's property stands in for records that have expired; but after a rollback only snapshots
/// tell what has become of the flow's rows.
fn disturbed(base: &Table, planned: &PlannedChange) -> Result<Option<FlowId>> {
    let after = without(base, planned)?;
    for flow in FlowId::all_of(base.metadata()) {
        let before = Progress::of(base.metadata(), &flow)?;
        let same = Progress::of(after.metadata(), &flow).is_ok_and(|after| after == before);
        if !same {
            return Ok(Some(flow));
        }
    }
    Ok(None)
}

/// Keeps all snapshots until the flow has been put right.
fn hold(base: &Table, flow: &FlowId, needed: &mut NeededSnapshots) {
    for snapshot in base.metadata().snapshots() {
        let reasons = needed.entry(snapshot.snapshot_id()).or_default();
        reasons.insert(format!(
            "flow {flow} into {}, whose progress only these snapshots tell",
            base.ident()
        ));
    }
}
