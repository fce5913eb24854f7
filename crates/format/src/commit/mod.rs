//! The one commit path.
//!
//! Every change of a table is a [`TableChange`]: requirements that must hold and updates to make,
//! as the REST specification defines them. A [`Committer`] makes a group of changes, all or none,
//! and says which of three things happened:
//!
//! | outcome | meaning | what the writer does |
//! |---|---|---|
//! | [`Committed`](CommitOutcome::Committed) | it is made, and as durable as the storage | goes on |
//! | [`Conflict`](CommitOutcome::Conflict) | it is certain that nothing was changed | plans again against the new head |
//! | [`Unknown`](CommitOutcome::Unknown) | the answer was lost | looks for its own snapshot, then decides |
//!
//! An error of [`Committer::commit`] means that nothing was changed and trying again is pointless
//! without a change of circumstances.
//!
//! On S3 and other stores what is committed is durable. Files on local disks are not synced: a power
//! failure within seconds of a commit can lose them
//! ([ADR 0012](https://github.com/berglake/berglake/blob/main/docs/adr/0012-local-files-are-not-synced.md)).
//!
//! [`Transaction`] drives [`Operation`]s through a committer by these rules. Retry means
//! revalidate: after a conflict the operation plans itself anew, with its checks, against the head
//! that won; nothing is ever rebased blindly.

mod creation;
mod driver;
pub mod faults;
mod made;
mod memory;
pub mod metadata_file;
mod sequence;
mod stale;
mod telemetry;

use std::collections::HashSet;
use std::fmt;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableRequirement, TableUpdate};

pub use driver::{Applied, RetryPolicy, Transaction};
pub use memory::MemoryCommitter;
pub use sequence::Sequence;

use crate::{Error, Result, Table};

/// A change of one table: what must hold, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct TableChange {
    /// The table.
    pub ident: TableIdent,
    /// What must hold for the change to be made.
    pub requirements: Vec<TableRequirement>,
    /// The updates, in order.
    pub updates: Vec<TableUpdate>,
}

impl TableChange {
    /// Applies the change to metadata and gives the new metadata, or why it was planned on other
    /// metadata than this: a requirement that failed, or a snapshot that no longer fits.
    ///
    /// This is the single place where a change becomes metadata; every committer calls it. What a new
    /// plan would mend comes first: a stale change is a conflict, whatever else is wrong with it.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) and
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for updates that do not fit the metadata.
    pub fn apply(
        &self,
        current: &TableMetadata,
        current_location: &str,
    ) -> Result<Result<TableMetadata, ConflictReason>> {
        for requirement in &self.requirements {
            if requirement.check(Some(current)).is_err() {
                let why = why_not(requirement, current);
                return Ok(Err(ConflictReason::Requirement(why)));
            }
        }
        if let Some(reason) = self.orphaned_ref(current)? {
            return Ok(Err(reason));
        }
        if let Some(reason) = stale::stale_snapshot(&self.updates, current) {
            return Ok(Err(reason));
        }
        let mut builder = current
            .clone()
            .into_builder(Some(current_location.to_string()));
        for update in &self.updates {
            builder = update
                .clone()
                .apply(builder)
                .map_err(|error| Error::from(error).with("table", &self.ident))?;
        }
        let built = builder
            .build()
            .map_err(|error| Error::from(error).with("table", &self.ident))?;
        Ok(Ok(built.metadata))
    }

    /// A branch or tag that would lose its snapshot. No requirement can say that there is none, and
    /// the metadata builder would drop the ref without a word.
    fn orphaned_ref(&self, current: &TableMetadata) -> Result<Option<ConflictReason>> {
        let removed: HashSet<i64> = self
            .updates
            .iter()
            .filter_map(|update| match update {
                TableUpdate::RemoveSnapshots { snapshot_ids } => Some(snapshot_ids),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        if removed.is_empty() {
            return Ok(None);
        }
        let moved: HashSet<&str> = self
            .updates
            .iter()
            .filter_map(|update| match update {
                TableUpdate::RemoveSnapshotRef { ref_name }
                | TableUpdate::SetSnapshotRef { ref_name, .. } => Some(ref_name.as_str()),
                _ => None,
            })
            .collect();
        let refs = crate::table::refs(current)?;
        Ok(refs
            .iter()
            .find(|(name, reference)| {
                removed.contains(&reference.snapshot_id) && !moved.contains(name.as_str())
            })
            .map(|(name, reference)| {
                ConflictReason::Requirement(format!(
                    "the ref {name} needs snapshot {}",
                    reference.snapshot_id
                ))
            }))
    }
}

/// What is otherwise than a requirement says, in the words that clients of REST catalogs know.
fn why_not(requirement: &TableRequirement, current: &TableMetadata) -> String {
    use TableRequirement as Must;
    match requirement {
        Must::NotExist => "table already exists".to_string(),
        Must::UuidMatch { uuid } => {
            format!("UUID does not match: expected {uuid} != {}", current.uuid())
        }
        Must::CurrentSchemaIdMatch { current_schema_id } => format!(
            "current schema changed: expected id {current_schema_id} != {}",
            current.current_schema_id()
        ),
        Must::LastAssignedFieldIdMatch {
            last_assigned_field_id,
        } => format!(
            "last assigned field id changed: expected id {last_assigned_field_id} != {}",
            current.last_column_id()
        ),
        Must::LastAssignedPartitionIdMatch {
            last_assigned_partition_id,
        } => format!(
            "last assigned partition id changed: expected id {last_assigned_partition_id} != {}",
            current.last_partition_id()
        ),
        Must::DefaultSpecIdMatch { default_spec_id } => format!(
            "default partition spec changed: expected id {default_spec_id} != {}",
            current.default_partition_spec_id()
        ),
        Must::DefaultSortOrderIdMatch {
            default_sort_order_id,
        } => format!(
            "default sort order changed: expected id {default_sort_order_id} != {}",
            current.default_sort_order_id()
        ),
        Must::RefSnapshotIdMatch { r#ref, snapshot_id } => {
            match (snapshot_id, current.snapshot_for_ref(r#ref)) {
                (None, _) => format!("branch or tag {ref} was created concurrently"),
                (Some(id), None) => format!("branch or tag {ref} is missing, expected {id}"),
                (Some(id), Some(now)) => format!(
                    "branch or tag {ref} has changed: expected id {id} != {}",
                    now.snapshot_id()
                ),
            }
        }
    }
}

/// Why a commit did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictReason {
    /// A requirement does not hold at the current head; the text says which.
    Requirement(String),
    /// Another commit won the race for the table's pointer.
    PointerMoved,
    /// The table is gone.
    TableGone,
}

impl fmt::Display for ConflictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requirement(text) => write!(f, "requirement failed: {text}"),
            Self::PointerMoved => f.write_str("another commit came first"),
            Self::TableGone => f.write_str("the table was dropped"),
        }
    }
}

