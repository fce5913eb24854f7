//! The data files of a snapshot that may hold matching rows.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::expr::Predicate;
use iceberg::spec::{DataContentType, ManifestEntry, ManifestFile};

use super::{MANIFESTS_AT_ONCE, ScanTask, check, sequence_number};
use crate::evaluate::{FileFilter, Matches};
use crate::manifest::Metrics;
use crate::{Error, Result, Table, task};

/// Files as tasks without deletes, in the order of their manifests.
#[derive(Default)]
pub(super) struct Files {
    pub(super) tasks: Vec<ScanTask>,
    /// Live files in the manifests.
    pub(super) seen: usize,
    /// Files of those that were skipped, by partition or by bounds.
    pub(super) pruned: usize,
}

impl Files {
    /// Reads these manifests, several at once, and keeps of each only the files that may match.
    pub(super) async fn of(
        table: &Table,
        filter: &Arc<FileFilter>,
        metrics: &Metrics,
        manifests: Vec<ManifestFile>,
    ) -> Result<Self> {
        stream::iter(manifests)
            .map(|manifest| {
                let (table, filter, metrics) = (table.clone(), filter.clone(), metrics.clone());
                async move {
                    let path = manifest.manifest_path.clone();
                    let read = Self::of_manifest(table, filter, metrics, manifest);
                    task::decode(&path, read).await
                }
            })
            .buffered(MANIFESTS_AT_ONCE)
            .try_fold(Self::default(), |mut all, mut files| async move {
                all.tasks.append(&mut files.tasks);
                all.seen += files.seen;
                all.pruned += files.pruned;
                Ok(all)
            })
            .await
            .map_err(|error: Error| error.with("table", table.ident()))
    }

    async fn of_manifest(
        table: Table,
        filter: Arc<FileFilter>,
        metrics: Metrics,
        manifest: ManifestFile,
    ) -> Result<Self> {
        let reader = table.manifests();
        let entries = reader.entries_with(&manifest, &metrics).await?;
        check::entries(table.metadata(), &manifest, &entries)?;
        let mut files = Self::default();
        for entry in entries.into_iter().filter(ManifestEntry::is_alive) {
            files.seen += 1;
            let residual = match filter.matches(manifest.partition_spec_id, &entry.data_file) {
                Matches::None => {
                    files.pruned += 1;
                    continue;
                }
                Matches::All => Predicate::AlwaysTrue,
                Matches::Some(residual) => residual,
            };
            let task = into_task(&manifest, entry)?;
            files.tasks.push(ScanTask { residual, ..task });
        }
        Ok(files)
    }
}

/// The data file of an entry as a task without filter and deletes.
pub(super) fn task_of(manifest: &ManifestFile, entry: &ManifestEntry) -> Result<ScanTask> {
    into_task(manifest, entry.clone())
}

fn into_task(manifest: &ManifestFile, entry: ManifestEntry) -> Result<ScanTask> {
    if entry.data_file.content_type() != DataContentType::Data {
        return Err(
            Error::corrupt("a manifest of data files names a delete file")
                .with("path", &manifest.manifest_path)
                .with("file", entry.file_path()),
        );
    }
    Ok(ScanTask {
        sequence_number: sequence_number(manifest, &entry)?,
        file: Arc::new(entry.data_file),
        range: None,
        spec_id: manifest.partition_spec_id,
        position_deletes: Vec::new(),
        equality_deletes: Vec::new(),
        residual: Predicate::AlwaysTrue,
    })
}
