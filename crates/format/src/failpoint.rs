//! Places at which a test can kill the process.
//!
//! With the cargo feature `failpoints` and the environment variable `BERGLAKE_FAILPOINT=name[:n]`
//! the process aborts, without any cleanup, when the named point is passed for the n-th time
//! (the first where no number is given). Without the feature [`hit`] is nothing at all.
//!
//! A point stands directly after the step that it is named for, so that everything before it has
//! happened and nothing after it has.

/// The variable that arms a point.
pub const VARIABLE: &str = "BERGLAKE_FAILPOINT";

/// A data or delete file is written and closed.
pub const DATA_FILE_WRITTEN: &str = "data-file-written";
/// The manifests of a new snapshot are written, its manifest list is not.
pub const MANIFESTS_WRITTEN: &str = "manifests-written";
/// The manifest list of a new snapshot is written.
pub const MANIFEST_LIST_WRITTEN: &str = "manifest-list-written";
/// An operation is planned, and its commit is not yet sent.
pub const COMMIT_PLANNED: &str = "commit-planned";
/// The new metadata file is written.
pub const METADATA_FILE_WRITTEN: &str = "metadata-file-written";
/// The catalog is about to swap the pointers of a commit.
pub const BEFORE_POINTER_SWAP: &str = "before-pointer-swap";
/// The catalog has swapped the pointers durably and has not answered.
pub const AFTER_POINTER_SWAP: &str = "after-pointer-swap";
/// The writer has heard that its commit was made.
pub const COMMITTED: &str = "committed";
/// A table is created in the catalog.
pub const TABLE_CREATED: &str = "table-created";
/// The files with the dead letters of a flow are written, and not yet committed.
pub const DEAD_LETTERS_WRITTEN: &str = "dead-letters-written";
/// A batch of rows is committed to the target of a flow.
pub const BATCH_COMMITTED: &str = "batch-committed";
/// A flow has ended, the next one has not begun.
pub const BETWEEN_FLOWS: &str = "between-flows";
/// The rows of a compaction are copied into new files, and nothing is committed.
pub const ROWS_COPIED: &str = "rows-copied";
/// Snapshots are removed from a table's metadata, and none of their files is deleted.
pub const SNAPSHOTS_REMOVED: &str = "snapshots-removed";
/// A file that no snapshot needs any more is deleted.
pub const FILE_EXPIRED: &str = "file-expired";

/// All points, in the order in which a run passes them, then those of maintenance.
pub const POINTS: &[&str] = &[
    TABLE_CREATED,
    DATA_FILE_WRITTEN,
    DEAD_LETTERS_WRITTEN,
    MANIFESTS_WRITTEN,
    MANIFEST_LIST_WRITTEN,
    COMMIT_PLANNED,
    METADATA_FILE_WRITTEN,
    BEFORE_POINTER_SWAP,
    AFTER_POINTER_SWAP,
    COMMITTED,
    BATCH_COMMITTED,
    BETWEEN_FLOWS,
    ROWS_COPIED,
    SNAPSHOTS_REMOVED,
    FILE_EXPIRED,
];

/// Passes a point: aborts the process if it is armed and this is the pass it waits for.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: &'static str) {}

/// Passes a point: aborts the process if it is armed and this is the pass it waits for.
#[cfg(feature = "failpoints")]
pub fn hit(point: &'static str) {
    armed::hit(point);
}

/// Whether points are compiled in.
pub const fn enabled() -> bool {
    cfg!(feature = "failpoints")
}

/// Checks what [`VARIABLE`] says, so that a misspelled point fails a test and does not pass it.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown point, a number that is none, or
/// a program without points.
pub fn check(setting: &str) -> crate::Result<()> {
    let (point, pass) = parse(setting);
    if !enabled() {
        return Err(
            crate::Error::invalid("this program was built without failpoints")
                .with("variable", VARIABLE)
                .help("build it with the cargo feature `failpoints`"),
        );
    }
    if !POINTS.contains(&point) || pass.is_none() {
        return Err(
            crate::Error::invalid(format!("{setting:?} is no failpoint"))
                .with("variable", VARIABLE)
                .help(format!(
                    "write NAME or NAME:N with one of: {}",
                    POINTS.join(", ")
                )),
        );
    }
    Ok(())
}

/// The point and the pass (from 1) at which it fires; no pass if the number is none.
fn parse(setting: &str) -> (&str, Option<u64>) {
    match setting.split_once(':') {
        Some((point, pass)) => (point, pass.parse().ok().filter(|pass| *pass > 0)),
        None => (setting, Some(1)),
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        point: String,
        pass: u64,
        passed: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn hit(point: &'static str) {
        let armed = ARMED.get_or_init(|| {
            let setting = std::env::var(super::VARIABLE).ok()?;
            let (point, pass) = super::parse(&setting);
            Some(Armed {
                point: point.to_string(),
                pass: pass?,
                passed: AtomicU64::new(0),
            })
        });
        if let Some(armed) = armed
            && armed.point == point
            && armed.passed.fetch_add(1, Ordering::SeqCst) + 1 == armed.pass
        {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_a_point_and_a_pass() {
        assert_eq!(parse("committed"), ("committed", Some(1)));
        assert_eq!(parse("committed:3"), ("committed", Some(3)));
        assert_eq!(parse("committed:0"), ("committed", None));
        assert_eq!(parse("committed:x"), ("committed", None));
    }

    #[test]
    fn a_misspelled_point_is_an_error() {
        assert!(check("comitted").is_err());
        assert_eq!(check("committed:2").is_ok(), enabled());
    }
}
