//! What is seen of flows from outside: a span around each batch, and what it did as measurements.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use berglake_format::inspect::MetadataSize;
use berglake_format::{Result, Table};
use berglake_telemetry::instruments::{self, attribute as at};
use futures::Stream;
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::{FlowRun, Runner, progress_key, tables};
use crate::language::Flow;
use crate::report::{FlowReport, FlowStatus};

/// A batch or a refresh while it is made. What it did is what the report says more behind it.
pub(super) struct Measured {
    span: Span,
    of: [KeyValue; 2],
    flow: String,
    table: String,
    started: Instant,
    before: FlowReport,
    newest: Newest,
}

impl Measured {
    /// Starts to measure; `newest` is the newest time of the source that the batch holds.
    pub(super) fn start(run: &FlowRun<'_>, report: &FlowReport, newest: Newest) -> Self {
        let (flow, table) = (run.progress_key(), run.flow.target.to_string());
        Self {
            span: tracing::info_span!(
                "batch",
                berglake.flow = flow,
                berglake.table = table,
                berglake.snapshot.id = Empty,
                berglake.rows.read = Empty,
                berglake.outcome = Empty,
                otel.status_code = Empty,
            ),
            of: instruments::of_flow(&flow, &table),
            flow,
            table,
            started: Instant::now(),
            before: report.clone(),
            newest,
        }
    }

    /// The span in which the work is to be done.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Records what the report says more than at the start.
    pub(super) fn finish<T>(self, report: &FlowReport, result: &Result<T>) {
        let (before, of) = (&self.before, &self.of);
        let outcome = if result.is_ok() {
            "committed"
        } else {
            "failed"
        };
        self.span.record("berglake.outcome", outcome);
        let with_outcome = [&of[..], &[at::outcome(outcome)]].concat();
        instruments::BATCH_DURATION.record(self.started.elapsed().as_secs_f64(), &with_outcome);
        self.expectations(report);
        if result.is_err() {
            self.span.record("otel.status_code", "ERROR");
            return;
        }
        // An unsigned number would be exported as text.
        let read = i64::try_from(report.rows_read - before.rows_read).unwrap_or(i64::MAX);
        self.span.record("berglake.rows.read", read);
        if let Some(id) = report.snapshot_id {
            self.span.record("berglake.snapshot.id", id);
        }
        for (counter, now, then) in [
            (&instruments::ROWS_READ, report.rows_read, before.rows_read),
            (
                &instruments::ROWS_INSERTED,
                report.rows_inserted,
                before.rows_inserted,
            ),
            (
                &instruments::ROWS_UPDATED,
                report.rows_updated,
                before.rows_updated,
            ),
            (
                &instruments::ROWS_DELETED,
                report.rows_deleted,
                before.rows_deleted,
            ),
            (
                &instruments::ROWS_SUPERSEDED,
                report.rows_superseded,
                before.rows_superseded,
            ),
            (
                &instruments::DEAD_LETTERS,
                report.dead_letters,
                before.dead_letters,
            ),
        ] {
            counter.add(now.saturating_sub(then), of);
        }
        if let Some(newest) = self.newest.get() {
            instruments::source_time(&self.flow, &self.table, newest);
        }
    }

    /// Rows that broke an expectation count even where they made the batch fail: that is what they are for.
    fn expectations(&self, report: &FlowReport) {
        for now in &report.expectations {
            let mut before = self.before.expectations.iter();
            let then = before.find(|then| then.name == now.name);
            let failed = now
                .failed
                .saturating_sub(then.map_or(0, |then| then.failed));
            let which = [at::expectation(&now.name), at::action(&now.action)];
            instruments::EXPECTATION_FAILURES.add(failed, &[&self.of[..], &which].concat());
        }
    }
}

/// Counts a run of a flow by what became of it, and measures the metadata of the table that it changed.
pub(super) async fn ended(runner: &Runner, flow: &Flow, report: &FlowReport) {
    let outcome = match report.status {
        FlowStatus::Updated => "updated",
        FlowStatus::UpToDate => "up-to-date",
        FlowStatus::Failed => "failed",
        FlowStatus::Skipped => "skipped",
    };
    let key = progress_key(&runner.project, flow);
    let mut of = instruments::of_flow(&key, &report.target).to_vec();
    of.push(at::outcome(outcome));
    of.extend(report.error_kind.map(at::error));
    instruments::FLOW_RUNS.add(1, &of);
    if report.status == FlowStatus::Updated
        && let Err(error) = measure(runner, flow).await
    {
        tracing::debug!(%error, "the size of a table's metadata is not known");
    }
}

async fn measure(runner: &Runner, flow: &Flow) -> Result<MetadataSize> {
    let table = runner.catalog.load(&tables::ident(&flow.target)?).await?;
    MetadataSize::measure(&table).await
}

/// How far a flow is behind a table that it reads: what came after a snapshot, up to the head.
pub(super) fn table_lag(flow: &str, source: &Table, after: Option<i64>) {
    let (mut snapshots, mut rows) = (0, 0);
    for snapshot in source.ancestors(source.metadata().current_snapshot_id()) {
        if Some(snapshot.snapshot_id()) == after {
            break;
        }
        let summary = &snapshot.summary().additional_properties;
        let added = summary.get("added-records");
        snapshots += 1;
        rows += added.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    }
    let of = [at::flow(flow), at::source_table(source.ident().to_string())];
    instruments::LAG_SNAPSHOTS.set(snapshots, &of);
    instruments::LAG_ROWS.set(rows, &of);
}

/// How many messages of each partition of a topic a flow has not yet taken.
pub(super) fn topic_lag(flow: &str, topic: &str, lag: impl Iterator<Item = (i32, u64)>) {
    for (partition, messages) in lag {
        let of = [
            at::flow(flow),
            at::topic(topic),
            at::partition(partition.to_string()),
        ];
        instruments::LAG_RECORDS.set(messages, &of);
    }
}

/// How many files a flow has not yet taken.
pub(super) fn file_lag(flow: &str, files: usize) {
    instruments::LAG_FILES.set(files as u64, &[at::flow(flow)]);
}

/// The newest time of a source that was met, in milliseconds since 1970; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Newest(Arc<AtomicI64>);

impl Default for Newest {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Newest {
    /// Of a source that told it.
    pub(super) fn of(millis: Option<i64>) -> Self {
        Self(Arc::new(AtomicI64::new(millis.unwrap_or(i64::MIN))))
    }

    /// Meets a time.
    pub(super) fn see(&self, millis: Option<i64>) {
        if let Some(millis) = millis {
            self.0.fetch_max(millis, Ordering::Relaxed);
        }
    }

    /// Nothing where no time was met.
    fn get(&self) -> Option<i64> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != i64::MIN).then_some(millis)
    }
}

/// A stream that is read within a span; the span ends with it.
pub(super) struct Within<S> {
    span: Span,
    inner: S,
}

impl<S> Within<S> {
    pub(super) fn new(span: Span, inner: S) -> Self {
        Self { span, inner }
    }
}

impl<S: Stream + Unpin> Stream for Within<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        Pin::new(&mut this.inner).poll_next(context)
    }
}
