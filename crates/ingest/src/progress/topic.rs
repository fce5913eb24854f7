//! How far a flow has come in a Kafka topic.
//!
//! A position names the next offset of every partition that the flow knows, and so does each delta:
//! the newest record alone says where the flow is, whatever came before it.
//!
//! An offset says nothing about *which* log it is an offset of: a topic that was deleted and made anew
//! counts from 0 again. So a position also keeps the id of the cluster and, of each partition, a
//! [`Mark`] of the last message that was taken. Who goes on from a position reads that message again
//! and compares.

use std::collections::BTreeMap;

use uuid::Uuid;

/// The last message that was taken of a partition, to know its log again by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The message's offset.
    pub offset: i64,
    /// A hash of its timestamp, key and payload.
    pub digest: u64,
}

impl Mark {
    /// The mark of a message. The timestamp is in milliseconds since 1970, if there is one.
    pub fn of(
        offset: i64,
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> Self {
        // A fixed name space, so that the hashes differ from anybody else's version 5 UUIDs.
        const NAMESPACE: Uuid = Uuid::from_u128(0x2b1d_8f60_55c7_5e6f_8a4e_91c3_07d2_6e15);
        let key = key.unwrap_or_default();
        let payload = payload.unwrap_or_default();
        let mut bytes = Vec::with_capacity(16 + key.len() + payload.len());
        bytes.extend_from_slice(&timestamp.unwrap_or(i64::MIN).to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(payload);
        let (digest, _) = Uuid::new_v5(&NAMESPACE, &bytes).as_u64_pair();
        Self { offset, digest }
    }
}

/// How far a flow has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPosition {
    /// The offset that is read next; all before it are taken.
    pub next: i64,
    /// The last message that was taken, where it is known.
    pub last: Option<Mark>,
}

/// How far a flow has come in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPosition {
    /// The id of the cluster, where the brokers tell it.
    pub cluster: Option<String>,
    /// The topic.
    pub topic: String,
    /// Every partition that the flow knows.
    pub partitions: BTreeMap<i32, PartitionPosition>,
}

/// What one commit took from one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRange {
    /// The offset that would have been read next before; none for a partition that was not known.
    pub from: Option<i64>,
    /// The offset that is read next.
    pub to: i64,
    /// The last message that was taken, of this commit or of an earlier one.
    pub last: Option<Mark>,
}

/// What one commit took from a topic: a range of every partition that the flow knows, empty ones
/// among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDelta {
    /// The id of the cluster, where the brokers tell it.
    pub cluster: Option<String>,
    /// The topic.
    pub topic: String,
    /// Every partition that the flow knows.
    pub partitions: BTreeMap<i32, PartitionRange>,
}

impl TopicDelta {
    /// The delta that stays at a position.
    pub fn nothing(at: &TopicPosition) -> Self {
        let range = |(partition, place): (&i32, &PartitionPosition)| {
            let range = PartitionRange {
                from: Some(place.next),
                to: place.next,
                last: place.last,
            };
            (*partition, range)
        };
        Self {
            cluster: at.cluster.clone(),
            topic: at.topic.clone(),
            partitions: at.partitions.iter().map(range).collect(),
        }
    }

    /// The position behind this delta.
    pub(super) fn end(&self) -> TopicPosition {
        let place = |(partition, range): (&i32, &PartitionRange)| {
            let place = PartitionPosition {
                next: range.to,
                last: range.last,
            };
            (*partition, place)
        };
        TopicPosition {
            cluster: self.cluster.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions.iter().map(place).collect(),
        }
    }

    /// The position before this delta, as far as it tells; none at the start. The marks of the last
    /// messages are not told.
    pub(super) fn start(&self) -> Option<TopicPosition> {
        let place = |(partition, range): (&i32, &PartitionRange)| {
            let next = range.from?;
            Some((*partition, PartitionPosition { next, last: None }))
        };
        let partitions: BTreeMap<_, _> = self.partitions.iter().filter_map(place).collect();
        (!partitions.is_empty()).then(|| TopicPosition {
            cluster: self.cluster.clone(),
            topic: self.topic.clone(),
            partitions,
        })
    }

    /// The position behind this delta, if it begins where this position is.
    pub(super) fn after(&self, before: Option<&TopicPosition>) -> Result<TopicPosition, String> {
        if let Some(before) = before.filter(|before| before.topic != self.topic) {
            return Err(format!(
                "the batch is of topic {} and the flow reads {}",
                self.topic, before.topic
            ));
        }
        for (partition, range) in &self.partitions {
            let known = before.and_then(|before| before.partitions.get(partition));
            let known = known.map(|place| place.next);
            if range.from != known {
                return Err(format!(
                    "the batch begins at {:?} in partition {partition} of topic {} and the flow is \
                     at {known:?}",
                    range.from, self.topic
                ));
            }
        }
        Ok(self.end())
    }
}
