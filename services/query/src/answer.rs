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
use futures::stream::{self, BoxStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

/// Pieces of the answer that wait for a client who reads more slowly than the query runs.
const PIECES_AHEAD: usize = 2;
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
    /// A place among the queries that run. It is free before the last piece is handed over: whoever has read
    /// the answer may ask again.
    permit: Option<OwnedSemaphorePermit>,
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
            permit: Some(permit),
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
                self.rows = stream::empty().boxed();
                self.permit = None;
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

    /// Hands the answer over, piece by piece. Gives what comes behind the last of them where it breaks
    /// off.
    async fn run(mut self, pieces: mpsc::Sender<Bytes>) -> Option<Piece> {
        while !self.ended {
            let problem = match self.next().await {
                Ok(bytes) if bytes.is_empty() => continue,
                // A client that does not read must not keep its place for ever.
                Ok(bytes) => {
                    match timeout_at(self.bounds.deadline, pieces.send(bytes.into())).await {
                        Ok(Ok(())) => continue,
                        // Nobody is there any more.
                        Ok(Err(_)) => return None,
                        Err(_) => self.bounds.late(),
                    }
                }
                Err(problem) => problem,
            };
            self.span.in_scope(|| {
                let (error, rows) = (problem.body().to_string(), self.encoder.rows());
                tracing::info!(error, rows, "broken off");
            });
            // Formats that cannot say so end without their end, which clients notice.
            return Some(match self.encoder.fail(problem.body()) {
                Some(bytes) => Ok(bytes.into()),
                None => Err(broken_off()),
            });
        }
        None
    }
}

type Piece = Result<Bytes, std::io::Error>;

fn broken_off() -> std::io::Error {
    std::io::Error::other("the answer breaks off")
}

/// The answer of a query that runs in a task of its own: its deadline comes whether or not anybody reads.
struct Running {
    pieces: mpsc::Receiver<Bytes>,
    /// Gives what comes behind the last piece. Dropping it ends the query.
    task: Option<AbortOnDropHandle<Option<Piece>>>,
}

impl Running {
    fn start(rest: Rest) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let task = tokio::spawn(rest.run(sender));
        Self {
            pieces,
            task: Some(AbortOnDropHandle::new(task)),
        }
    }

    async fn next(&mut self) -> Option<Piece> {
        if let Some(bytes) = self.pieces.recv().await {
            return Some(Ok(bytes));
        }
        match self.task.take()?.await {
            Ok(last) => last,
            Err(failure) => {
                tracing::error!(%failure, "a query ended without an answer");
                Some(Err(broken_off()))
            }
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { format, held, rest } = self;
        let head = stream::iter([Ok(Bytes::from(held))]);
        let tail = stream::unfold(Running::start(rest), |mut running| async move {
            let piece = running.next().await?;
            Some((piece, running))
        });
        let mut response = Body::from_stream(head.chain(tail)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.media_type()),
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use axum::body::to_bytes;
    use serde_json::Value;
    use tokio::sync::Semaphore;

    use super::*;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let rows = Int64Array::from_value(1_234_567, 8_192);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(rows)]).unwrap()
    }

    /// An answer of these rows, begun, and the one place that it takes.
    async fn begun(
        rows: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static,
        format: RowFormat,
    ) -> (Answer, Arc<Semaphore>) {
        let places = Arc::new(Semaphore::new(1));
        let permit = places.clone().try_acquire_owned().unwrap();
        let output = QueryOutput {
            schema: batch().schema(),
            stream: rows.boxed(),
        };
        let bounds = Bounds {
            deadline: Instant::now() + Duration::from_secs(3_600),
            allowed: Duration::from_secs(3_600),
            max_rows: u64::MAX,
        };
        let answer = Answer::start(output, format, bounds, permit).await;
        (answer.unwrap(), places)
    }

    #[tokio::test]
    async fn whoever_does_not_read_loses_the_place_at_the_deadline_and_is_told() {
        for format in [RowFormat::NdJson, RowFormat::Csv] {
            let endless = stream::repeat_with(|| Ok(batch()));
            let (mut answer, places) = begun(endless, format).await;
            answer.rest.bounds.deadline = Instant::now();
            let response = answer.into_response();
            // The place is free although nothing of the answer was taken.
            drop(places.acquire().await.unwrap());
            let body = to_bytes(response.into_body(), usize::MAX).await;
            if format == RowFormat::Csv {
                body.unwrap_err();
                continue;
            }
            let body = body.unwrap();
            let last = body.trim_ascii().rsplit(|byte| *byte == b'\n').next();
            let last: Value = serde_json::from_slice(last.unwrap()).unwrap();
            assert_eq!(last["error"]["kind"], "limit-exceeded");
        }
    }

    #[tokio::test]
    async fn whoever_goes_away_takes_the_query_along_even_while_it_computes() {
        let rows = stream::iter((0..20).map(|_| Ok(batch()))).chain(stream::pending());
        let (answer, places) = begun(rows, RowFormat::Csv).await;
        drop(answer.into_response());
        drop(places.acquire().await.unwrap());
    }

    #[tokio::test]
    async fn all_pieces_come_in_order_and_then_the_end_for_which_no_place_is_kept() {
        // One that has come to its end before it is sent, and one that is sent meanwhile.
        for (batches, of) in [(1, 10), (40, 8_192)] {
            let rows = stream::iter((0..batches).map(move |_| Ok(batch().slice(0, of))));
            let (answer, places) = begun(rows, RowFormat::Json).await;
            let mut pieces = answer.into_response().into_body().into_data_stream();
            let mut body = Vec::new();
            while !body.ends_with(format!("\"row_count\":{}}}\n", batches * of).as_bytes()) {
                body.extend(pieces.next().await.unwrap().unwrap());
            }
            drop(places.try_acquire().unwrap());
            let document: Value = serde_json::from_slice(&body).unwrap();
            let rows = document["rows"].as_array().unwrap();
            assert_eq!(rows.len(), batches * of);
            assert!(pieces.next().await.is_none());
        }
    }
}
