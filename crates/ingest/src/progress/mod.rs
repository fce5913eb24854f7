//! How far a flow has come, recorded in the commits that took it there.
//!
//! A flow moves rows from a source into a table. What it has taken is written in the same commit as
//! the rows, twice:
//!
//! - in the **summary of the snapshot**, under `berglake.flow.<flow>`: what this commit took, a
//!   [`Delta`];
//! - in the **table's properties**, under the same name: all that was taken up to a snapshot, a
//!   [`Position`], with that snapshot's id and sequence number.
//!
//! The truth is the newest record on the ancestry of the table's head. The property is a cache for
//! ancestors that have expired:
//!
//! ```text
//!   snapshots   s1 ── s2 ── s3 ── s4 ── s5 (head)        property: position as of s3
//!   summaries   d1    d2    d3    –     d5               progress = that position + d5
//! ```
//!
//! Snapshots without a record, such as appends of other engines and compactions, are walked past. If
//! the property's snapshot is neither on the head's ancestry nor older than all that is left of it,
//! the table was rolled back under the flow: [`Progress::RolledBack`]. The flow then stops, and a
//! person says whether the rows that are gone are taken again or skipped ([`Resume`]). Metadata tells
//! of a rollback only as long as not everything around it has expired, so expiry must leave the
//! snapshots that a flow has not seen yet.
//!
//! Everything here is a pure function of table metadata.

mod record;
#[cfg(test)]
mod tests;
mod topic;
#[cfg(test)]
mod topic_tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use berglake_format::snapshot::{CommitNotes, NextSnapshot};
use berglake_format::{Error, ErrorKind, Result};
use chrono::{DateTime, SubsecRound, Utc};
use iceberg::spec::{SnapshotRef, TableMetadata};
use uuid::Uuid;

use crate::files::SourceFile;
use record::{Cached, decode_cached, decode_delta, encode_cached, encode_delta};
use walk::{End, Walk};

pub use topic::{Mark, PartitionPosition, PartitionRange, TopicDelta, TopicPosition};

/// What the keys of all records begin with.
const KEY_PREFIX: &str = "berglake.flow.";

/// The name of a flow, unique among the flows into one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(Arc<str>);

impl FlowId {
    /// A flow of this name. A flow with several sources has one id for each, such as
    /// `gold.top/silver.movies`.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty name or one with control characters.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self> {
        let name = name.into();
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            return Err(Error::invalid("this cannot be the name of a flow")
                .with("flow", format!("{name:?}")));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the flow's records, in snapshot summaries and in table properties.
    pub fn key(&self) -> String {
        format!("{KEY_PREFIX}{}", self.0)
    }

    /// The flows that have left a record in a table, in its properties or in a snapshot that it still
    /// has.
    pub fn all_of(metadata: &TableMetadata) -> BTreeSet<Self> {
        let in_summaries = metadata
            .snapshots()
            .flat_map(|snapshot| snapshot.summary().additional_properties.keys());
        metadata
            .properties()
            .keys()
            .chain(in_summaries)
            .filter_map(|key| Self::new(key.strip_prefix(KEY_PREFIX)?).ok())
            .collect()
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// The store's mark.
    ETag(String),
    /// The time of the last write, where the store has no marks.
    Modified(DateTime<Utc>),
}

/// A version of a file, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileMark {
    /// Its length in bytes.
    pub size: u64,
    /// Its version.
    pub version: Version,
}

impl From<&SourceFile> for FileMark {
    fn from(file: &SourceFile) -> Self {
        let version = match &file.e_tag {
            Some(tag) => Version::ETag(tag.clone()),
            None => Version::Modified(file.last_modified.trunc_subsecs(6)),
        };
        Self {
            size: file.size,
            version,
        }
    }
}

/// Files by their locations.
pub type FileSet = BTreeMap<String, FileMark>;

/// What one commit took from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// A range of snapshots of a table.
    Table {
        /// The UUID of the source table: a table that was dropped and made anew is another source.
        source: Uuid,
        /// The snapshot up to which the flow had come before; none at its start.
        from: Option<i64>,
        /// The snapshot up to which it has come.
        to: i64,
    },
    /// Files, all of their records.
    Files(FileSet),
    /// Messages of a Kafka topic.
    Topic(TopicDelta),
    /// Nothing: the flow was set back to its start.
    Start,
}

impl Delta {
    /// The delta that takes these files.
    pub fn files<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Self {
        let marks = files
            .into_iter()
            .map(|file| (file.location.to_string(), file.into()));
        Self::Files(marks.collect())
    }
}

