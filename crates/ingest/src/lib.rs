//! Sources into rows of Iceberg tables, without losing or doubling any.
//!
//! This crate reads files ([`files`]) and decodes their records into Arrow batches of a declared
//! schema ([`decode`]); what cannot be decoded becomes a dead letter ([`dead_letter`]) instead of
//! an error, with its bytes, its coordinates and the reason.
//!
//! It does not guess: a schema is declared, or inferred once and then kept; a value that does not
//! fit its column is not bent until it does. It schedules nothing and keeps no state of its own.
//!
//! Read first: [`files::FileStore`], [`decode::FileReader`], [`dead_letter::DeadLetter`].
#![deny(missing_docs)]

pub mod dead_letter;
pub mod decode;
mod error;
pub mod files;
pub mod progress;

pub use self::error::{IngestError, Result};
