//! Drives operations through a committer until the outcome is certain.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use iceberg::{TableIdent, TableRequirement};
use tracing::Instrument;

use super::telemetry::Measured;
use super::{CommitOutcome, Committer, Mark, Operation, PlannedChange};
use crate::storage::Location;
use crate::{Error, ErrorKind, Result, Table, failpoint};

/// The shortest pause between two looks at the tables, whatever the policy says.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// How often and how patiently a commit is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The number of attempts after the first.
    pub retries: u32,
    /// The wait after the first failure; it doubles each time.
    pub min_wait: Duration,
    /// The longest wait between two attempts.
    pub max_wait: Duration,
    /// After this much time no further attempt is started.
    pub total: Duration,
    /// How long a lost answer is looked for before the outcome is reported as unknown, and how long a
    /// catalog that is away is waited for meanwhile.
    ///
    /// While there are attempts left, the operation is tried again instead of waited for, which settles
    /// it sooner: of two attempts on the same head at most one can win.
    pub status_check: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 20,
            min_wait: Duration::from_millis(20),
            max_wait: Duration::from_secs(5),
            total: Duration::from_secs(30 * 60),
            status_check: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    fn wait(&self, attempt: u32, jitter: u64) -> Duration {
        let full = self
            .min_wait
            .saturating_mul(1 << attempt.min(16))
            .min(self.max_wait);
        // Between half and all of it, so that two writers do not march in step.
        full / 2 + full.mul_f64((jitter % 1_000) as f64 / 2_000.0)
    }
}

/// What became of one operation of a transaction.
#[derive(Debug, Clone)]
pub enum Applied {
    /// It is committed.
    Committed {
        /// The table as it stands after the commit.
        table: Table,
        /// The snapshot that it added, if it added one.
        snapshot_id: Option<i64>,
    },
    /// There was nothing to do; no commit was made for this table.
    Unchanged(Table),
}

impl Applied {
    /// The table as it stands now.
    pub fn table(&self) -> &Table {
        match self {
            Self::Committed { table, .. } | Self::Unchanged(table) => table,
        }
    }

    /// The snapshot that was added, if one was.
    pub fn snapshot_id(&self) -> Option<i64> {
        match self {
            Self::Committed { snapshot_id, .. } => *snapshot_id,
            Self::Unchanged(_) => None,
        }
    }
}

/// One or several operations, each on a table of its own, committed together or not at all.
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction<'a> {
    committer: &'a dyn Committer,
    steps: Vec<(TableIdent, Arc<dyn Operation + 'a>)>,
    policy: RetryPolicy,
    pause: Pause<'a>,
}

/// Waits. Tests put something in its place that takes no time.
type Pause<'a> = Box<dyn Fn(Duration) -> BoxFuture<'a, ()> + Send + Sync + 'a>;

impl<'a> Transaction<'a> {
    /// An empty transaction.
    pub fn new(committer: &'a dyn Committer) -> Self {
        Self {
            committer,
            steps: Vec::new(),
            policy: RetryPolicy::default(),
            pause: Box::new(|wait| tokio::time::sleep(wait).boxed()),
        }
    }

    /// Adds an operation on a table. Each table may appear once.
    pub fn step(mut self, ident: TableIdent, operation: impl Operation + 'a) -> Self {
        self.steps.push((ident, Arc::new(operation)));
        self
    }

    /// Another retry policy than the default.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Another way to wait than to sleep.
    #[cfg(test)]
    pub(crate) fn pausing(
        mut self,
        pause: impl Fn(Duration) -> BoxFuture<'a, ()> + Send + Sync + 'a,
    ) -> Self {
        self.pause = Box::new(pause);
        self
    }

    /// Plans and commits, again and again after conflicts, until the outcome is certain.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the retries are used up,
    /// [`UnknownOutcome`](ErrorKind::UnknownOutcome) when a lost answer could not be resolved in
    /// time, and any error of planning. In all cases but `UnknownOutcome` nothing was changed.
    pub async fn commit(self) -> Result<Vec<Applied>> {
        let tables = self.steps.iter().map(|(ident, _)| ident.to_string());
        let measured = Measured::start(tables.collect());
        let span = measured.span.clone();
        let result = self.drive(&measured).instrument(span).await;
        measured.finish(&result);
        result
    }

