//! Branches and tags: creating, dropping and moving them (specification, "Snapshot References").
//!
//! Rolling back and setting the current snapshot are moves of a branch. They undo the commits that
//! they were asked to undo and no others: where the branch is moved by somebody else while the commit
//! is tried, they end with a conflict and are not planned anew.

use std::sync::OnceLock;

use async_trait::async_trait;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use iceberg::{TableRequirement, TableUpdate};

use crate::commit::{Operation, PlannedChange};
use crate::plan::{SnapshotSelector, instant, snapshot};
use crate::{Error, ErrorKind, Result, Table};

/// What a ref is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// A line of snapshots that is written to.
    Branch,
    /// A name of one snapshot.
    Tag,
}

impl RefKind {
    fn of(reference: &SnapshotReference) -> Self {
        match reference.is_branch() {
            true => Self::Branch,
            false => Self::Tag,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// How long a ref and its snapshots are kept; the table's properties where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefRetention {
    /// The age in ms after which the ref goes.
    pub max_ref_age_ms: Option<i64>,
    /// How many snapshots of a branch are kept at least.
    pub min_snapshots_to_keep: Option<i32>,
    /// The age in ms up to which snapshots of a branch are kept.
    pub max_snapshot_age_ms: Option<i64>,
}

/// What happens where a ref of the name is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    #[default]
    Fail,
    /// It stays as it is.
    Keep,
    /// It is set anew, retention and all.
    Replace,
}

/// Creates a branch or a tag, or sets it anew.
#[derive(Debug, Clone)]
pub struct CreateRef {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RefKind,
    /// The snapshot; the head of `main` where none is named.
    pub snapshot_id: Option<i64>,
    /// How long it is kept.
    pub retention: RefRetention,
    /// What happens where it is there already.
    pub existing: Existing,
}

/// Drops a branch or a tag. Its snapshots stay until they expire.
#[derive(Debug, Clone)]
pub struct DropRef {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RefKind,
    /// Nothing is done where it is not there.
    pub if_exists: bool,
}

/// Moves a branch back to one of its ancestors.
#[derive(Debug, Clone)]
pub struct RollbackTo {
    /// The ancestor.
    pub snapshot_id: i64,
    /// The branch; `main` where none is named.
    pub branch: Option<String>,
    seen: Seen,
}

/// Moves a branch back to its newest ancestor that is older than a time.
#[derive(Debug, Clone)]
pub struct RollbackToTimestamp {
    /// The time, ms since 1970 UTC, exclusive.
    pub timestamp_ms: i64,
    /// The branch; `main` where none is named.
    pub branch: Option<String>,
    seen: Seen,
}

/// Moves a branch to any snapshot of the table.
#[derive(Debug, Clone)]
pub struct SetCurrentSnapshot {
    /// The snapshot, by id, time, branch or tag.
    pub to: SnapshotSelector,
    /// The branch; `main` where none is named.
    pub branch: Option<String>,
    seen: Seen,
}

/// Moves a branch forward to the head of another ref, which must have its head among its ancestors. A
/// branch that is not there is created.
#[derive(Debug, Clone)]
pub struct FastForward {
    /// The branch that moves.
    pub branch: String,
    /// The branch or tag that it moves to.
    pub to: String,
}

/// The head at which the operation was planned first.
#[derive(Debug, Clone, Default)]
struct Seen(OnceLock<Option<i64>>);

impl Seen {
    fn check(&self, base: &Table, branch: &str, head: Option<i64>) -> Result<()> {
        let first = *self.0.get_or_init(|| head);
        if first == head {
            return Ok(());
        }
        let text = |id: Option<i64>| id.map_or("none".to_string(), |id| id.to_string());
        Err(Error::new(
            ErrorKind::Conflict,
            "the branch was moved by another commit meanwhile",
        )
        .with("table", base.ident())
        .with("branch", branch)
        .with("was", text(first))
        .with("is", text(head))
        .help("look at the table's $history, then ask again if you still want it"))
    }
}

impl RollbackTo {
    /// Moves `main` back to this snapshot.
    pub fn new(snapshot_id: i64) -> Self {
        Self {
            snapshot_id,
            branch: None,
            seen: Seen::default(),
        }
    }
}

impl RollbackToTimestamp {
    /// Moves `main` back to what it was before this time (ms since 1970 UTC).
    pub fn new(timestamp_ms: i64) -> Self {
        Self {
            timestamp_ms,
            branch: None,
            seen: Seen::default(),
        }
    }
}

impl SetCurrentSnapshot {
    /// Moves `main` to this snapshot.
    pub fn new(to: SnapshotSelector) -> Self {
        Self {
            to,
            branch: None,
            seen: Seen::default(),
        }
    }
}

#[async_trait]
impl Operation for CreateRef {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        check_name(&self.name)?;
        let retention = self.retention()?;
        let refs = base.refs()?;
        let own = refs.get(&self.name);
        match (own, self.existing) {
            (None, _) => {}
            (Some(own), _) if RefKind::of(own) != self.kind => {
                return Err(other_kind(base, &self.name, own));
            }
            (Some(_), Existing::Keep) => return Ok(None),
            (Some(_), Existing::Replace) => {}
            (Some(_), Existing::Fail) => {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("the table has this {} already", self.kind.name()),
                )
                .with("table", base.ident())
                .with(self.kind.name(), &self.name)
                .help("say OR REPLACE or IF NOT EXISTS"));
            }
        }
        let snapshot_id = match self.snapshot_id {
            Some(id) => base.snapshot(id)?.snapshot_id(),
            None => base
                .metadata()
                .current_snapshot_id()
                .ok_or_else(|| no_snapshot(base))?,
        };
        let reference = SnapshotReference::new(snapshot_id, retention);
        Ok(set(base, &self.name, own, reference))
    }
}

