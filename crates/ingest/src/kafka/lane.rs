//! A partition that is being read: how far it has come, and how the end of its range is known.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::time::Instant;

use super::client::{Client, Context};
use super::error::KafkaError;
use super::pin::PinnedRange;
use crate::error::Result;
use crate::progress::Mark;

/// The pause between two questions whether a partition reaches to the end of its range.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of the end of a range that does not end with a message.
///
/// Behind the last message of a range there may be control records and records that were aborted or
/// compacted away. Nothing comes of these: the client only reports the end of the partition. That is the
/// end as the broker sees it that served the messages, and a broker that has only just become the leader
/// may see less of the log for a moment than the one before. So a report alone, even with the leader's
/// word that it covers the range, does not tell whether messages are missing. The partition is read again
/// after the leader has said so, and what is reported then is the end of what the leader holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// No end was reported.
    Open,
    /// An end was reported before that of the range, and the leader has not said that it covers it.
    Reported {
        /// When it was asked.
        asked: Option<Instant>,
    },
    /// The leader covers the range, and since it said so the partition is read again.
    ReadAgain,
}

/// A partition that is being read.
pub(super) struct Lane {
    pub(super) partition: i32,
    pub(super) queue: PartitionQueue<Context>,
    pub(super) range: PinnedRange,
    /// The offset that comes next; before the range's start while its log is compared.
    pub(super) at: i64,
    pub(super) last: Option<Mark>,
    pub(super) ending: Ending,
    pub(super) done: bool,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("partition", &self.partition)
            .field("range", &self.range)
            .field("at", &self.at)
            .field("ending", &self.ending)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Lane {
    pub(super) fn new(partition: i32, queue: PartitionQueue<Context>, range: PinnedRange) -> Self {
        Self {
            partition,
            queue,
            at: range.read_from(),
            range,
            last: None,
            ending: Ending::Open,
            done: false,
        }
    }

    /// Says that nothing of the range is left.
    pub(super) fn finish(&mut self) {
        self.at = self.range.end;
        self.done = true;
    }

    /// Takes the client's report that the partition is at its end.
    pub(super) fn end_reported(&mut self) {
        match self.ending {
            _ if self.at >= self.range.end => self.finish(),
            Ending::ReadAgain => self.finish(),
            Ending::Reported { .. } => {}
            Ending::Open => self.ending = Ending::Reported { asked: None },
        }
    }

    /// Looks whether the range is at its end, when no more messages come. Gives whether it makes sense
    /// to ask for another partition now: brokers that do not answer cost time.
    pub(super) fn settle(&mut self, client: &Client, topic: &str) -> bool {
        if client.has_passed(topic, self.partition, self.range.end) {
            self.finish();
            return true;
        }
        let Ending::Reported { asked } = self.ending else {
            return true;
        };
        if asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
            return true;
        }
        let reads_again = client.reaches(topic, self.partition, self.range.end)
            && client.read_again(topic, self.partition, self.at);
        self.ending = match reads_again {
            true => Ending::ReadAgain,
            false => Ending::Reported {
                asked: Some(Instant::now()),
            },
        };
        reads_again
    }

    /// Compares the message before the range with the one that was taken there.
    ///
    /// # Errors
    /// [`KafkaError::Recreated`] where it is another one.
    pub(super) fn compare(&self, topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Result<()> {
        if self.range.expect == Some(mark(message)) {
            return Ok(());
        }
        Err(KafkaError::Recreated {
            topic: topic.clone(),
            reason: format!(
                "partition {} was read up to offset {}, and holds another message at offset {} than \
                 then",
                self.partition,
                self.range.start,
                message.offset()
            ),
        }
        .into())
    }
}

/// What a message is known again by.
pub(super) fn mark(message: &BorrowedMessage<'_>) -> Mark {
    Mark::of(
        message.offset(),
        message.timestamp().to_millis(),
        message.key(),
        message.payload(),
    )
}
