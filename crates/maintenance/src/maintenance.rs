//! Maintenance of the tables of a catalog.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use berglake_catalog::Catalog;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};
use serde::Serialize;

use crate::compact::{self, CompactionPlan, CompactionReport};
use crate::expire::{self, ExpiryReport, TableExpiry};
use crate::telemetry::measured;
use crate::watermarks::Needs;
use crate::{Policies, Stop, Watermarks};

/// What can be done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Few files instead of many, and without deletes.
    Compact,
    /// Old snapshots and their files go.
    Expire,
}

impl Operation {
    /// All, in the order in which they are done: what a compaction leaves behind can expire.
    pub const ALL: [Self; 2] = [Self::Compact, Self::Expire];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Expire => "expire",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == text);
        found.ok_or_else(|| {
            Error::invalid(format!("there is no operation {text:?}"))
                .help("operations are: compact, expire")
        })
    }
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaintenancePlan {
    /// The tables, by name.
    pub tables: Vec<TablePlan>,
}

/// What would be done to a table. What was not asked for is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TablePlan {
    /// The table.
    pub table: String,
    /// The files that would be rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact: Option<Outcome<CompactionPlan>>,
    /// The snapshots that would go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Outcome<TableExpiry>>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaintenanceReport {
    /// The tables, by name.
    pub tables: Vec<TableReport>,
    /// Whether it ended early because somebody wanted to stop.
    pub stopped: bool,
}

/// What was done to a table. What was not asked for is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// The files that were rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact: Option<Outcome<CompactionReport>>,
    /// The snapshots that went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Outcome<ExpiryReport>>,
}

/// The result for one table: other tables do not suffer for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<T> {
    /// It worked.
    Done(T),
    /// It is not wanted: the table says so.
    Refused {
        /// Why.
        reason: String,
    },
    /// It did not work.
    Failed {
        /// Why.
        error: String,
        /// The stable name of the error's kind.
        kind: &'static str,
    },
}

impl<T> Outcome<T> {
    fn of(result: Result<T>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(error) if is_protected(&error) => Self::Refused {
                reason: error.to_string(),
            },
            Err(error) => Self::Failed {
                error: error.to_string(),
                kind: error.kind().as_str(),
            },
        }
    }

    /// What was done or would be, if it worked.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(done) => Some(done),
            Self::Refused { .. } | Self::Failed { .. } => None,
        }
    }
}

fn is_protected(error: &Error) -> bool {
    let mut context = error.context().iter();
    error.kind() == ErrorKind::InvalidInput
        && context.any(|(key, value)| *key == "property" && value == "gc.enabled=false")
}

impl MaintenancePlan {
    /// The kinds of the errors with which planning failed.
    pub fn failures(&self) -> Vec<&'static str> {
        let compact = self.tables.iter().map(|table| kind_of(&table.compact));
        let expire = self.tables.iter().map(|table| kind_of(&table.expire));
        compact.chain(expire).flatten().collect()
    }
}

/// The kind of the error with which something failed.
fn kind_of<T>(outcome: &Option<Outcome<T>>) -> Option<&'static str> {
    match outcome {
        Some(Outcome::Failed { kind, .. }) => Some(kind),
        _ => None,
    }
}

impl MaintenanceReport {
    /// The kinds of the errors with which something failed.
    pub fn failures(&self) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        for table in &self.tables {
            kinds.extend(kind_of(&table.compact));
            let compacted = table.compact.as_ref().and_then(Outcome::done);
            let groups = compacted.into_iter().flat_map(|report| &report.groups);
            kinds.extend(groups.filter_map(|group| match group.outcome {
                compact::GroupOutcome::Failed { kind, .. } => Some(kind),
                _ => None,
            }));
            kinds.extend(kind_of(&table.expire));
        }
        kinds
    }
}

/// Plans and executes maintenance of a catalog's tables.
///
/// Within one process each table is under one operation at a time; between processes the commits
/// settle who was first.
#[derive(Debug, Clone)]
pub struct Maintenance {
    catalog: Arc<dyn Catalog>,
    policies: Policies,
    locks: Arc<Mutex<HashMap<TableIdent, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Maintenance {
    /// Maintenance of this catalog, by these policies.
    pub fn new(catalog: Arc<dyn Catalog>, policies: Policies) -> Self {
        Self {
            catalog,
            policies,
            locks: Arc::default(),
        }
    }

    /// All tables of the catalog, by name.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn tables(&self) -> Result<Vec<TableIdent>> {
        let mut tables = Vec::new();
        let mut namespaces: Vec<Option<NamespaceIdent>> = vec![None];
        while let Some(parent) = namespaces.pop() {
            if let Some(namespace) = &parent {
                tables.extend(self.catalog.list_tables(namespace).await?);
            }
            let children = self.catalog.list_namespaces(parent.as_ref()).await?;
            namespaces.extend(children.into_iter().map(Some));
        }
        tables.sort_by_key(ToString::to_string);
        Ok(tables)
    }

