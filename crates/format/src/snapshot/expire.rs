//! Removing snapshots that nobody keeps.
//!
//! What is kept is decided by the rules of the specification ("Snapshot Retention Policy"), per ref:
//!
//! - of a branch, from its head back over its ancestors, as many snapshots as
//!   `min-snapshots-to-keep` says, and all that are younger than `max-snapshot-age-ms`;
//! - of a tag, its snapshot;
//! - a snapshot that no ref reaches, as long as it is younger than the table's own age limit;
//! - whatever the caller says is still needed.
//!
//! A branch or tag goes only where a `max-ref-age-ms` was set and has passed; `main` never does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use async_trait::async_trait;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use iceberg::{TableRequirement, TableUpdate};
use serde::Serialize;

use crate::commit::{Mark, Operation, PlannedChange, TableChange};
use crate::properties::HistoryProperties;
use crate::{Error, Result, Table};

/// Snapshots that must stay, each with the reasons, which are shown to people.
pub type NeededSnapshots = BTreeMap<i64, BTreeSet<String>>;

/// Removes snapshots from a table's metadata. Their files are another matter: see
/// [`reach`](crate::reach).
#[derive(Debug, Clone, Default)]
pub struct ExpireSnapshots {
    /// The age and the number where neither the ref nor the table says anything; the table's own
    /// properties win.
    pub defaults: HistoryProperties,
    /// Snapshots that stay whatever their age.
    pub needed: NeededSnapshots,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// It is the head of a branch.
    Head {
        /// The branch.
        branch: String,
    },
    /// It is one of the newest of a branch.
    Newest {
        /// The branch.
        branch: String,
        /// How many are kept.
        keep: u32,
    },
    /// It is younger than the age limit of a branch, or of snapshots that no ref reaches.
    Young {
        /// The branch.
        #[serde(skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
    /// A tag names it.
    Tag {
        /// The tag.
        tag: String,
    },
    /// It is needed for something else.
    Needed {
        /// What for.
        by: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { branch } => write!(f, "head of {branch}"),
            Self::Newest { branch, keep: 1 } => write!(f, "the newest of {branch}"),
            Self::Newest { branch, keep } => write!(f, "one of the newest {keep} of {branch}"),
            Self::Young {
                branch: Some(branch),
            } => write!(f, "young enough for {branch}"),
            Self::Young { branch: None } => f.write_str("young, though no ref reaches it"),
            Self::Tag { tag } => write!(f, "tag {tag}"),
            Self::Needed { by } => write!(f, "needed by {by}"),
        }
    }
}

/// A snapshot that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptSnapshot {
    /// Its id.
    pub snapshot_id: i64,
    /// When it was committed (ms since 1970 UTC).
    pub timestamp_ms: i64,
    /// Why it stays.
    pub reasons: BTreeSet<Reason>,
}

/// A snapshot that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpiredSnapshot {
    /// Its id.
    pub snapshot_id: i64,
    /// When it was committed (ms since 1970 UTC).
    pub timestamp_ms: i64,
}

/// What an expiry would do to a table's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExpiryPlan {
    /// The snapshots that go, oldest first.
    pub expired: Vec<ExpiredSnapshot>,
    /// The snapshots that stay, oldest first.
    pub kept: Vec<KeptSnapshot>,
    /// The branches and tags that go.
    pub refs: Vec<String>,
}

impl ExpiryPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.refs.is_empty()
    }

    /// The ids of the snapshots that go.
    pub fn expired_ids(&self) -> Vec<i64> {
        let expired = self.expired.iter();
        expired.map(|snapshot| snapshot.snapshot_id).collect()
    }
}

