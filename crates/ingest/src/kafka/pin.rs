//! What of a topic a run takes: a pure function of the recorded position and of what the brokers hold.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::error::KafkaError;
use crate::error::IngestError;
use crate::progress::{Mark, PartitionPosition, PartitionRange, Resume, TopicDelta, TopicPosition};

/// Where a flow begins that has read nothing yet. Partitions that are added later are always read
/// from their start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Starting {
    /// With the oldest message that is there.
    #[default]
    Earliest,
    /// With the next message that comes.
    Latest,
    /// With the first message of this time or later.
    At(DateTime<Utc>),
}

impl FromStr for Starting {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self, IngestError> {
        match text.to_ascii_lowercase().as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => DateTime::parse_from_rfc3339(text)
                .map(|time| Self::At(time.to_utc()))
                .map_err(|_| IngestError::InvalidOption {
                    option: "starting",
                    value: text.to_owned(),
                    allowed: "earliest, latest, or a time such as 2026-01-31T00:00:00Z".to_owned(),
                }),
        }
    }
}

/// What to do when messages were deleted before they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDataLoss {
    /// Fails and says which.
    #[default]
    Fail,
    /// Goes on with the oldest message that is left, and warns.
    Continue,
}

impl FromStr for OnDataLoss {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self, IngestError> {
        match text.to_ascii_lowercase().as_str() {
            "fail" => Ok(Self::Fail),
            "continue" => Ok(Self::Continue),
            _ => Err(IngestError::InvalidOption {
                option: "on_data_loss",
                value: text.to_owned(),
                allowed: "fail or continue".to_owned(),
            }),
        }
    }
}

/// How to go on from a position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinOptions {
    /// Where a flow begins that has read nothing yet.
    pub starting: Starting,
    /// What to do when messages were deleted before they were read.
    pub on_data_loss: OnDataLoss,
    /// What was decided about a topic that was made anew: `Replay` takes all that it holds now,
    /// `Skip` goes on from its end.
    pub resume: Option<Resume>,
}

/// The offsets that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Of the oldest message that may be there.
    pub(super) low: i64,
    /// Behind the newest message of a committed transaction.
    pub(super) high: i64,
    /// Where a flow begins that has read nothing yet.
    pub(super) start: i64,
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) cluster: Option<String>,
    pub(super) partitions: BTreeMap<i32, Held>,
}

/// What is read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PinnedRange {
    /// What is recorded of the partition; nothing for one that the flow does not know yet.
    pub(super) known: Option<PartitionPosition>,
    /// The first offset that is taken.
    pub(super) start: i64,
    /// Behind the last offset that is taken.
    pub(super) end: i64,
    /// The message before `start` by which the log is known again, if it is still there.
    pub(super) expect: Option<Mark>,
}

impl PinnedRange {
    /// Where reading begins: with the message to compare, if there is one.
    pub(super) fn read_from(&self) -> i64 {
        self.expect.map_or(self.start, |mark| mark.offset)
    }
}

/// A pinned range of a topic: what a run takes, however much comes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    pub(super) cluster: Option<String>,
    pub(super) topic: Arc<str>,
    pub(super) ranges: BTreeMap<i32, PinnedRange>,
    /// Whether the position has to be recorded even if no message is taken: else the next run would
    /// find another start.
    pub(super) must_record: bool,
    pub(super) warnings: Vec<String>,
}

impl Pinned {
    /// Whether there is nothing to take and nothing to record.
    pub fn is_empty(&self) -> bool {
        !self.must_record && self.ranges.values().all(|range| range.start == range.end)
    }

    /// Whether the position has to be recorded even if no message is taken, because the next run would
    /// find another one.
    pub fn must_record(&self) -> bool {
        self.must_record
    }