/// All that a flow has taken from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The rows of a table up to a snapshot.
    Table {
        /// The UUID of the source table.
        source: Uuid,
        /// The last snapshot that was taken.
        at: i64,
    },
    /// Files.
    Files(FileSet),
    /// Messages of a Kafka topic, up to an offset of each partition.
    Topic(TopicPosition),
    /// Nothing: the flow was set back to its start.
    Start,
}

impl Position {
    /// The position after a delta, if the delta begins where this position is.
    fn advanced(before: Option<&Self>, delta: &Delta) -> Result<Self, String> {
        match (before, delta) {
            (
                None,
                Delta::Table {
                    source,
                    from: None,
                    to,
                },
            ) => Ok(Self::Table {
                source: *source,
                at: *to,
            }),
            (
                Some(Self::Table { source, at }),
                Delta::Table {
                    source: same,
                    from,
                    to,
                },
            ) => {
                if source != same {
                    return Err(format!("the source is table {same} and was table {source}"));
                }
                if *from != Some(*at) {
                    return Err(format!(
                        "the batch begins behind {from:?} and the flow is at {at}"
                    ));
                }
                Ok(Self::Table {
                    source: *source,
                    at: *to,
                })
            }
            (
                None,
                Delta::Table {
                    from: Some(from), ..
                },
            ) => Err(format!(
                "the batch begins behind {from} and the flow has no progress"
            )),
            (None, Delta::Files(files)) => Ok(Self::Files(files.clone())),
            (Some(Self::Files(known)), Delta::Files(files)) => {
                if let Some(twice) = files.keys().find(|location| known.contains_key(*location)) {
                    return Err(format!("the flow has taken {twice} already"));
                }
                let mut all = known.clone();
                all.extend(
                    files
                        .iter()
                        .map(|(location, mark)| (location.clone(), mark.clone())),
                );
                Ok(Self::Files(all))
            }
            (None, Delta::Topic(delta)) => delta.after(None).map(Self::Topic),
            (Some(Self::Topic(before)), Delta::Topic(delta)) => {
                delta.after(Some(before)).map(Self::Topic)
            }
            (_, Delta::Start) => Err("a batch is no way back to the start".to_owned()),
            (Some(_), _) => Err("the flow had a source of another kind".to_owned()),
        }
    }

    /// The position as recorded history tells it: there is no doubt about a record that was
    /// committed, so it is taken as it is. A reset that was asked for may begin anywhere.
    fn replayed(before: Option<Self>, delta: Delta) -> Self {
        match (before, delta) {
            (_, Delta::Table { source, to, .. }) => Self::Table { source, at: to },
            (Some(Self::Files(mut known)), Delta::Files(files)) => {
                known.extend(files);
                Self::Files(known)
            }
            (_, Delta::Files(files)) => Self::Files(files),
            (_, Delta::Topic(delta)) => Self::Topic(delta.end()),
            (_, Delta::Start) => Self::Start,
        }
    }

    /// The position before a delta that led to this one. None in the outer place means that it
    /// cannot be told, in the inner place that it is the start.
    fn undone(self, delta: &Delta) -> Option<Option<Self>> {
        match (self, delta) {
            (_, Delta::Table { source, from, .. }) => Some(from.map(|at| Self::Table {
                source: *source,
                at,
            })),
            (Self::Files(mut known), Delta::Files(files)) => {
                known.retain(|location, _| !files.contains_key(location));
                Some((!known.is_empty()).then_some(Self::Files(known)))
            }
            (_, Delta::Topic(delta)) => Some(delta.start().map(Self::Topic)),
            (Self::Table { .. } | Self::Topic(_) | Self::Start, Delta::Files(_))
            | (_, Delta::Start) => None,
        }
    }
}

/// How far a flow has come, as a table's metadata tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is recorded: the flow has not run into this table.
    Fresh,
    /// The flow has taken this much.
    At(Position),
    /// The table was rolled back, and rows that the flow had written are gone.
    RolledBack(RolledBack),
}

/// A rollback under a flow: the record and the head's ancestry disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The snapshot of the last record, which is no ancestor of the head.
    pub recorded_at: i64,
    /// All that the flow had taken there.
    pub recorded: Position,
    /// What the head's ancestry says.
    pub head: HeadPosition,
}

/// What the ancestry of a head says about a flow after a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadPosition {
    /// The flow had not begun.
    Start,
    /// The flow had come this far.
    At(Position),
    /// The snapshots that would tell have expired.
    Expired,
}

/// What to do after a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The rows that are gone are taken again: the flow goes on from where the head is.
    Replay,
    /// They stay gone: the flow goes on from where it was.
    Skip,
}

