//! Plans and reports as text for people.

use std::fmt;

use crate::compact::{CompactionPlan, CompactionReport, GroupOutcome};
use crate::expire::{ExpiryReport, FileCounts, TableExpiry};
use crate::{MaintenancePlan, MaintenanceReport, Outcome};

/// Snapshots that are named one by one, at most; there may be tens of thousands.
const NAMED: usize = 20;

impl fmt::Display for MaintenancePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tables.is_empty() {
            return writeln!(f, "there are no tables");
        }
        for table in &self.tables {
            writeln!(f, "{}", table.table)?;
            if let Some(compact) = &table.compact {
                outcome(f, "compact", compact, compaction_plan)?;
            }
            if let Some(expire) = &table.expire {
                outcome(f, "expire", expire, expiry_plan)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for MaintenanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{}", table.table)?;
            if let Some(compact) = &table.compact {
                outcome(f, "compact", compact, compaction_report)?;
            }
            if let Some(expire) = &table.expire {
                outcome(f, "expire", expire, expiry_report)?;
            }
        }
        if self.stopped {
            writeln!(f, "stopped early; the next run does the rest")?;
        }
        Ok(())
    }
}

fn outcome<T>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    outcome: &Outcome<T>,
    done: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "  {name}: ")?;
    match outcome {
        Outcome::Done(value) => done(f, value),
        Outcome::Refused { reason } => writeln!(f, "refused: {reason}"),
        Outcome::Failed { error, .. } => writeln!(f, "failed: {error}"),
    }
}

fn compaction_plan(f: &mut fmt::Formatter<'_>, plan: &CompactionPlan) -> fmt::Result {
    if plan.groups.is_empty() {
        return writeln!(f, "nothing to do, {} files", plan.files);
    }
    let files: usize = plan.groups.iter().map(|group| group.files.len()).sum();
    let expected: u64 = plan.groups.iter().map(|group| group.expected_files).sum();
    writeln!(
        f,
        "{files} of {} files in {} groups, into about {expected}",
        plan.files,
        plan.groups.len()
    )?;
    for group in &plan.groups {
        writeln!(
            f,
            "    {}: {} files, {}, {} delete files, into about {} (because of {})",
            partition(&group.partition),
            group.files.len(),
            size(group.bytes),
            group.delete_files,
            group.expected_files,
            group.reason
        )?;
    }
    Ok(())
}

fn compaction_report(f: &mut fmt::Formatter<'_>, report: &CompactionReport) -> fmt::Result {
    if report.groups.is_empty() && report.not_begun == 0 {
        return writeln!(f, "nothing to do");
    }
    writeln!(f, "{} groups", report.groups.len() + report.not_begun)?;
    for group in &report.groups {
        let name = partition(&group.partition);
        match &group.outcome {
            GroupOutcome::Committed { snapshot_id } => writeln!(
                f,
                "    {name}: {} files, {} became {} files, {} (snapshot {snapshot_id})",
                group.files_before,
                size(group.bytes_before),
                group.files_after,
                size(group.bytes_after),
            )?,
            GroupOutcome::GaveWay { reason } => {
                writeln!(f, "    {name}: gave way to another writer: {reason}")?;
            }
            GroupOutcome::Failed { error, .. } => writeln!(f, "    {name}: failed: {error}")?,
        }
    }
    if report.not_begun > 0 {
        writeln!(f, "    {} groups were not begun", report.not_begun)?;
    }
    Ok(())
}

fn expiry_plan(f: &mut fmt::Formatter<'_>, plan: &TableExpiry) -> fmt::Result {
    let snapshots = &plan.snapshots;
    if snapshots.is_empty() {
        writeln!(f, "nothing to do, {} snapshots", snapshots.kept.len())?;
    } else {
        writeln!(
            f,
            "{} of {} snapshots go, with {}",
            snapshots.expired.len(),
            snapshots.expired.len() + snapshots.kept.len(),
            files(&plan.files)
        )?;
        if !snapshots.refs.is_empty() {
            writeln!(f, "    refs that go: {}", snapshots.refs.join(", "))?;
        }
        for snapshot in snapshots.expired.iter().take(NAMED) {
            writeln!(
                f,
                "    goes {}",
                dated(snapshot.snapshot_id, snapshot.timestamp_ms)
            )?;
        }
        more(f, snapshots.expired.len())?;
    }
    for snapshot in snapshots.kept.iter().rev().take(NAMED) {
        let reasons: Vec<String> = snapshot.reasons.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "    stays {}: {}",
            dated(snapshot.snapshot_id, snapshot.timestamp_ms),
            reasons.join("; ")
        )?;
    }
    more(f, snapshots.kept.len())
}

fn expiry_report(f: &mut fmt::Formatter<'_>, report: &ExpiryReport) -> fmt::Result {
    if report.expired.is_empty() && report.refs.is_empty() {
        return writeln!(f, "nothing to do");
    }
    write!(
        f,
        "{} snapshots are gone, {} files deleted",
        report.expired.len(),
        report.files_deleted
    )?;
    if report.files_left > 0 {
        write!(f, ", {} could not be deleted", report.files_left)?;
    }
    if report.files.elsewhere > 0 {
        write!(
            f,
            ", {} outside of the table's folders left alone",
            report.files.elsewhere
        )?;
    }
    writeln!(f)
}

fn files(files: &FileCounts) -> String {
    let mut text = format!(
        "{} data and delete files, {} manifests, {} manifest lists, {} statistics files",
        files.data, files.manifests, files.manifest_lists, files.statistics
    );
    if files.elsewhere > 0 {
        text += &format!("; {} outside of the table's folders stay", files.elsewhere);
    }
    text
}

fn more(f: &mut fmt::Formatter<'_>, all: usize) -> fmt::Result {
    match all.checked_sub(NAMED) {
        Some(more) if more > 0 => writeln!(f, "    … and {more} more"),
        _ => Ok(()),
    }
}

fn partition(name: &str) -> &str {
    match name {
        "" => "the table",
        name => name,
    }
}

fn dated(id: i64, millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).map_or_else(
        || format!("{millis} ms"),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    );
    format!("{id} of {time}")
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}