/// What became of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// All changes are made; the tables are as they stand now, in the order of the changes.
    Committed(Vec<Table>),
    /// Nothing was changed.
    Conflict {
        /// The table whose change lost.
        ident: TableIdent,
        /// Why.
        reason: ConflictReason,
    },
    /// The answer was lost: all changes were made, or none, now or a little later.
    Unknown(Error),
}

/// Loads tables and makes changes, all or none. The embedded catalog and REST clients implement it.
#[async_trait]
pub trait Committer: fmt::Debug + Send + Sync {
    /// The table as it stands now, never from a stale cache.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such table.
    async fn load(&self, ident: &TableIdent) -> Result<Table>;

    /// Makes these changes, all or none. Each table appears once.
    ///
    /// # Errors
    /// Only where it is certain that nothing was changed and a new plan would not help: a change
    /// that does not fit the table, or a catalog that could not be reached before anything was sent.
    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome>;
}

/// Something that can be done to a table: plans a change against the head that it is given.
///
/// `plan` is called once per attempt. It does all validation that its isolation level asks for
/// against `base`, so a second attempt after a conflict is as safe as the first. It may write files;
/// those that only this attempt can use are named in [`PlannedChange::scratch`].
#[async_trait]
pub trait Operation: Send + Sync {
    /// Plans against this head, or says that there is nothing to do.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) where a concurrent change makes the operation
    /// impossible, and whatever planning meets.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>>;
}

/// An operation planned against one head.
#[derive(Debug, Clone)]
pub struct PlannedChange {
    /// The change.
    pub change: TableChange,
    /// How the change is recognised in a table that was loaded again.
    pub mark: Mark,
    /// Files that only this attempt refers to. They are deleted when the attempt has certainly failed.
    pub scratch: Vec<String>,
}

impl PlannedChange {
    /// A change without a snapshot: of schemas, specs, sort orders, properties or refs. That the table
    /// is still the same one is required beside `requirements`; the change is recognised by what it
    /// makes so.
    pub fn of_metadata(
        base: &Table,
        mut requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Self {
        let uuid = base.metadata().uuid();
        requirements.insert(0, TableRequirement::UuidMatch { uuid });
        Self {
            change: TableChange {
                ident: base.ident().clone(),
                requirements,
                updates: updates.clone(),
            },
            mark: Mark::Metadata(updates),
            scratch: Vec::new(),
        }
    }
}

/// How a commit is found again after its answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// The snapshot that the commit adds.
    Snapshot(i64),
    /// Updates of schemas, specs, sort orders, properties and refs. The commit is there if all that
    /// they ask for is so.
    ///
    /// Where another commit has changed it again meanwhile, it counts as not found: then the operation
    /// is planned once more, or the outcome is reported as unknown. It is never taken for certain that
    /// nothing was changed.
    Metadata(Vec<TableUpdate>),
    /// What the commit removes. It makes no difference whether it was this commit or another that
    /// removed it, so its absence is mark enough.
    Removed {
        /// Snapshots by their ids.
        snapshots: Vec<i64>,
        /// Branches and tags by their names.
        refs: Vec<String>,
    },
}

impl Mark {
    /// Whether this table contains the commit.
    pub fn is_in(&self, table: &Table) -> bool {
        match self {
            Self::Snapshot(id) => table.metadata().snapshot_by_id(*id).is_some(),
            Self::Metadata(updates) => made::holds(updates, table.metadata()),
            Self::Removed { snapshots, refs } => {
                let metadata = table.metadata();
                snapshots
                    .iter()
                    .all(|id| metadata.snapshot_by_id(*id).is_none())
                    && refs
                        .iter()
                        .all(|name| metadata.snapshot_for_ref(name).is_none())
            }
        }
    }
}
