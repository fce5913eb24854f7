//! The answer: rows on their way to the client, within their bounds.

use std::time::Duration;

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berglake_format::Result;
use berglake_host::Problem;
use berglake_query::QueryOutput;
use berglake_query::encode::{RowEncoder, RowFormat};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

/// Bytes that are held back before the answer begins: an error among them still gets its own status.
const HELD_BACK: usize = 64 << 10;

/// What one query may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) deadline: Instant,
    pub(crate) allowed: Duration,
    pub(crate) max_rows: u64,
}

impl Bounds {
    /// The query takes too long.
    pub(crate) fn late(&self) -> Problem {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "limit-exceeded",
            &format!(
                "the query took longer than {:?} and was cancelled",
                self.allowed
            ),
        )
        .help("ask for less, or raise query.timeout")
    }

    fn too_many(&self) -> Problem {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "limit-exceeded",
            &format!("the answer has more than {} rows", self.max_rows),
        )
        .help("ask for fewer with LIMIT or WHERE, or raise query.max-rows")
    }
}

/// An answer that has begun. Dropping it cancels the query.
pub(crate) struct Answer {
    format: RowFormat,
    held: Vec<u8>,
    rest: Rest,
}

/// What is still to come.
struct Rest {
    rows: BoxStream<'static, Result<RecordBatch>>,
    encoder: RowEncoder,
    bounds: Bounds,
    ended: bool,
    started: Instant,
    span: Span,
    /// A place among the queries that run, until the last row is sent.
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    /// Runs the query until there is something to send.
    pub(crate) async fn start(
        output: QueryOutput,
        format: RowFormat,
        bounds: Bounds,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Problem> {
        let mut encoder = RowEncoder::new(format, &output.schema)?;
        let mut held = encoder.begin()?;
        let mut rest = Rest {
            rows: output.stream,
            encoder,
            bounds,
            ended: false,
            started: Instant::now(),
            span: Span::current(),
            _permit: permit,
        };
        while held.len() < HELD_BACK && !rest.ended {
            held.extend(rest.next().await?);
        }
        Ok(Self { format, held, rest })
    }
}

impl Rest {
    /// The next bytes.
    async fn next(&mut self) -> Result<Vec<u8>, Problem> {
        let batch = match timeout_at(self.bounds.deadline, self.rows.next()).await {
            Err(_) => return Err(self.bounds.late()),
            Ok(None) => {
                self.ended = true;
                self.span.in_scope(|| {
                    tracing::info!(
                        rows = self.encoder.rows(),
                        elapsed_ms = self.started.elapsed().as_millis(),
                        "answered"
                    );
                });
                return Ok(self.encoder.end()?);
            }
            Ok(Some(batch)) => batch?,
        };
        let left = self.bounds.max_rows.saturating_sub(self.encoder.rows());
        if batch.num_rows() as u64 > left {
            return Err(self.bounds.too_many());
        }
        Ok(self.encoder.batch(&batch)?)
    }

    /// The next bytes, or how the answer breaks off.
    async fn step(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        while !self.ended {
            match self.next().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(bytes.into())),
                Err(problem) => {
                    self.ended = true;
                    self.span.in_scope(|| {
                        let (error, rows) = (problem.body().to_string(), self.encoder.rows());
                        tracing::info!(error, rows, "broken off");
                    });
                    // Formats that cannot say so end without their end, which clients notice.
                    return Some(match self.encoder.fail(problem.body()) {
                        Some(bytes) => Ok(bytes.into()),
                        None => Err(std::io::Error::other("the answer breaks off")),
                    });
                }
            }
        }
        None
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { format, held, rest } = self;
        let head = futures::stream::iter([Ok(Bytes::from(held))]);
        let tail = futures::stream::unfold(rest, |mut rest| async move {
            let step = rest.step().await?;
            Some((step, rest))
        });
        let mut response = Body::from_stream(head.chain(tail)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.media_type()),
        );
        response
    }
}
