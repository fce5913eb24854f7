//! What is seen of statements from outside: a span around each until its last row, how long it took,
//! and how many rows it gave. The text of a statement is in none of it, since it may hold data.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use berglake_format::{Error, Result};
use berglake_telemetry::instruments::{self, attribute as at};
use datafusion::arrow::record_batch::RecordBatch;
use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use crate::output::QueryOutput;

/// A statement while it runs. What it did is recorded when this is dropped: at the end of its rows, at
/// an error, or when nobody reads on.
pub(crate) struct Measured {
    span: Span,
    kind: &'static str,
    started: Instant,
    rows: u64,
    error: Option<&'static str>,
}

impl Measured {
    pub(crate) fn start(kind: &'static str) -> Self {
        Self {
            span: tracing::info_span!(
                "query",
                berglake.statement = kind,
                berglake.rows = Empty,
                error.type = Empty,
                otel.status_code = Empty,
            ),
            kind,
            started: Instant::now(),
            rows: 0,
            error: None,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The same result, measured to its last row.
    pub(crate) fn follow(mut self, result: Result<QueryOutput>) -> Result<QueryOutput> {
        match result {
            Ok(QueryOutput { schema, stream }) => Ok(QueryOutput {
                schema,
                stream: Followed {
                    inner: stream,
                    measured: Some(self),
                }
                .boxed(),
            }),
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        self.error = Some(error.kind().as_str());
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let statement = at::statement(self.kind);
        self.span.record("berglake.rows", self.rows);
        instruments::QUERY_ROWS.add(self.rows, std::slice::from_ref(&statement));
        let mut of = vec![statement];
        if let Some(error) = self.error {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
            of.push(at::error(error));
        }
        instruments::QUERY_DURATION.record(self.started.elapsed().as_secs_f64(), &of);
    }
}

struct Followed {
    inner: BoxStream<'static, Result<RecordBatch>>,
    /// Nothing behind the end.
    measured: Option<Measured>,
}

impl Stream for Followed {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let span = this.measured.as_ref().map(Measured::span);
        let _entered = span.as_ref().map(Span::enter);
        let item = ready!(this.inner.poll_next_unpin(context));
        match (&item, &mut this.measured) {
            (Some(Ok(batch)), Some(measured)) => measured.rows += batch.num_rows() as u64,
            (Some(Err(error)), Some(measured)) => {
                measured.failed(error);
                this.measured = None;
            }
            (None, _) => this.measured = None,
            (_, None) => {}
        }
        Poll::Ready(item)
    }
}