impl ExpireSnapshots {
    /// What would go and what would stay at this head, by the clock of the table's environment. A
    /// pure function of metadata and time.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a table with `gc.enabled=false` or with a
    /// property that makes no sense.
    pub fn decide(&self, table: &Table) -> Result<ExpiryPlan> {
        let at = |error: Error| error.with("table", table.ident());
        check_collectable(table)?;
        let history = HistoryProperties::of(table.metadata()).map_err(at)?;
        let history = history.or(&self.defaults);
        let now = table.environment().clock().now_millis();
        let cutoff = |age: i64| now.saturating_sub(age);

        let mut reasons: BTreeMap<i64, BTreeSet<Reason>> = BTreeMap::new();
        let mut keep = |id: i64, reason: Reason| {
            reasons.entry(id).or_default().insert(reason);
        };
        let mut refs = Vec::new();
        let mut reached: HashSet<i64> = HashSet::new();
        for (name, reference) in table.refs()? {
            if is_too_old(table, &name, &reference, &history, now) {
                refs.push(name);
                continue;
            }
            let head = reference.snapshot_id;
            match reference.retention {
                SnapshotRetention::Tag { .. } => {
                    keep(head, Reason::Tag { tag: name });
                    reached.insert(head);
                }
                SnapshotRetention::Branch {
                    min_snapshots_to_keep,
                    max_snapshot_age_ms,
                    ..
                } => {
                    let least = min_snapshots_to_keep
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or_else(|| history.min_snapshots());
                    let oldest = cutoff(max_snapshot_age_ms.unwrap_or_else(|| history.max_age()));
                    let branch = || name.clone();
                    keep(head, Reason::Head { branch: branch() });
                    let mut whole = true;
                    for (snapshot, place) in table.ancestors(Some(head)).zip(0_u32..) {
                        let id = snapshot.snapshot_id();
                        reached.insert(id);
                        let newest = place < least;
                        let young = snapshot.timestamp_ms() >= oldest;
                        // Without gaps: what is behind a snapshot that goes has no way to the head.
                        whole &= newest || young;
                        if !whole {
                            continue;
                        }
                        if newest {
                            let branch = branch();
                            keep(
                                id,
                                Reason::Newest {
                                    branch,
                                    keep: least,
                                },
                            );
                        }
                        if young {
                            let branch = Some(branch());
                            keep(id, Reason::Young { branch });
                        }
                    }
                }
            }
        }
        for snapshot in table.metadata().snapshots() {
            let id = snapshot.snapshot_id();
            let young = snapshot.timestamp_ms() >= cutoff(history.max_age());
            if young && !reached.contains(&id) {
                keep(id, Reason::Young { branch: None });
            }
            for by in self.needed.get(&id).into_iter().flatten() {
                keep(id, Reason::Needed { by: by.clone() });
            }
        }
        let mut plan = ExpiryPlan {
            refs,
            ..ExpiryPlan::default()
        };
        let mut snapshots: Vec<_> = table.metadata().snapshots().collect();
        snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id()));
        for snapshot in snapshots {
            let (snapshot_id, timestamp_ms) = (snapshot.snapshot_id(), snapshot.timestamp_ms());
            match reasons.remove(&snapshot_id) {
                Some(reasons) => plan.kept.push(KeptSnapshot {
                    snapshot_id,
                    timestamp_ms,
                    reasons,
                }),
                None => plan.expired.push(ExpiredSnapshot {
                    snapshot_id,
                    timestamp_ms,
                }),
            }
        }
        Ok(plan)
    }

    /// The change that an expiry makes at this head; none where there is nothing to do.
    ///
    /// # Errors
    /// As [`decide`](Self::decide).
    pub fn change(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let plan = self.decide(base)?;
        if plan.is_empty() {
            return Ok(None);
        }
        let metadata = base.metadata();
        let mut requirements = vec![TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        }];
        // What stays was decided by where the refs are.
        for (name, reference) in base.refs()? {
            requirements.push(TableRequirement::RefSnapshotIdMatch {
                r#ref: name,
                snapshot_id: Some(reference.snapshot_id),
            });
        }
        let mut updates: Vec<TableUpdate> = plan
            .refs
            .iter()
            .map(|name| TableUpdate::RemoveSnapshotRef {
                ref_name: name.clone(),
            })
            .collect();
        let ids = plan.expired_ids();
        for id in &ids {
            if metadata.statistics_for_snapshot(*id).is_some() {
                updates.push(TableUpdate::RemoveStatistics { snapshot_id: *id });
            }
            if metadata.partition_statistics_for_snapshot(*id).is_some() {
                updates.push(TableUpdate::RemovePartitionStatistics { snapshot_id: *id });
            }
        }
        if !ids.is_empty() {
            updates.push(TableUpdate::RemoveSnapshots {
                snapshot_ids: ids.clone(),
            });
        }
        Ok(Some(PlannedChange {
            change: TableChange {
                ident: base.ident().clone(),
                requirements,
                updates,
            },
            mark: Mark::Removed {
                snapshots: ids,
                refs: plan.refs,
            },
            scratch: Vec::new(),
        }))
    }
}

#[async_trait]
impl Operation for ExpireSnapshots {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.change(base)
    }
}

/// Whether files of this table may be deleted at all.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a table with `gc.enabled=false`.
pub fn check_collectable(table: &Table) -> Result<()> {
    let gc = table.metadata().properties().get("gc.enabled");
    if gc.is_some_and(|value| value.trim().eq_ignore_ascii_case("false")) {
        return Err(
            Error::invalid("the table's files are protected, so nothing of it expires")
                .with("table", table.ident())
                .with("property", "gc.enabled=false")
                .help("other tables may use its files; set gc.enabled=true if none does"),
        );
    }
    Ok(())
}

/// Whether a ref has outlived the age that was set for it.
fn is_too_old(
    table: &Table,
    name: &str,
    reference: &SnapshotReference,
    history: &HistoryProperties,
    now: i64,
) -> bool {
    let own = match reference.retention {
        SnapshotRetention::Branch { max_ref_age_ms, .. }
        | SnapshotRetention::Tag { max_ref_age_ms } => max_ref_age_ms,
    };
    let (Some(age), true) = (own.or(history.max_ref_age_ms), name != MAIN_BRANCH) else {
        return false;
    };
    let snapshot = table.metadata().snapshot_by_id(reference.snapshot_id);
    snapshot.is_some_and(|snapshot| now.saturating_sub(snapshot.timestamp_ms()) > age)
}
