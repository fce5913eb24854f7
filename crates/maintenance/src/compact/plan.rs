//! Which files are rewritten together: a pure function of the files of a scan.

use std::collections::BTreeMap;

use berglake_format::Result;
use berglake_format::plan::{ScanPlan, ScanTask};
use berglake_format::write::partition_name;
use serde::Serialize;

use super::CompactionOptions;

/// What a compaction of a table would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompactionPlan {
    /// The snapshot whose files are rewritten.
    pub snapshot_id: Option<i64>,
    /// All data files of the table.
    pub files: usize,
    /// The groups, each of files of one partition.
    pub groups: Vec<FileGroup>,
}

/// Files that are rewritten together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileGroup {
    /// The partition, such as `day=2026-01-31`; empty without partitions.
    pub partition: String,
    /// The partition spec of the files.
    pub spec_id: i32,
    /// Why it is worth it.
    pub reason: GroupReason,
    /// The bytes of its files.
    pub bytes: u64,
    /// The rows of its files, deleted ones among them.
    pub records: u64,
    /// The delete files that apply to them.
    pub delete_files: usize,
    /// How many files they become, about.
    pub expected_files: u64,
    /// The files.
    pub files: Vec<PlannedFile>,
    /// Where they stand in the scan.
    #[serde(skip)]
    pub(super) tasks: Vec<usize>,
}

/// A file to be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Why a group is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupReason {
    /// All files were asked for.
    All,
    /// There are enough files that are too small or too large.
    Files,
    /// Small files make a whole one.
    Content,
    /// A file is too large.
    TooLarge,
    /// A file has many deletes.
    Deletes,
}

impl std::fmt::Display for GroupReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "all files",
            Self::Files => "many files",
            Self::Content => "small files",
            Self::TooLarge => "large files",
            Self::Deletes => "deletes",
        })
    }
}

impl CompactionPlan {
    /// Chooses and groups the files of a scan, which must be one of all columns without a filter.
    ///
    /// # Errors
    /// [`Corrupt`](berglake_format::ErrorKind::Corrupt) for a file of an unknown partition spec.
    pub fn of(scan: &ScanPlan, options: &CompactionOptions) -> Result<Self> {
        let mut partitions: BTreeMap<(i32, String), Vec<usize>> = BTreeMap::new();
        for (i, task) in scan.tasks.iter().enumerate() {
            let wanted = options.rewrite_all
                || is_of_wrong_size(task, options)
                || has_many_deletes(task, options);
            if wanted {
                let name = partition_name(&scan.table, task.spec_id, task.file.partition())?;
                partitions.entry((task.spec_id, name)).or_default().push(i);
            }
        }
        let mut groups = Vec::new();
        for ((spec_id, partition), tasks) in partitions {
            for tasks in packed(scan, tasks, options.max_file_group_size) {
                let files: Vec<&ScanTask> = tasks.iter().map(|i| &scan.tasks[*i]).collect();
                if let Some(reason) = worth(&files, options) {
                    groups.push(group(
                        spec_id,
                        partition.clone(),
                        reason,
                        &files,
                        tasks,
                        options,
                    ));
                }
            }
        }
        Ok(Self {
            snapshot_id: scan.snapshot.as_ref().map(|s| s.snapshot_id()),
            files: scan.tasks.len(),
            groups,
        })
    }
}

fn is_of_wrong_size(task: &ScanTask, options: &CompactionOptions) -> bool {
    let size = task.file.file_size_in_bytes();
    size < options.min_file_size || size > options.max_file_size
}

fn has_many_deletes(task: &ScanTask, options: &CompactionOptions) -> bool {
    let files = task.position_deletes.len() + task.equality_deletes.len();
    let of_this_file = task
        .position_deletes
        .iter()
        .filter(|d| d.data_file().is_some());
    let deleted: u64 = of_this_file.map(|delete| delete.file.record_count()).sum();
    // A file of which everything is deleted has no row to divide by.
    let records = task.file.record_count().max(1);
    files >= options.delete_file_threshold
        || deleted.min(records) as f64 / records as f64 >= options.delete_ratio_threshold
}

