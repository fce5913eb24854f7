//! Walks over the ancestors of a snapshot.

use std::collections::HashSet;

use iceberg::spec::{SnapshotRef, TableMetadata};

/// Where a walk over ancestors ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the snapshot that was looked for.
    Found,
    /// At the first snapshot of the table.
    Root,
    /// At a parent that has expired.
    Expired,
}

/// A walk from a snapshot back over its ancestors.
pub(super) struct Walk<'a> {
    /// The snapshots that were passed, newest first, without the one looked for.
    pub(super) passed: Vec<&'a SnapshotRef>,
    pub(super) end: End,
    /// The snapshot that was looked for.
    pub(super) found: Option<i64>,
}

impl<'a> Walk<'a> {
    pub(super) fn from(
        metadata: &'a TableMetadata,
        start: Option<i64>,
        is_goal: impl Fn(i64) -> bool,
    ) -> Self {
        let mut passed = Vec::new();
        // Corrupt metadata could hold a cycle.
        let mut seen = HashSet::new();
        let mut next = start;
        while let Some(id) = next {
            if is_goal(id) {
                return Self {
                    passed,
                    end: End::Found,
                    found: Some(id),
                };
            }
            let Some(snapshot) = metadata.snapshot_by_id(id).filter(|_| seen.insert(id)) else {
                return Self {
                    passed,
                    end: End::Expired,
                    found: None,
                };
            };
            passed.push(snapshot);
            next = snapshot.parent_snapshot_id();
        }
        Self {
            passed,
            end: End::Root,
            found: None,
        }
    }
}
