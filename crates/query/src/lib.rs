//! SQL over the lakehouse: Apache Iceberg tables in DataFusion.
//!
//! This crate plans and runs queries over the tables of a [`Catalog`](berglake_catalog::Catalog), with
//! time travel and metadata tables, and the statements that create, fill and drop tables. It refuses
//! to know where rows come from, pipelines, and servers. A statement that it does not run is an error
//! that says so; none returns success without work.
//!
//! Read these first:
//! - [`Engine`]: a catalog and the memory, caches and functions that queries share;
//! - [`Session`]: statements one after the other, and what they return, [`QueryOutput`];
//! - [`IcebergTable`]: one snapshot of a table, or a pinned plan, for DataFusion.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![recursion_limit = "256"]

mod coercion;
pub mod encode;
mod engine;
mod error;
mod functions;
mod lake;
mod metadata_table;
mod options;
mod output;
mod procedures;
mod resolve;
mod session;
mod sql;
mod statements;
mod stream_table;
mod table;
mod telemetry;
mod yielding;

pub use datafusion;

/// The stack of threads that plan and run statements, in bytes. Plans are walked by recursion, and the
/// longest statement that is taken needs more than the 2 MiB of Tokio's own threads. It is address space;
/// memory is what is really used.
pub const STACK_SIZE: usize = 64 << 20;

pub use engine::Engine;
pub use error::from_datafusion;
pub use metadata_table::MetadataTableProvider;
pub use options::EngineOptions;
pub use output::QueryOutput;
pub use procedures::{Arguments, Parameter, Procedure};
pub use session::{Prepared, Session};
pub use stream_table::stream_table;
pub use table::IcebergTable;