impl CreateRef {
    fn retention(&self) -> Result<SnapshotRetention> {
        let kept = &self.retention;
        let positive = |what: &str, value: Option<i64>| match value {
            Some(value) if value <= 0 => Err(Error::invalid(format!("{what} must be above zero"))
                .with(self.kind.name(), &self.name)
                .with("found", value)),
            _ => Ok(()),
        };
        positive("the age of a ref", kept.max_ref_age_ms)?;
        positive("the age of snapshots", kept.max_snapshot_age_ms)?;
        let least = kept.min_snapshots_to_keep.map(i64::from);
        positive("the number of snapshots to keep", least)?;
        match self.kind {
            RefKind::Branch => Ok(SnapshotRetention::branch(
                kept.min_snapshots_to_keep,
                kept.max_snapshot_age_ms,
                kept.max_ref_age_ms,
            )),
            RefKind::Tag if least.or(kept.max_snapshot_age_ms).is_some() => Err(Error::invalid(
                "a tag names one snapshot and keeps no others",
            )
            .with("tag", &self.name)
            .help("RETAIN says how long the tag itself is kept")),
            RefKind::Tag => Ok(SnapshotRetention::Tag {
                max_ref_age_ms: kept.max_ref_age_ms,
            }),
        }
    }
}

#[async_trait]
impl Operation for DropRef {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        if self.name == MAIN_BRANCH {
            return Err(Error::invalid("the branch main cannot be dropped")
                .with("table", base.ident())
                .help("DROP TABLE drops the table"));
        }
        match base.refs()?.get(&self.name) {
            None if self.if_exists => Ok(None),
            None => Err(missing(base, &self.name)),
            Some(own) if RefKind::of(own) != self.kind => Err(other_kind(base, &self.name, own)),
            Some(own) => Ok(Some(PlannedChange::of_metadata(
                base,
                vec![at(&self.name, Some(own.snapshot_id))],
                vec![TableUpdate::RemoveSnapshotRef {
                    ref_name: self.name.clone(),
                }],
            ))),
        }
    }
}

#[async_trait]
impl Operation for RollbackTo {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let moved = Moved::of(base, self.branch.as_deref(), &self.seen)?;
        let target = base.snapshot(self.snapshot_id)?.snapshot_id();
        let mut ancestors = base.ancestors(moved.head);
        if !ancestors.any(|ancestor| ancestor.snapshot_id() == target) {
            return Err(Error::invalid(
                "the branch cannot be rolled back to a snapshot that is none of its ancestors",
            )
            .with("table", base.ident())
            .with("branch", moved.branch)
            .with("snapshot", target)
            .help("set_current_snapshot moves it to any snapshot of the table"));
        }
        moved.to(base, target)
    }
}

