//! Feeds the examples to Kafka at a given rate.
//!
//! As a library it is what end-to-end tests compare tables with: every message says what it holds, and
//! every delivery says where the message is.
//!
//! - [`Producer`] sends [`Message`]s, each acknowledged by all replicas and written once.
//! - [`records`] are those of a file, exactly as they stand there.
//! - [`health::Generator`] makes health samples from a seed, with broken ones among them.
//! - [`samples`] and [`sales`] make the files that are committed with the examples.
#![deny(missing_docs)]

mod chance;
pub mod health;
mod producer;
mod records;
pub mod sales;
pub mod samples;

pub use producer::{Delivery, Message, ProduceError, Producer, Rate};
pub use records::{RecordsError, key_of, records};
