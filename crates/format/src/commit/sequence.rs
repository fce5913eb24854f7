//! Several operations on one table in one commit.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::{TableRequirement, TableUpdate};

use super::{Mark, Operation, PlannedChange, TableChange};
use crate::storage::Location;
use crate::{Error, Result, Table};

/// Operations on one table, committed together or not at all. Each is planned on the table as the
/// ones before it leave it, so that a column can be added and filled in one commit.
///
/// What an operation requires of the table is required of it as it was before the sequence, unless
/// an operation of the sequence has changed just that.
#[derive(Clone)]
pub struct Sequence {
    operations: Vec<Arc<dyn Operation>>,
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence")
            .field("operations", &self.operations.len())
            .finish()
    }
}

impl Sequence {
    /// These operations, in this order.
    pub fn new(operations: Vec<Arc<dyn Operation>>) -> Self {
        Self { operations }
    }
}

#[async_trait]
impl Operation for Sequence {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let mut whole = Whole::default();
        let mut table = base.clone();
        for operation in &self.operations {
            let planned = match operation.plan(&table).await {
                Ok(planned) => planned,
                Err(error) => {
                    whole.discard(base).await;
                    return Err(error);
                }
            };
            let Some(planned) = planned else {
                continue;
            };
            let applied = planned
                .change
                .apply(table.metadata(), table.metadata_location());
            whole.add(base, planned);
            match applied {
                Ok(Ok(metadata)) => table = table.with_metadata(metadata),
                Ok(Err(reason)) => {
                    whole.discard(base).await;
                    return Err(Error::internal(
                        "an operation does not fit the table as the one before it leaves it",
                    )
                    .with("table", base.ident())
                    .with("reason", reason));
                }
                Err(error) => {
                    whole.discard(base).await;
                    return Err(error);
                }
            }
        }
        Ok(whole.planned(base))
    }
}

/// The changes so far as one.
#[derive(Default)]
struct Whole {
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
    mark: Option<Mark>,
    scratch: Vec<String>,
}

impl Whole {
    fn add(&mut self, base: &Table, planned: PlannedChange) {
        for requirement in planned.change.requirements {
            // One that does not hold at the base is about what an operation before has changed, and
            // that one required what was there before it.
            if requirement.check(Some(base.metadata())).is_ok()
                && !self.requirements.contains(&requirement)
            {
                self.requirements.push(requirement);
            }
        }
        self.updates.extend(planned.change.updates);
        self.scratch.extend(planned.scratch);
        // All changes are made or none, so one mark is enough: a snapshot is the surest.
        self.mark = match (self.mark.take(), planned.mark) {
            (Some(Mark::Snapshot(id)), _) | (_, Mark::Snapshot(id)) => Some(Mark::Snapshot(id)),
            (_, later) => Some(later),
        };
    }

    async fn discard(&self, base: &Table) {
        for path in &self.scratch {
            if let Ok(location) = Location::parse(path) {
                base.storage().delete(&location).await.ok();
            }
        }
    }

    fn planned(self, base: &Table) -> Option<PlannedChange> {
        Some(PlannedChange {
            change: TableChange {
                ident: base.ident().clone(),
                requirements: self.requirements,
                updates: self.updates,
            },
            mark: self.mark?,
            scratch: self.scratch,
        })
    }
}
