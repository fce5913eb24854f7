//! Appending without merging manifests.

use async_trait::async_trait;

use super::producer::Producer;
use super::removals::Removals;
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::write::WrittenFile;
use crate::{Result, Table};

/// Adds data files as [`Append`](super::Append) does, and leaves the manifests of older snapshots as
/// they are. The commit is cheaper, and the manifests pile up: some other commit, or
/// [`RewriteManifests`](super::RewriteManifests), must merge them.
#[derive(Debug, Clone, Default)]
pub struct FastAppend {
    /// The files.
    pub files: Vec<WrittenFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl FastAppend {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// Errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Append)?.fast();
        producer.add_data(self.files.iter().cloned())?;
        producer.finish(&self.notes, Removals::default()).await
    }
}

#[async_trait]
impl Operation for FastAppend {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}
