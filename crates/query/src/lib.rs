//! SQL over the lakehouse.
#![deny(missing_docs)]
#![recursion_limit = "256"]

mod error;
mod table;

pub use table::IcebergTable;