impl FromStr for Resume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "replay" => Ok(Self::Replay),
            "skip" => Ok(Self::Skip),
            other => Err(Error::invalid("resume is replay or skip").with("resume", other)),
        }
    }
}

impl Progress {
    /// The progress of a flow into the table of this metadata.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when a record cannot be read, or when records of files go
    /// back beyond the expired snapshots and the property is gone.
    pub fn of(metadata: &TableMetadata, flow: &FlowId) -> Result<Self> {
        let cached = match metadata.properties().get(&flow.key()) {
            Some(text) => Some(decode_cached(text).map_err(|error| error.with("flow", flow))?),
            None => None,
        };
        let walk = Walk::from(metadata, metadata.current_snapshot_id(), |id| {
            cached.as_ref().is_some_and(|cached| cached.snapshot == id)
        });
        // The deltas that are newer than the property, oldest first.
        let mut newer = Vec::new();
        for snapshot in walk.passed.iter().rev() {
            newer.extend(delta_of(snapshot, flow)?);
        }
        let Some(cached) = cached else {
            if newer.is_empty() {
                return Ok(Self::Fresh);
            }
            let position = replay(None, newer);
            if walk.end == End::Expired && matches!(position, Some(Position::Files(_))) {
                return Err(Error::corrupt("a flow's record is gone from the table's properties, and older snapshots have expired")
                    .with("flow", flow)
                    .with("property", flow.key())
                    .help("restore the property from an older metadata file, or refresh the table in full"));
            }
            return Ok(position.map_or(Self::Fresh, Self::At));
        };
        let is_ancestor = match walk.end {
            End::Found => true,
            // An expired ancestor is older than all that is left.
            End::Expired => {
                metadata.snapshot_by_id(cached.snapshot).is_none()
                    && walk
                        .passed
                        .last()
                        .is_some_and(|oldest| cached.sequence < oldest.sequence_number())
            }
            End::Root => false,
        };
        if is_ancestor {
            return Ok(replay(Some(cached.position), newer).map_or(Self::Fresh, Self::At));
        }
        let head = head_position(metadata, flow, &cached, &walk, newer)?;
        Ok(Self::RolledBack(RolledBack {
            recorded_at: cached.snapshot,
            recorded: cached.position,
            head,
        }))
    }

    /// The position to go on from; none at the start of a flow.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) after a rollback, unless `resume` says what to do, and when
    /// it says replay and what would have to be replayed has expired.
    pub fn resume(self, flow: &FlowId, resume: Option<Resume>) -> Result<Option<Position>> {
        let rolled_back = match self {
            Self::Fresh => return Ok(None),
            Self::At(Position::Start) => return Ok(None),
            Self::At(position) => return Ok(Some(position)),
            Self::RolledBack(rolled_back) => rolled_back,
        };
        let stop = |message: &str, help: &str| {
            Err(Error::new(ErrorKind::Conflict, message)
                .with("flow", flow)
                .with("recorded-at", rolled_back.recorded_at)
                .help(help))
        };
        match (resume, rolled_back.head) {
            (Some(Resume::Skip), _) if rolled_back.recorded == Position::Start => Ok(None),
            (Some(Resume::Skip), _) => Ok(Some(rolled_back.recorded)),
            (Some(Resume::Replay), HeadPosition::Start) => Ok(None),
            (Some(Resume::Replay), HeadPosition::At(Position::Start)) => Ok(None),
            (Some(Resume::Replay), HeadPosition::At(position)) => Ok(Some(position)),
            (Some(Resume::Replay), HeadPosition::Expired) => stop(
                "the table was rolled back, and the snapshots that say what to replay have expired",
                "refresh the table in full, or go on with --resume skip",
            ),
            (None, _) => stop(
                "the table was rolled back: rows that this flow had written are gone",
                "run with --resume replay to take them again, or with --resume skip to leave them out",
            ),
        }
    }
}

/// What a commit does to the progress of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The flow.
    pub flow: FlowId,
    /// Where the batch was planned from; the table must still say the same.
    pub from: Option<Position>,
    /// What the batch takes.
    pub delta: Delta,
    /// What was told to do about a rollback, if there was one when the batch was planned.
    pub resume: Option<Resume>,
}

