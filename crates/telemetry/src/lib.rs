//! Logs, traces and metrics of berglake.
//!
//! Two halves, so that libraries stay light:
//!
//! - what everybody uses: the [`instruments`], recorded through OpenTelemetry's global meter, and the
//!   [`propagation`] of trace contexts over HTTP. Both do nothing until the process has set up where
//!   measurements and traces go;
//! - what a process does once, under the feature `process` (on by default): [`Settings::init`] sets up
//!   log lines, export over OTLP and the text for `/metrics`, and its [`Guard`] flushes at the end.
//!
//! This crate refuses to know anything of tables and flows beyond the names of what is measured, to
//! decide where a filter comes from, and to change what the standard `OTEL_*` variables mean.
//!
//! Read these first: [`Settings`], [`Guard`], [`instruments`].
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod instruments;
pub mod propagation;

#[cfg(feature = "process")]
pub mod metrics;
#[cfg(feature = "process")]
mod process;

#[cfg(feature = "process")]
pub use process::{Error, FILTER_VARIABLE, Format, Guard, Settings};

/// The name under which all instruments and spans of berglake are recorded.
pub const SCOPE: &str = "berglake";