/// Cuts the files of a partition, in their order, into groups that are not too large.
fn packed(scan: &ScanPlan, tasks: Vec<usize>, most: u64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut bytes: u64 = 0;
    for i in tasks {
        let size = scan.tasks[i].file.file_size_in_bytes();
        bytes = bytes.saturating_add(size);
        match groups.last_mut() {
            Some(group) if bytes <= most => group.push(i),
            _ => {
                bytes = size;
                groups.push(vec![i]);
            }
        }
    }
    groups
}

fn worth(files: &[&ScanTask], options: &CompactionOptions) -> Option<GroupReason> {
    let bytes: u64 = files
        .iter()
        .map(|task| task.file.file_size_in_bytes())
        .sum();
    let several = files.len() > 1;
    if options.rewrite_all {
        Some(GroupReason::All)
    } else if several && files.len() >= options.min_input_files {
        Some(GroupReason::Files)
    } else if several && bytes > options.target_file_size {
        Some(GroupReason::Content)
    } else if bytes > options.max_file_size {
        Some(GroupReason::TooLarge)
    } else if files.iter().any(|task| has_many_deletes(task, options)) {
        Some(GroupReason::Deletes)
    } else {
        None
    }
}

fn group(
    spec_id: i32,
    partition: String,
    reason: GroupReason,
    files: &[&ScanTask],
    tasks: Vec<usize>,
    options: &CompactionOptions,
) -> FileGroup {
    let bytes: u64 = files
        .iter()
        .map(|task| task.file.file_size_in_bytes())
        .sum();
    let mut deletes: Vec<(&str, Option<i64>)> = files
        .iter()
        .flat_map(|task| task.position_deletes.iter().chain(&task.equality_deletes))
        .map(|delete| (delete.file.file_path(), delete.file.content_offset()))
        .collect();
    deletes.sort_unstable();
    deletes.dedup();
    FileGroup {
        partition,
        spec_id,
        reason,
        bytes,
        records: files.iter().map(|task| task.file.record_count()).sum(),
        delete_files: deletes.len(),
        expected_files: expected_files(bytes, options),
        files: files
            .iter()
            .map(|task| PlannedFile {
                path: task.file.file_path().to_string(),
                bytes: task.file.file_size_in_bytes(),
            })
            .collect(),
        tasks,
    }
}

/// How many files so many bytes become. What is left behind the last whole file is a file of its own
/// if it is large enough not to be rewritten next time, or if the others would grow too much by it.
fn expected_files(bytes: u64, options: &CompactionOptions) -> u64 {
    let target = options.target_file_size;
    let whole = bytes / target;
    if whole == 0 {
        return 1;
    }
    let rest = bytes % target;
    let shared_out = bytes / whole;
    let fits = shared_out
        <= (target / 10)
            .saturating_add(target)
            .min(options.max_file_size);
    match rest {
        0 => whole,
        rest if rest > options.min_file_size => whole + 1,
        _ if fits => whole,
        _ => whole + 1,
    }
}

/// The size at which a file of this group is closed.
pub(super) fn file_size(group: &FileGroup, options: &CompactionOptions) -> u64 {
    // A little more than its share, so that the estimate of what was written so far, which is never
    // exact, does not leave a crumb for one more file.
    let share = group.bytes / group.expected_files.max(1);
    share
        .saturating_add(share / 20)
        .clamp(options.target_file_size, options.max_file_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(target: u64) -> CompactionOptions {
        let key = format!("{}target-file-size-bytes", CompactionOptions::PREFIX);
        CompactionOptions::parse(&[(key, target.to_string())].into()).unwrap()
    }

    #[test]
    fn files_have_about_the_target_size_and_no_crumb_is_left() {
        let options = options(1_000);
        for (bytes, files) in [
            (1, 1),
            (999, 1),
            (1_000, 1),
            // 99 bytes more would be a crumb; one file takes them.
            (1_099, 1),
            // 500 are too many to share out.
            (1_500, 2),
            (1_900, 2),
            (3_000, 3),
            (3_200, 3),
            (10_500, 10),
        ] {
            assert_eq!(expected_files(bytes, &options), files, "{bytes}");
        }
    }
}