    /// The most messages that there can be in the range.
    pub fn messages(&self) -> u64 {
        self.lag().map(|(_, messages)| messages).sum()
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// How many messages there can be at most in each partition.
    pub fn lag(&self) -> impl Iterator<Item = (i32, u64)> {
        self.ranges.iter().map(|(partition, range)| {
            let messages = u64::try_from(range.end - range.start).unwrap_or(0);
            (*partition, messages)
        })
    }

    /// What the user should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The delta that takes nothing yet: it begins at the recorded position and ends where reading
    /// begins.
    pub(super) fn begin(&self) -> TopicDelta {
        let range = |(partition, range): (&i32, &PinnedRange)| {
            let begun = PartitionRange {
                from: range.known.as_ref().map(|known| known.next),
                to: range.start,
                last: range
                    .known
                    .as_ref()
                    .filter(|known| known.next == range.start)
                    .and_then(|known| known.last),
            };
            (*partition, begun)
        };
        TopicDelta {
            cluster: self.cluster.clone(),
            topic: self.topic.to_string(),
            partitions: self.ranges.iter().map(range).collect(),
        }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let due = self.ranges.values().filter(|range| range.start < range.end);
        write!(
            f,
            "up to {} messages of {} of {} partitions of topic {}",
            self.messages(),
            due.count(),
            self.ranges.len(),
            self.topic
        )
    }
}

/// Pins the range from the recorded position to the end that the brokers tell.
pub(super) fn pin(
    topic: &Arc<str>,
    recorded: Option<&TopicPosition>,
    seen: &Seen,
    options: &PinOptions,
) -> Result<Pinned, KafkaError> {
    if let Some(recorded) = recorded {
        if recorded.topic != **topic {
            return Err(KafkaError::OtherTopic {
                recorded: recorded.topic.clone(),
                topic: topic.clone(),
            });
        }
        if let Some(reason) = recreated(recorded, seen) {
            let Some(resume) = options.resume else {
                return Err(KafkaError::Recreated {
                    topic: topic.clone(),
                    reason,
                });
            };
            return Ok(anew(topic, recorded, seen, resume));
        }
    }
    let mut warnings = Vec::new();
    let mut lost = false;
    let mut ranges = BTreeMap::new();
    for (partition, held) in &seen.partitions {
        let known = recorded.and_then(|recorded| recorded.partitions.get(partition));
        let start = match known {
            Some(known) if known.next < held.low => {
                let gone = KafkaError::Expired {
                    topic: topic.clone(),
                    partition: *partition,
                    from: known.next,
                    to: held.low - 1,
                };
                if options.on_data_loss == OnDataLoss::Fail {
                    return Err(gone);
                }
                warnings.push(format!("{gone}; the flow goes on with offset {}", held.low));
                lost = true;
                held.low
            }
            Some(known) => known.next,
            None if recorded.is_some() => held.low,
            None => held.start,
        };
        let expect = known
            .filter(|known| known.next == start)
            .and_then(|known| known.last)
            .filter(|mark| held.low <= mark.offset && mark.offset < start);
        let range = PinnedRange {
            known: known.cloned(),
            start,
            end: held.high.max(start),
            expect,
        };
        ranges.insert(*partition, range);
    }
    let chosen = recorded.is_none() && options.starting != Starting::Earliest;
    Ok(Pinned {
        cluster: seen.cluster.clone(),
        topic: topic.clone(),
        ranges,
        must_record: lost || chosen,
        warnings,
    })
}

/// How the offsets tell that a topic is not the one of the recorded position, if they do.
fn recreated(recorded: &TopicPosition, seen: &Seen) -> Option<String> {
    if let (Some(before), Some(now)) = (&recorded.cluster, &seen.cluster)
        && before != now
    {
        return Some(format!(
            "it was in the cluster {before}, and these servers are the cluster {now}"
        ));
    }
    for (partition, known) in &recorded.partitions {
        match seen.partitions.get(partition) {
            None => {
                return Some(format!(
                    "it has {} partitions, and partition {partition} was read up to offset {}",
                    seen.partitions.len(),
                    known.next
                ));
            }
            Some(held) if held.high < known.next => {
                return Some(format!(
                    "partition {partition} ends at offset {}, and was read up to offset {}",
                    held.high, known.next
                ));
            }
            Some(_) => {}
        }
    }
    None
}

/// The range of a topic that was made anew. Partitions that it has no more are forgotten.
pub(super) fn anew(
    topic: &Arc<str>,
    recorded: &TopicPosition,
    seen: &Seen,
    resume: Resume,
) -> Pinned {
    let mut ranges: BTreeMap<i32, PinnedRange> = BTreeMap::new();
    for (partition, held) in &seen.partitions {
        let start = match resume {
            Resume::Replay => held.low,
            Resume::Skip => held.high,
        };
        // The offset is that of the recorded position, from which the commit goes on. The message before
        // it was one of the old topic, and must not be what the next run compares.
        let known = recorded.partitions.get(partition);
        let known = known.map(|known| PartitionPosition {
            next: known.next,
            last: None,
        });
        let range = PinnedRange {
            known,
            start,
            end: held.high,
            expect: None,
        };
        ranges.insert(*partition, range);
    }
    Pinned {
        cluster: seen.cluster.clone(),
        topic: topic.clone(),
        ranges,
        must_record: true,
        warnings: vec![format!(
            "topic {topic} was made anew; the flow goes on {}",
            match resume {
                Resume::Replay => "with all that it holds now",
                Resume::Skip => "from its end",
            }
        )],
    }
}
