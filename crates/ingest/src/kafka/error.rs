//! What can be wrong with a topic, its servers or the position in it.

use std::sync::Arc;
use std::time::Duration;

use berglake_format::{Error, ErrorKind};

/// A failure of a Kafka source.
///
/// Whether to try again is told by the kind that it becomes as a [`berglake_format::Error`]: what is
/// `Unavailable` may succeed later as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The connection cannot be used as it is configured.
    #[error("the connection to Kafka cannot be used: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// The servers did not answer in time.
    #[error("Kafka at {servers} did not answer within {} s: {reason}", waited.as_secs_f32())]
    Unavailable {
        /// The servers as they were configured.
        servers: String,
        /// How long they were waited for.
        waited: Duration,
        /// What was heard of them last.
        reason: String,
    },
    /// The servers refuse the credentials, or what was asked with them.
    #[error("Kafka at {servers} refuses access: {reason}")]
    Denied {
        /// The servers as they were configured.
        servers: String,
        /// What they say.
        reason: String,
    },
    /// There is no such topic.
    #[error("Kafka at {servers} has no topic {topic:?}")]
    NoTopic {
        /// The servers as they were configured.
        servers: String,
        /// The topic that was asked for.
        topic: Arc<str>,
    },
    /// The flow has read another topic so far.
    #[error("the flow has read topic {recorded:?} so far, and now topic {topic:?} is asked for")]
    OtherTopic {
        /// The topic of the recorded progress.
        recorded: String,
        /// The topic that was asked for.
        topic: Arc<str>,
    },
    /// The topic is not the one that the flow has read so far, although it has the same name.
    #[error("topic {topic:?} is not the one that the flow has read so far: {reason}")]
    Recreated {
        /// The topic.
        topic: Arc<str>,
        /// How that is known: partitions and offsets.
        reason: String,
    },
    /// Messages were deleted before they were read.
    #[error(
        "topic {topic:?}, partition {partition}: the offsets {from} to {to} were deleted before they \
         were read"
    )]
    Expired {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The first offset that is gone.
        from: i64,
        /// The last offset that is gone.
        to: i64,
    },
    /// Reading failed.
    #[error("reading topic {topic:?} failed: {reason}")]
    Read {
        /// The topic.
        topic: Arc<str>,
        /// What the client says.
        reason: String,
    },
    /// A defect of this program.
    #[error("reading topic {topic:?}: {reason}")]
    Defect {
        /// The topic.
        topic: Arc<str>,
        /// What should not have happened.
        reason: &'static str,
    },
}

impl From<KafkaError> for Error {
    /// The same failure in the terms of the table format, with what to do about it.
    fn from(error: KafkaError) -> Self {
        let (kind, help) = match &error {
            KafkaError::Config { help, .. } => (ErrorKind::InvalidInput, *help),
            KafkaError::Unavailable { .. } => (
                ErrorKind::Unavailable,
                "check the address and whether the brokers are up; nothing was lost, the next run goes on",
            ),
            KafkaError::Denied { .. } => (
                ErrorKind::Denied,
                "check user, password and rights of the connection: it must read the topic",
            ),
            // With the topic as context: who follows it can tell that it is the source that is missing.
            KafkaError::NoTopic { servers, topic } => {
                return Self::not_found(format!("Kafka at {servers} has no topic of this name"))
                    .with("topic", topic)
                    .help(
                        "create the topic, or correct its name; it is not created by reading it",
                    );
            }
            KafkaError::OtherTopic { .. } => (
                ErrorKind::Conflict,
                "give the other topic a flow of its own, or run with --full-refresh TABLE",
            ),
            KafkaError::Recreated { .. } => (
                ErrorKind::Conflict,
                "run with --full-refresh TABLE to replace its rows, with --resume replay to keep them \
                 and add all that the topic holds now, or with --resume skip to go on from its end",
            ),
            KafkaError::Expired { .. } => (
                ErrorKind::Conflict,
                "keep messages longer than a flow may stand still; go on without those that are gone \
                 with on_data_loss => 'continue', or start anew with --full-refresh TABLE",
            ),
            KafkaError::Read { .. } => (ErrorKind::Unavailable, "run again"),
            KafkaError::Defect { .. } => (ErrorKind::Internal, "please report it"),
        };
        Self::new(kind, error.to_string()).help(help)
    }
}