impl Step {
    /// Adds the step's records to the notes of a commit on this head.
    ///
    /// This is the fence: a flow that was overtaken by another run of itself finds that the table
    /// no longer says what its batch was planned from.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the head's progress is not `from`, or after a rollback
    /// that nobody has decided about; [`InvalidInput`](ErrorKind::InvalidInput) if the delta does
    /// not begin at `from`.
    pub fn record(
        &self,
        base: &TableMetadata,
        next: NextSnapshot,
        notes: &mut CommitNotes,
    ) -> Result<()> {
        let recorded = Progress::of(base, &self.flow)?.resume(&self.flow, self.resume)?;
        if recorded != self.from {
            return Err(Error::new(
                ErrorKind::Conflict,
                "another run of this flow has committed since this batch was planned",
            )
            .with("flow", &self.flow)
            .help("nothing was written twice; run again to go on from there"));
        }
        let position = Position::advanced(self.from.as_ref(), &self.delta)
            .map_err(|reason| Error::invalid(reason).with("flow", &self.flow))?;
        write_records(&self.flow, &self.delta, position, next, notes)
    }
}

/// Adds the records that set a flow back to its start, whatever the table says. The commit that
/// carries them removes all rows.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if the record cannot be written as JSON.
pub fn record_start(flow: &FlowId, next: NextSnapshot, notes: &mut CommitNotes) -> Result<()> {
    write_records(flow, &Delta::Start, Position::Start, next, notes)
}

fn write_records(
    flow: &FlowId,
    delta: &Delta,
    position: Position,
    next: NextSnapshot,
    notes: &mut CommitNotes,
) -> Result<()> {
    let cached = Cached {
        snapshot: next.id,
        sequence: next.sequence_number,
        position,
    };
    let key = flow.key();
    notes.summary.insert(key.clone(), encode_delta(delta)?);
    notes.properties.insert(key, encode_cached(&cached)?);
    Ok(())
}

/// The files of a listing that a flow has not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files that the flow does not know.
    pub new: Vec<SourceFile>,
    /// Files that it has taken in another version. They are not taken again, because some of their
    /// rows would then be there twice; the user should hear of them.
    pub changed: Vec<SourceFile>,
}

/// What of a listing is left to take from a position.
pub fn pending(listing: &[SourceFile], position: Option<&Position>) -> Pending {
    let mut pending = Pending::default();
    for file in listing {
        let known = match position {
            Some(Position::Files(known)) => known.get(&*file.location),
            _ => None,
        };
        match known {
            None => pending.new.push(file.clone()),
            Some(mark) if *mark != FileMark::from(file) => pending.changed.push(file.clone()),
            Some(_) => {}
        }
    }
    pending
}

fn delta_of(snapshot: &SnapshotRef, flow: &FlowId) -> Result<Option<Delta>> {
    match snapshot.summary().additional_properties.get(&flow.key()) {
        Some(text) => decode_delta(text).map(Some).map_err(|error| {
            error
                .with("flow", flow)
                .with("snapshot", snapshot.snapshot_id())
        }),
        None => Ok(None),
    }
}

fn replay(start: Option<Position>, deltas: impl IntoIterator<Item = Delta>) -> Option<Position> {
    deltas.into_iter().fold(start, |position, delta| {
        Some(Position::replayed(position, delta))
    })
}

/// What the head's ancestry says when the property's snapshot is not on it: the property without the
/// deltas back to where the two histories part, then the deltas of the head's history after that.
fn head_position(
    metadata: &TableMetadata,
    flow: &FlowId,
    cached: &Cached,
    head: &Walk<'_>,
    on_head: Vec<Delta>,
) -> Result<HeadPosition> {
    let told = |position: Option<Position>| position.map_or(HeadPosition::Start, HeadPosition::At);
    if head.end == End::Root {
        return Ok(told(replay(None, on_head)));
    }
    let ancestors: HashSet<i64> = head
        .passed
        .iter()
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    let lost = Walk::from(metadata, Some(cached.snapshot), |id| {
        ancestors.contains(&id)
    });
    if let Some(fork) = lost.found {
        let mut position = Some(cached.position.clone());
        for snapshot in &lost.passed {
            if let (Some(delta), Some(after)) = (delta_of(snapshot, flow)?, position.clone()) {
                match after.undone(&delta) {
                    Some(before) => position = before,
                    None => return Ok(HeadPosition::Expired),
                }
            }
        }
        let mut after_fork = Vec::new();
        for snapshot in head.passed.iter().take_while(|s| s.snapshot_id() != fork) {
            after_fork.extend(delta_of(snapshot, flow)?);
        }
        return Ok(told(replay(position, after_fork.into_iter().rev())));
    }
    // The newest record of a table or a topic is its position, whatever came before it.
    match replay(None, on_head) {
        Some(position @ (Position::Table { .. } | Position::Topic(_))) => {
            Ok(HeadPosition::At(position))
        }
        _ => Ok(HeadPosition::Expired),
    }
}
