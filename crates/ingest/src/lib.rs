//! Sources into rows of Iceberg tables, without losing or doubling any.
//!
//! This crate reads files ([`files`]) and topics ([`kafka`]) and decodes their records into Arrow batches of a declared
//! schema ([`decode`]); what cannot be decoded becomes a dead letter ([`dead_letter`]) instead of
//! an error, with its bytes, its coordinates and the reason. Rows are appended or upserted ([`sink`])
//! in commits that record how far their flow has come ([`progress`]).
//!
//! It does not guess: a schema is declared, or inferred once and then kept; a value that does not
//! fit its column is not bent until it does. It schedules nothing and keeps no state of its own.
//!
//! Read first: [`files::FileStore`], [`decode::FileReader`], [`kafka::KafkaTopic`],
//! [`dead_letter::DeadLetter`], [`sink::Upsert`].
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod dead_letter;
pub mod decode;
mod error;
pub mod files;
pub mod kafka;
pub mod progress;
pub mod sink;

pub use self::error::{IngestError, Result};
