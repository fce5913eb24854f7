//! What is seen of maintenance from outside: a span around each operation on a table, how long it took
//! with which outcome, and how much it has replaced and deleted.

use berglake_format::{Result, TableIdent};
use berglake_telemetry::instruments::{self, attribute as at};
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use crate::Operation;
use crate::compact::{CompactionReport, GroupOutcome};
use crate::expire::ExpiryReport;

/// What can be counted of a report.
pub(crate) trait Counted {
    /// Counts it, and says how it ended.
    fn count(&self, table: &str) -> &'static str;
}

impl Counted for CompactionReport {
    fn count(&self, table: &str) -> &'static str {
        let of = [at::table(table), at::action(Operation::Compact.as_str())];
        for group in &self.groups {
            if let GroupOutcome::Committed { .. } = group.outcome {
                instruments::FILES_REWRITTEN.add(group.files_before as u64, &of);
                instruments::BYTES_REWRITTEN.add(group.bytes_before, &of);
            }
        }
        match self.succeeded() {
            true => "committed",
            false => "failed",
        }
    }
}

impl Counted for ExpiryReport {
    fn count(&self, table: &str) -> &'static str {
        let of = [at::table(table)];
        instruments::SNAPSHOTS_EXPIRED.add(self.expired.len() as u64, &of);
        instruments::FILES_DELETED.add(self.files_deleted as u64, &of);
        "committed"
    }
}

/// Does an operation on a table and records what came of it.
pub(crate) async fn measured<T: Counted>(
    operation: Operation,
    ident: &TableIdent,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let table = ident.to_string();
    let span = tracing::info_span!(
        "maintenance",
        berglake.table = table,
        berglake.action = operation.as_str(),
        berglake.outcome = Empty,
    );
    let started = Instant::now();
    let result = work.instrument(span.clone()).await;
    let outcome = match &result {
        Ok(report) => report.count(&table),
        Err(_) => "failed",
    };
    span.record("berglake.outcome", outcome);
    let of = [
        at::table(table),
        at::action(operation.as_str()),
        at::outcome(outcome),
    ];
    instruments::MAINTENANCE_DURATION.record(started.elapsed().as_secs_f64(), &of);
    result
}
