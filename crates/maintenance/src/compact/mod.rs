//! Compaction: many small files, and files with many deletes, become few files without deletes.
//!
//! Files are chosen and grouped as Spark's `rewrite_data_files` does it by bin-packing
//! ([`CompactionPlan::of`]), copied group by group in their order, and committed. Deletes that are
//! committed meanwhile are carried over to the new files; where that is not possible the group gives
//! way, its files are discarded, and the next run takes it up again.

mod options;
mod plan;
mod run;

pub use options::CompactionOptions;
pub use plan::{CompactionPlan, FileGroup, GroupReason, PlannedFile};
pub use run::{CompactionReport, GroupOutcome, GroupReport, plan, run};
