//! Integration tests of the `berglake` binary and of the workspace that it is composed from.

mod dependencies;
