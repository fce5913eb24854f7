//! Keeps Iceberg tables healthy: compaction, expiry of snapshots, schedules.
#![deny(missing_docs)]