    async fn drive(self, measured: &Measured) -> Result<Vec<Applied>> {
        for (i, (ident, _)) in self.steps.iter().enumerate() {
            if self.steps[..i].iter().any(|(other, _)| other == ident) {
                return Err(
                    Error::invalid("a transaction names a table twice").with("table", ident)
                );
            }
        }
        let mut doubtful: Vec<Attempt> = Vec::new();
        let mut started = None;
        let mut attempt = 0;
        loop {
            let bases = match self.load().await {
                Ok(bases) => bases,
                Err(error) => return self.give_up(doubtful, error).await,
            };
            // An attempt whose answer was lost may have landed at any time since; look before planning.
            if let Some(landed) = doubtful.iter().find(|earlier| earlier.is_in(&bases)) {
                tracing::info!(
                    attempt,
                    "an earlier commit whose answer was lost has landed"
                );
                return Ok(landed.applied(&bases));
            }
            doubtful.retain(|earlier| !earlier.is_overtaken(&bases));
            let mut planned = Vec::with_capacity(self.steps.len());
            for ((_, operation), base) in self.steps.iter().zip(&bases) {
                match operation.plan(base).await {
                    Ok(plan) => planned.push(plan),
                    Err(error) => {
                        discard(&bases, &planned).await;
                        let error = error.with("table", base.ident());
                        return self.give_up(doubtful, error).await;
                    }
                }
            }
            let this = Attempt { planned };
            let changes: Vec<_> = this
                .planned
                .iter()
                .flatten()
                .map(|planned| planned.change.clone())
                .collect();
            if changes.is_empty() {
                return Ok(this.applied(&bases));
            }
            failpoint::hit(failpoint::COMMIT_PLANNED);
            let outcome = self.committer.commit(changes);
            let outcome = outcome.instrument(measured.attempt(attempt)).await;
            measured.attempted(&outcome);
            let reason = match outcome {
                Ok(CommitOutcome::Committed(tables)) => {
                    failpoint::hit(failpoint::COMMITTED);
                    return Ok(this.applied(&this.merge(bases, tables)));
                }
                Ok(CommitOutcome::Conflict { ident, reason }) => {
                    tracing::debug!(%ident, %reason, attempt, "commit lost, planning again");
                    discard(&bases, &this.planned).await;
                    format!("{ident}: {reason}")
                }
                Ok(CommitOutcome::Unknown(error)) => {
                    tracing::warn!(%error, attempt, "the answer to a commit was lost, looking for it");
                    doubtful.push(this);
                    if let Some(applied) = self.find(&mut doubtful, Duration::ZERO).await? {
                        return Ok(applied);
                    }
                    // It has not landed, and it may still. The next attempt is planned on the same
                    // head, so at most one of the two can win.
                    error.to_string()
                }
                Err(error) => {
                    discard(&bases, &this.planned).await;
                    return self.give_up(doubtful, error).await;
                }
            };
            attempt += 1;
            let clock = bases.first().map(|base| base.environment().clock());
            let now = clock.map_or(0, |clock| clock.now_micros());
            let spent = now.saturating_sub(*started.get_or_insert(now));
            let spent = Duration::from_micros(u64::try_from(spent).unwrap_or_default());
            if attempt > self.policy.retries || spent >= self.policy.total {
                let patience = self.policy.status_check;
                if let Some(applied) = self.find(&mut doubtful, patience).await? {
                    return Ok(applied);
                }
                let error = if doubtful.is_empty() {
                    Error::new(
                        ErrorKind::Conflict,
                        "other writers kept winning, nothing was changed",
                    )
                    .help("try again, or write less often to this table")
                } else {
                    Error::new(
                        ErrorKind::UnknownOutcome,
                        "the outcome of a commit could not be learned",
                    )
                    .help("look at the table's $snapshots before trying again")
                };
                return Err(error.with("attempts", attempt).with("last", reason));
            }
            let jitter = bases
                .first()
                .map_or(0, |base| base.environment().ids().uuid().as_u64_pair().1);
            (self.pause)(self.policy.wait(attempt - 1, jitter)).await;
        }
    }

    /// The tables as they stand now.
    async fn load(&self) -> Result<Vec<Table>> {
        let mut tables = Vec::with_capacity(self.steps.len());
        for (ident, _) in &self.steps {
            tables.push(self.committer.load(ident).await?);
        }
        Ok(tables)
    }

