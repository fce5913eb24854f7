//! What is seen of commits from outside: a span around each, one around each request of it, and how
//! long it took with which outcome.

use std::sync::atomic::{AtomicU32, Ordering};

use berglake_telemetry::instruments::{self, attribute as at};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::{Applied, CommitOutcome};
use crate::inspect::HeadSize;
use crate::{ErrorKind, Result};

/// One commit while it is driven.
pub(super) struct Measured {
    /// The span of the whole commit.
    pub(super) span: Span,
    /// The first of the tables stands for all: it is the one with the rows.
    table: String,
    attempts: AtomicU32,
    started: Instant,
}

impl Measured {
    pub(super) fn start(tables: Vec<String>) -> Self {
        Self {
            span: tracing::info_span!(
                "commit",
                berglake.table = tables.join(","),
                berglake.snapshot.id = Empty,
                berglake.commit.attempts = Empty,
                berglake.outcome = Empty,
            ),
            table: tables.into_iter().next().unwrap_or_default(),
            attempts: AtomicU32::new(0),
            started: Instant::now(),
        }
    }

    /// The span of one request to the catalog.
    pub(super) fn attempt(&self, number: u32) -> Span {
        let number = i64::from(number);
        tracing::info_span!("commit request", berglake.table = self.table, number)
    }

    /// Counts what became of a request.
    pub(super) fn attempted(&self, outcome: &Result<CommitOutcome>) {
        let outcome = match outcome {
            Ok(CommitOutcome::Committed(_)) => "committed",
            Ok(CommitOutcome::Conflict { .. }) => "conflict",
            Ok(CommitOutcome::Unknown(_)) => "unknown",
            Err(_) => "failed",
        };
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let of = [at::table(&self.table), at::outcome(outcome)];
        instruments::COMMIT_ATTEMPTS.add(1, &of);
    }

    /// Records the whole commit, and the tables as they are behind it.
    pub(super) fn finish(self, result: &Result<Vec<Applied>>) {
        let attempts = self.attempts.load(Ordering::Relaxed);
        let outcome = match result {
            // What had nothing to do is no commit, and would make commits look fast.
            Ok(_) if attempts == 0 => {
                self.span.record("berglake.outcome", "unchanged");
                return;
            }
            Ok(_) => "committed",
            Err(error) => match error.kind() {
                ErrorKind::Conflict => "conflict",
                ErrorKind::UnknownOutcome => "unknown",
                _ => "failed",
            },
        };
        self.span.record("berglake.outcome", outcome);
        // An unsigned number would be exported as text.
        self.span
            .record("berglake.commit.attempts", i64::from(attempts));
        let of = [at::table(self.table), at::outcome(outcome)];
        instruments::COMMIT_DURATION.record(self.started.elapsed().as_secs_f64(), &of);
        let applied = result.iter().flatten();
        // As with the table, the first is the one with the rows.
        if let Some(id) = applied.clone().find_map(Applied::snapshot_id) {
            self.span.record("berglake.snapshot.id", id);
        }
        for applied in applied {
            if let Applied::Committed { table, .. } = applied {
                HeadSize::of(table).record(table);
            }
        }
    }
}
