//! The role that keeps gold tables up to date with silver: what has changed is computed anew.
//!
//! It is the stage [`Stage::Gold`] of a pipeline, followed: everything that it does is in
//! [`berglake_pipeline::watch`], and what every role has is in [`berglake_host`].
#![deny(missing_docs)]

use berglake_host::Worker;
use berglake_pipeline::watch::Stage;

/// The role.
pub fn role() -> Worker {
    Worker::new(Stage::Gold)
}
