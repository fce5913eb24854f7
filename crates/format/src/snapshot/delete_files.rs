//! Removing whole data files.

use std::collections::HashSet;

use async_trait::async_trait;
use iceberg::expr::Predicate;
use iceberg::spec::ManifestContentType;

use super::producer::{Producer, parts};
use super::removals::Removals;
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::plan::{load_manifests, manifest_list};
use crate::storage::normalize;
use crate::{Error, Result, Table};

/// Which files to remove.
#[derive(Debug, Clone)]
pub enum FilesToDelete {
    /// Data files by their paths, in any spelling.
    Paths {
        /// The paths.
        paths: Vec<String>,
        /// What of those that the table does not have.
        missing: MissingFiles,
    },
    /// Data files all of whose rows match.
    Matching(Predicate),
}

/// What becomes of files that are to be removed and are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingFiles {
    /// Nothing is removed, and that is an error.
    #[default]
    Fail,
    /// They are passed over, as the Java implementation does where nothing is said.
    Ignore,
}

/// Removes whole data files (a `delete` snapshot). Delete files that apply to one of them alone go with
/// it. Where nothing is to be removed and there are no notes, there is no snapshot.
///
/// Planned anew after a lost race, it also removes matching files that were added meanwhile.
#[derive(Debug, Clone)]
pub struct DeleteFiles {
    /// The files.
    pub files: FilesToDelete,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl DeleteFiles {
    /// Removes the data files with these paths; it is an error if the table lacks one.
    pub fn paths(paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            files: FilesToDelete::Paths {
                paths: paths.into_iter().map(Into::into).collect(),
                missing: MissingFiles::Fail,
            },
            notes: CommitNotes::default(),
        }
    }

    /// Removes the data files whose rows match.
    pub fn matching(filter: Predicate) -> Self {
        Self {
            files: FilesToDelete::Matching(filter),
            notes: CommitNotes::default(),
        }
    }

    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a file that the table does not have,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a filter that matches a file only partly;
    /// errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<Option<PlannedChange>> {
        let removals = match &self.files {
            FilesToDelete::Paths { paths, missing } => self.by_path(base, paths, *missing).await?,
            FilesToDelete::Matching(filter) => {
                Removals::matching(base, &self.notes, filter).await?
            }
        };
        let is_empty = self.notes.head(base)?.is_none();
        if self.notes.is_empty() && (removals.none() || is_empty) {
            return Ok(None);
        }
        let producer = Producer::new(base, next, iceberg::spec::Operation::Delete)?;
        producer.finish(&self.notes, removals).await.map(Some)
    }

    async fn by_path(
        &self,
        base: &Table,
        paths: &[String],
        missing: MissingFiles,
    ) -> Result<Removals> {
        let mut wanted: HashSet<String> = paths.iter().map(|path| normalize(path)).collect();
        let mut removals = Removals::default();
        if let Some(head) = base.head(self.notes.branch.as_deref())? {
            let mut manifests = manifest_list(base, head).await?;
            manifests.retain(|manifest| {
                manifest.content == ManifestContentType::Data
                    && (manifest.has_added_files() || manifest.has_existing_files())
            });
            for part in parts(manifests) {
                if wanted.is_empty() {
                    break;
                }
                for (manifest, entries) in load_manifests(base, part).await? {
                    for entry in entries.iter().filter(|entry| entry.is_alive()) {
                        if wanted.remove(&normalize(entry.file_path())) {
                            removals.data_file(&entry.data_file, manifest.partition_spec_id);
                        }
                    }
                }
            }
        }
        if missing == MissingFiles::Fail
            && let Some(path) = paths.iter().find(|path| wanted.contains(&normalize(path)))
        {
            return Err(Error::not_found(
                "the table does not have a data file that is to be removed",
            )
            .with("table", base.ident())
            .with("path", path)
            .with("missing", wanted.len()));
        }
        Ok(removals)
    }
}

#[async_trait]
impl Operation for DeleteFiles {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await
    }
}
