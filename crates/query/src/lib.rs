//! SQL over the lakehouse.
#![deny(missing_docs)]
#![recursion_limit = "256"]

mod error;
mod table;

pub use error::from_datafusion;
pub use table::IcebergTable;