    /// Looks for attempts whose answers were lost, again and again: until one has landed, until none
    /// can land any more, or for this long. Those that still may are left in `doubtful`.
    async fn find(
        &self,
        doubtful: &mut Vec<Attempt>,
        patience: Duration,
    ) -> Result<Option<Vec<Applied>>> {
        let mut waited = Duration::ZERO;
        let mut wait = self.policy.min_wait.max(LEAST_PAUSE);
        while !doubtful.is_empty() {
            match self.load().await {
                Ok(tables) => {
                    if let Some(landed) = doubtful.iter().find(|earlier| earlier.is_in(&tables)) {
                        return Ok(Some(landed.applied(&tables)));
                    }
                    doubtful.retain(|earlier| !earlier.is_overtaken(&tables));
                    if waited >= patience {
                        break;
                    }
                }
                // Without the tables nothing is known, so that a catalog is waited for in any case.
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && waited < self.policy.status_check => {}
                Err(error) => return Err(unresolved(error)),
            }
            if !doubtful.is_empty() {
                (self.pause)(wait).await;
                waited += wait;
                wait = (wait * 2).min(self.policy.max_wait.max(LEAST_PAUSE));
            }
        }
        Ok(None)
    }

    /// Ends with an error after which nothing more is tried, unless an earlier attempt has landed.
    ///
    /// While one still may land, nobody may take it for certain that nothing was changed, and delete
    /// files for that reason.
    async fn give_up(&self, mut doubtful: Vec<Attempt>, error: Error) -> Result<Vec<Applied>> {
        let patience = self.policy.status_check;
        if let Some(applied) = self.find(&mut doubtful, patience).await? {
            return Ok(applied);
        }
        if doubtful.is_empty() {
            return Err(error);
        }
        Err(Error::new(
            ErrorKind::UnknownOutcome,
            "the answer to a commit was lost, and trying again has failed",
        )
        .help("look at the table's $snapshots before trying again")
        .source_error(error))
    }
}

fn unresolved(error: Error) -> Error {
    Error::new(
        ErrorKind::UnknownOutcome,
        "the answer to a commit was lost and the table cannot be loaded",
    )
    .help("look at the table's $snapshots before trying again")
    .source_error(error)
}

/// The plans of all steps at one try.
struct Attempt {
    planned: Vec<Option<PlannedChange>>,
}

impl Attempt {
    /// Whether these tables contain the attempt. Changes are made all or none, so one mark is proof.
    fn is_in(&self, tables: &[Table]) -> bool {
        self.planned
            .iter()
            .zip(tables)
            .any(|(planned, table)| planned.as_ref().is_some_and(|p| p.mark.is_in(table)))
    }

    /// Whether it can land no more: it adds a snapshot to a head that is no head any more, and all
    /// changes are made or none. Were the head to come back, the snapshot's sequence number is taken.
    fn is_overtaken(&self, tables: &[Table]) -> bool {
        let mut steps = self.planned.iter().zip(tables);
        steps.any(|(planned, table)| {
            let Some(planned) = planned else {
                return false;
            };
            let moved = |requirement: &TableRequirement| {
                matches!(requirement, TableRequirement::RefSnapshotIdMatch { .. })
                    && requirement.check(Some(table.metadata())).is_err()
            };
            matches!(planned.mark, Mark::Snapshot(_))
                && planned.change.requirements.iter().any(moved)
        })
    }

    /// The tables after the commit: those that the committer gave where there was a change.
    fn merge(&self, bases: Vec<Table>, committed: Vec<Table>) -> Vec<Table> {
        let mut committed = committed.into_iter();
        bases
            .into_iter()
            .zip(&self.planned)
            .map(|(base, planned)| match planned {
                Some(_) => committed.next().unwrap_or(base),
                None => base,
            })
            .collect()
    }

    fn applied(&self, tables: &[Table]) -> Vec<Applied> {
        self.planned
            .iter()
            .zip(tables)
            .map(|(planned, table)| match planned {
                Some(planned) => Applied::Committed {
                    table: table.clone(),
                    snapshot_id: match planned.mark {
                        Mark::Snapshot(id) => Some(id),
                        Mark::Removed { .. } | Mark::Metadata(_) => None,
                    },
                },
                None => Applied::Unchanged(table.clone()),
            })
            .collect()
    }
}

/// Deletes the files of an attempt that certainly failed. A file that stays is an orphan, no harm.
async fn discard(bases: &[Table], planned: &[Option<PlannedChange>]) {
    for (base, planned) in bases.iter().zip(planned) {
        for path in planned.iter().flat_map(|planned| &planned.scratch) {
            let result = match Location::parse(path) {
                Ok(location) => base.storage().delete(&location).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::warn!(%error, path, "a file of a failed attempt stays behind");
            }
        }
    }
}

#[cfg(test)]
mod tests;