    /// What would be done to these tables. Nothing is changed.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a table that does not exist; what goes wrong with one
    /// table stands in its plan.
    pub async fn plan(
        &self,
        tables: &[TableIdent],
        operations: &[Operation],
    ) -> Result<MaintenancePlan> {
        let mut needs = Needs::default();
        let mut plans = Vec::with_capacity(tables.len());
        for ident in tables {
            let table = self.catalog.load(ident).await?;
            let mut plan = TablePlan {
                table: ident.to_string(),
                compact: None,
                expire: None,
            };
            for operation in operations {
                match operation {
                    Operation::Compact => {
                        plan.compact = Some(Outcome::of(self.plan_compaction(&table).await));
                    }
                    Operation::Expire => {
                        plan.expire = Some(Outcome::of(self.plan_expiry(&table, &mut needs).await));
                    }
                }
            }
            plans.push(plan);
        }
        Ok(MaintenancePlan { tables: plans })
    }

    async fn plan_compaction(&self, table: &Table) -> Result<CompactionPlan> {
        compact::plan(table, &self.policies.compaction(table)?).await
    }

    async fn plan_expiry(&self, table: &Table, needs: &mut Needs) -> Result<TableExpiry> {
        let watermarks = self.watermarks(needs).await?;
        expire::plan(table, self.policies.history(table)?, &watermarks).await
    }

    /// Does these operations to these tables, table after table.
    ///
    /// Once `stop` was asked for, nothing new is begun; what is under way is finished.
    ///
    /// # Errors
    /// None so far: what goes wrong with one table, also that it does not exist, stands in its report.
    pub async fn run(
        &self,
        tables: &[TableIdent],
        operations: &[Operation],
        stop: &Stop,
    ) -> Result<MaintenanceReport> {
        let mut needs = Needs::default();
        let mut reports = Vec::with_capacity(tables.len());
        for ident in tables {
            if stop.asked() {
                break;
            }
            let lock = self.lock_of(ident);
            let _one_at_a_time = lock.lock().await;
            let mut report = TableReport {
                table: ident.to_string(),
                compact: None,
                expire: None,
            };
            for operation in Operation::ALL {
                if !operations.contains(&operation) || stop.asked() {
                    continue;
                }
                match operation {
                    Operation::Compact => {
                        let work = self.compact(ident, stop);
                        report.compact = Some(Outcome::of(measured(operation, ident, work).await));
                    }
                    Operation::Expire => {
                        let work = self.expire(ident, &mut needs);
                        report.expire = Some(Outcome::of(measured(operation, ident, work).await));
                    }
                }
            }
            log(&report);
            reports.push(report);
        }
        Ok(MaintenanceReport {
            stopped: stop.asked(),
            tables: reports,
        })
    }

    async fn compact(&self, ident: &TableIdent, stop: &Stop) -> Result<CompactionReport> {
        let table = self.catalog.load(ident).await?;
        let options = self.policies.compaction(&table)?;
        compact::run(self.committer(), &table, &options, stop).await
    }

    async fn expire(&self, ident: &TableIdent, needs: &mut Needs) -> Result<ExpiryReport> {
        let table = self.catalog.load(ident).await?;
        let history = self.policies.history(&table)?;
        let watermarks = self.watermarks(needs).await?;
        expire::run(self.committer(), &table, history, &watermarks).await
    }

    fn committer(&self) -> &dyn berglake_format::commit::Committer {
        self.catalog.as_ref()
    }

    /// The positions of all flows of the catalog. If one table cannot be read it is not known what its
    /// flows need, and nothing may expire.
    async fn watermarks(&self, needs: &mut Needs) -> Result<Watermarks> {
        let mut watermarks = Watermarks::default();
        for ident in self.tables().await? {
            match self.catalog.load(&ident).await {
                Ok(table) => watermarks.extend(needs.of(&table)?),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.catalog.table_exists(&ident).await? {
                        return Err(unknown_needs(&ident, error));
                    }
                }
                Err(error) => return Err(unknown_needs(&ident, error)),
            }
        }
        Ok(watermarks)
    }

    fn lock_of(&self, ident: &TableIdent) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(ident.clone()).or_default().clone()
    }
}

fn unknown_needs(ident: &TableIdent, error: Error) -> Error {
    let kind = error.kind();
    Error::new(
        kind,
        "a table cannot be loaded, so it is not known which snapshots of others its flows need",
    )
    .with("table", ident)
    .help("nothing was deleted; put the table right or drop it")
    .source_error(error)
}

fn log(report: &TableReport) {
    if let Some(compact) = &report.compact {
        match compact {
            Outcome::Done(done) => tracing::info!(
                table = report.table,
                groups = done.groups.len(),
                not_begun = done.not_begun,
                succeeded = done.succeeded(),
                "compacted"
            ),
            Outcome::Refused { reason } => {
                tracing::info!(table = report.table, reason, "not compacted");
            }
            Outcome::Failed { error, .. } => {
                tracing::warn!(table = report.table, error, "compaction failed");
            }
        }
    }
    if let Some(expire) = &report.expire {
        match expire {
            Outcome::Done(done) => tracing::info!(
                table = report.table,
                snapshots = done.expired.len(),
                files = done.files_deleted,
                left = done.files_left,
                "expired"
            ),
            Outcome::Refused { reason } => {
                tracing::info!(table = report.table, reason, "not expired");
            }
            Outcome::Failed { error, .. } => {
                tracing::warn!(table = report.table, error, "expiry failed");
            }
        }
    }
}
