//! Executing a compaction, group by group.

use async_trait::async_trait;
use berglake_format::commit::{Applied, Committer, Operation, PlannedChange, Transaction};
use berglake_format::plan::ScanPlan;
use berglake_format::properties::{WriteProperties, retry_policy};
use berglake_format::rewrite::{CopiedRows, copy_rows};
use berglake_format::snapshot::RewriteFiles;
use berglake_format::write::discard;
use berglake_format::{Error, ErrorKind, Result, Table};
use futures::StreamExt;
use futures::stream;
use serde::Serialize;

use super::plan::{FileGroup, file_size};
use super::{CompactionOptions, CompactionPlan};
use crate::{Stop, refreshes};

/// The bytes that open files of all groups hold in memory, together.
const MEMORY: usize = 256 << 20;

/// What a compaction of a table has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CompactionReport {
    /// The groups, in the order of the plan.
    pub groups: Vec<GroupReport>,
    /// Groups that were not begun because somebody wanted to stop.
    pub not_begun: usize,
}

/// What became of a group of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupReport {
    /// The partition.
    pub partition: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: GroupOutcome,
    /// The files that were read.
    pub files_before: usize,
    /// Their bytes.
    pub bytes_before: u64,
    /// The files that were written.
    pub files_after: usize,
    /// Their bytes.
    pub bytes_after: u64,
    /// The rows in them.
    pub rows: u64,
}

/// What became of a group of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum GroupOutcome {
    /// The new files are in the table.
    Committed {
        /// The snapshot that replaced the files.
        snapshot_id: i64,
    },
    /// Another writer changed the same files in a way that cannot be carried over; the new files are
    /// discarded and the next run tries again.
    GaveWay {
        /// What came in between.
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

impl CompactionReport {
    /// Whether no group has failed; one that gave way has not.
    pub fn succeeded(&self) -> bool {
        let failed = |group: &GroupReport| matches!(group.outcome, GroupOutcome::Failed { .. });
        !self.groups.iter().any(failed)
    }
}

/// What would be compacted of this table.
///
/// # Errors
/// Whatever planning a scan meets.
pub async fn plan(table: &Table, options: &CompactionOptions) -> Result<CompactionPlan> {
    CompactionPlan::of(&table.scan().plan().await?, options)
}

/// Compacts a table. Groups fail and give way one by one, as the report says.
///
/// Once `stop` was asked for, no further group is begun; groups under way are finished and committed.
///
/// # Errors
/// Whatever planning meets.
pub async fn run(
    committer: &dyn Committer,
    table: &Table,
    options: &CompactionOptions,
    stop: &Stop,
) -> Result<CompactionReport> {
    let scan = table.scan().plan().await?;
    let plan = CompactionPlan::of(&scan, options)?;
    let job = Job {
        committer,
        scan: &scan,
        options,
        properties: WriteProperties::of(table.metadata())
            .map_err(|error| error.with("table", table.ident()))?,
    };
    let per_commit = match options.partial_progress {
        true => plan.groups.len().div_ceil(options.max_commits.max(1)),
        false => plan.groups.len(),
    };
    let mut report = CompactionReport::default();
    for groups in plan.groups.chunks(per_commit.max(1)) {
        if stop.asked() {
            report.not_begun += groups.len();
            continue;
        }
        let copies = job.copy(groups, stop, &mut report).await;
        report.groups.extend(job.commit(copies).await);
    }
    Ok(report)
}

/// A group that was copied.
type Copied<'a> = (&'a FileGroup, CopiedRows);

struct Job<'a> {
    committer: &'a dyn Committer,
    scan: &'a ScanPlan,
    options: &'a CompactionOptions,
    properties: WriteProperties,
}

