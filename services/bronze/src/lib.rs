//! The role that brings sources into bronze tables: files and logs, each record once.
//!
//! It is the stage [`Stage::Bronze`] of a pipeline, followed: everything that it does is in
//! [`berglake_pipeline::watch`], and what every role has is in [`berglake_host`].
#![deny(missing_docs)]

use berglake_host::Worker;
use berglake_pipeline::watch::Stage;

/// The role.
pub fn role() -> Worker {
    Worker::new(Stage::Bronze)
}
