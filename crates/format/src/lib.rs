//! The table format of berglake: plain Apache Iceberg tables, read and written without a server.
//!
//! This crate turns Arrow batches into data files, data files into commits, and snapshots back into
//! Arrow batches. It builds on the `iceberg` crate's specification types and adds what that crate
//! lacks or hides. It refuses to know catalogs (a [`Committer`](commit::Committer) is handed to it),
//! query engines, sources and pipelines.
//!
//! Read these first:
//! - [`Table`]: a table as it was loaded; everything starts there;
//! - [`commit::Operation`] and [`commit::Transaction`]: how a table changes;
//! - [`plan::ScanBuilder`] and [`plan::ScanPlan`]: what to read of a snapshot.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod avro;
pub mod commit;
pub mod deletes;
mod environment;
mod error;
pub mod evaluate;
pub mod evolve;
pub mod failpoint;
#[cfg(test)]
mod fixture;
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
mod manifest;
pub mod partition;
pub mod plan;
pub mod properties;
pub mod reach;
pub mod read;
pub mod recover;
pub mod rewrite;
pub mod schema;
mod secret;
pub mod snapshot;
pub mod storage;
pub mod suggest;
mod table;
mod task;
pub mod write;

pub use environment::{
    Clock, Environment, Identity, Ids, ManualClock, RandomIds, SeededIds, SystemClock,
};
pub use error::{Error, ErrorKind, Result};
pub use iceberg::{NamespaceIdent, TableIdent};
pub use secret::Secret;
pub use table::Table;