impl Job<'_> {
    /// Copies groups, some at a time. Those that fail go into the report.
    async fn copy<'g>(
        &self,
        groups: &'g [FileGroup],
        stop: &Stop,
        report: &mut CompactionReport,
    ) -> Vec<Copied<'g>> {
        let at_once = self.options.max_concurrent_groups.min(groups.len()).max(1);
        let copying: Vec<_> = groups
            .iter()
            .map(|group| self.copy_one(group, at_once, stop))
            .collect();
        let results: Vec<_> = stream::iter(copying).buffered(at_once).collect().await;
        let mut copies = Vec::with_capacity(groups.len());
        for (group, result) in groups.iter().zip(results) {
            match result {
                Ok(Some(copied)) => copies.push((group, copied)),
                Ok(None) => report.not_begun += 1,
                Err(error) => report.groups.push(failed(group, &error)),
            }
        }
        copies
    }

    async fn copy_one(
        &self,
        group: &FileGroup,
        at_once: usize,
        stop: &Stop,
    ) -> Result<Option<CopiedRows>> {
        if stop.asked() {
            return Ok(None);
        }
        let tasks: Vec<_> = group
            .tasks
            .iter()
            .filter_map(|i| self.scan.tasks.get(*i).cloned())
            .collect();
        let properties = WriteProperties {
            target_file_size: file_size(group, self.options),
            ..self.properties.clone()
        };
        copy_rows(self.scan, &tasks, &properties, MEMORY / at_once)
            .await
            .map(Some)
    }

    /// Commits groups together. If that gives way, each is tried by itself: one of them has met a
    /// change, the others need not suffer for it.
    async fn commit(&self, copies: Vec<Copied<'_>>) -> Vec<GroupReport> {
        if copies.is_empty() {
            return Vec::new();
        }
        match self.try_commit(&copies).await {
            Err(error) if error.kind() == ErrorKind::Conflict && copies.len() > 1 => {
                let mut reports = Vec::with_capacity(copies.len());
                for copied in copies {
                    let one = [copied];
                    let result = self.try_commit(&one).await;
                    reports.extend(self.report(&one, result).await);
                }
                reports
            }
            result => self.report(&copies, result).await,
        }
    }

    async fn try_commit(&self, copies: &[Copied<'_>]) -> Result<i64> {
        let table = &self.scan.table;
        let rows = copies.iter().map(|(_, copied)| copied.clone()).collect();
        let operation = RewriteFiles::new(self.scan, rows)?;
        let applied = Transaction::new(self.committer)
            .retry(retry_policy(table.metadata())?)
            .step(table.ident().clone(), Rewrite(operation))
            .commit()
            .await?;
        applied
            .first()
            .and_then(Applied::snapshot_id)
            .ok_or_else(|| Error::internal("a compaction was committed without a snapshot"))
    }

    async fn report(&self, copies: &[Copied<'_>], result: Result<i64>) -> Vec<GroupReport> {
        let outcome = match result {
            Ok(snapshot_id) => GroupOutcome::Committed { snapshot_id },
            Err(error) => {
                // Files of a commit with an unknown outcome may be in the table.
                if error.kind() != ErrorKind::UnknownOutcome {
                    for (_, copied) in copies {
                        discard(&self.scan.table, &copied.outputs).await;
                    }
                }
                match error.kind() {
                    ErrorKind::Conflict => GroupOutcome::GaveWay {
                        reason: error.to_string(),
                    },
                    kind => GroupOutcome::Failed {
                        error: error.to_string(),
                        kind: kind.as_str(),
                    },
                }
            }
        };
        copies
            .iter()
            .map(|(group, copied)| {
                let outputs = copied.outputs.iter().map(|output| &output.file);
                GroupReport {
                    partition: group.partition.clone(),
                    outcome: outcome.clone(),
                    files_before: group.files.len(),
                    bytes_before: group.bytes,
                    files_after: copied.outputs.len(),
                    bytes_after: outputs.clone().map(|file| file.file_size_in_bytes()).sum(),
                    rows: outputs.map(|file| file.record_count()).sum(),
                }
            })
            .collect()
    }
}

/// A rewrite that takes along what the rows of the head say about themselves: the snapshot that says it
/// may expire once its files are replaced.
struct Rewrite(RewriteFiles);

#[async_trait]
impl Operation for Rewrite {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let records = refreshes::of_head(base);
        if records.is_empty() {
            return self.0.plan(base).await;
        }
        let mut rewrite = self.0.clone();
        rewrite.notes.summary.extend(records);
        rewrite.plan(base).await
    }
}

fn failed(group: &FileGroup, error: &Error) -> GroupReport {
    GroupReport {
        partition: group.partition.clone(),
        outcome: GroupOutcome::Failed {
            error: error.to_string(),
            kind: error.kind().as_str(),
        },
        files_before: group.files.len(),
        bytes_before: group.bytes,
        files_after: 0,
        bytes_after: 0,
        rows: 0,
    }
}
