//! Kafka topics, read by offsets that the table records.
//!
//! A run **pins** what it takes: of every partition the range from the recorded offset to the end as
//! it is at that moment ([`KafkaTopic::pin`]). Then it reads exactly that range, in one or several
//! batches ([`Reading`]), whatever comes meanwhile; each batch is one commit, which records the
//! offsets behind its last messages ([`Reading::delta`]). There is no consumer group: who owns a
//! partition is decided by the commit of the table, where the second of two runs finds that it was
//! overtaken, and offsets are stored nowhere else.
//!
//! Partitions that are added later are found at the next pinning and read from their start. A topic
//! that was deleted and made anew is found by its offsets, by the id of its cluster, and by the last
//! message that was taken, which is read again and compared. Only committed messages are read.
//!
//! Each payload is one JSON record of declared columns; a record that does not fit is a dead letter
//! with its topic, partition and offset.

mod client;
mod connection;
mod error;
mod lane;
mod messages;
mod pin;
mod read;
mod source;

#[cfg(test)]
mod tests;

pub use connection::{DEFAULT_TIMEOUT, KafkaConnection};
pub use error::KafkaError;
pub use messages::{Attribute, MessageBatch, MessageOptions, Tombstones};
pub use pin::{OnDataLoss, PinOptions, Pinned, Starting};
pub use read::{Limits, MessageBatches, Reading};
pub use source::KafkaTopic;