#[async_trait]
impl Operation for RollbackToTimestamp {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let moved = Moved::of(base, self.branch.as_deref(), &self.seen)?;
        let mut ancestors = base.ancestors(moved.head);
        let target = ancestors
            .find(|ancestor| ancestor.timestamp_ms() < self.timestamp_ms)
            .ok_or_else(|| {
                Error::not_found("the branch has no snapshot that is older than this time")
                    .with("table", base.ident())
                    .with("branch", moved.branch)
                    .with("time", instant(self.timestamp_ms))
                    .help("it may have expired; see the table's $history")
            })?
            .snapshot_id();
        moved.to(base, target)
    }
}

#[async_trait]
impl Operation for SetCurrentSnapshot {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let moved = Moved::of(base, self.branch.as_deref(), &self.seen)?;
        let (target, _) = snapshot(base, &self.to)?;
        let target = target.ok_or_else(|| no_snapshot(base))?.snapshot_id();
        moved.to(base, target)
    }
}

#[async_trait]
impl Operation for FastForward {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let refs = base.refs()?;
        let to = refs.get(&self.to).ok_or_else(|| missing(base, &self.to))?;
        let own = refs.get(&self.branch);
        let retention = match own {
            Some(own) if !own.is_branch() => return Err(other_kind(base, &self.branch, own)),
            Some(own) => {
                let mut ancestors = base.ancestors(Some(to.snapshot_id));
                if !ancestors.any(|ancestor| ancestor.snapshot_id() == own.snapshot_id) {
                    return Err(Error::invalid(
                        "the branch cannot be moved forward: its head is no ancestor of where it is to go",
                    )
                    .with("table", base.ident())
                    .with("branch", &self.branch)
                    .with("head", own.snapshot_id)
                    .with("to", &self.to)
                    .with("snapshot", to.snapshot_id)
                    .help("the two have gone apart; cherrypick_snapshot takes over single appends"));
                }
                own.retention.clone()
            }
            None => {
                check_name(&self.branch)?;
                SnapshotRetention::branch(None, None, None)
            }
        };
        let reference = SnapshotReference::new(to.snapshot_id, retention);
        Ok(set(base, &self.branch, own, reference))
    }
}

/// A branch that is about to move.
struct Moved<'a> {
    branch: &'a str,
    head: Option<i64>,
}

impl<'a> Moved<'a> {
    fn of(base: &Table, branch: Option<&'a str>, seen: &Seen) -> Result<Self> {
        let head = base.head(branch)?.map(|snapshot| snapshot.snapshot_id());
        let branch = branch.unwrap_or(MAIN_BRANCH);
        seen.check(base, branch, head)?;
        Ok(Self { branch, head })
    }

    fn to(&self, base: &Table, target: i64) -> Result<Option<PlannedChange>> {
        let refs = base.refs()?;
        let own = refs.get(self.branch);
        let retention = match own {
            Some(own) => own.retention.clone(),
            None => SnapshotRetention::branch(None, None, None),
        };
        let reference = SnapshotReference::new(target, retention);
        Ok(set(base, self.branch, own, reference))
    }
}

/// Sets a ref, or nothing where it is that already.
fn set(
    base: &Table,
    name: &str,
    own: Option<&SnapshotReference>,
    reference: SnapshotReference,
) -> Option<PlannedChange> {
    if own == Some(&reference) {
        return None;
    }
    Some(PlannedChange::of_metadata(
        base,
        vec![at(name, own.map(|own| own.snapshot_id))],
        vec![TableUpdate::SetSnapshotRef {
            ref_name: name.to_string(),
            reference,
        }],
    ))
}

fn at(name: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch {
        r#ref: name.to_string(),
        snapshot_id,
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid("a branch or tag needs a name"));
    }
    Ok(())
}

fn missing(base: &Table, name: &str) -> Error {
    let error = Error::not_found("the table has no such branch or tag")
        .with("table", base.ident())
        .with("ref", name);
    match base.refs() {
        Ok(refs) if !refs.is_empty() => {
            let names: Vec<&str> = refs.keys().map(String::as_str).collect();
            error.help(format!("it has: {}", names.join(", ")))
        }
        _ => error,
    }
}

fn other_kind(base: &Table, name: &str, own: &SnapshotReference) -> Error {
    Error::invalid(format!("this is a {}", RefKind::of(own).name()))
        .with("table", base.ident())
        .with("ref", name)
}

fn no_snapshot(base: &Table) -> Error {
    Error::invalid("the table has no snapshot yet, so no ref can name one")
        .with("table", base.ident())
        .help("write to it first")
}
