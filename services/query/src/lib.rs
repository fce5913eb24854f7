//! The role that answers SQL over HTTP: `POST /v1/sql`, rows back as JSON, CSV or an Arrow stream.
//!
//! Rows are streamed while the query runs; a client that goes away cancels it. What a query may cost
//! is bounded: rows, time, memory, how many run at once, how long the question may be. Nothing is kept
//! between requests, and a server that was not told otherwise only reads.
//!
//! Read these first: [`QueryService`], [`role`].
#![deny(missing_docs)]

mod answer;
mod request;
mod role;
mod service;

pub use role::{QueryRole, role};
pub use service::QueryService;
