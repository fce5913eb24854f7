//! The route, and what holds before a query runs.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use berglake_format::{Environment, Error, ErrorKind};
use berglake_host::{Problem, require_token};
use berglake_pipeline::config::QueryConfig;
use berglake_query::{Engine, Prepared, QueryOutput, Session};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::answer::{Answer, Bounds};
use crate::request::Question;

/// How long a client may take to send its question.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The header that names a query in logs.
const QUERY_ID: &str = "x-query-id";

/// Answers SQL over one engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QueryService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    config: QueryConfig,
    environment: Environment,
    running: Arc<Semaphore>,
}

impl QueryService {
    /// Answers with this engine, whose options bound the memory of all queries together.
    pub fn new(engine: Engine, config: QueryConfig, environment: Environment) -> Self {
        let permits = usize::try_from(config.concurrency).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            engine,
            running: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            config,
            environment,
        }))
    }

    /// The routes: `POST /v1/sql`, behind the configured tokens.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/v1/sql", post(ask))
            .fallback(nowhere)
            .with_state(self.clone());
        require_token(routes, &self.0.config.server.tokens)
    }

    async fn answer(&self, request: Request) -> Result<Response, Problem> {
        let inner = &self.0;
        let (head, body) = request.into_parts();
        let body = read(body, inner.config.max_body).await?;
        let question = Question::read(&head.headers, &body)?;
        // Whoever sends slowly holds up nobody: a place is taken when the question is there.
        let permit = inner.running.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "limit-exceeded",
                "too many queries run at the same time",
            )
            .help("come back in a second, or raise query.concurrency")
            .retry_after(1)
        })?;
        let started = Instant::now();
        let allowed = question.limits.timeout();
        let allowed = allowed.map_or(inner.config.timeout, |own| own.min(inner.config.timeout));
        let bounds = Bounds {
            deadline: started + allowed,
            allowed,
            max_rows: question
                .limits
                .max_rows
                .map_or(inner.config.max_rows, |own| own.min(inner.config.max_rows)),
        };
        let (output, permit) = self.run(&question, &bounds, permit).await?;
        let answer = Answer::start(output, question.format, bounds, permit).await?;
        Ok(answer.into_response())
    }

    /// Plans a question, and does what is not a query.
    async fn run(
        &self,
        question: &Question,
        bounds: &Bounds,
        permit: OwnedSemaphorePermit,
    ) -> Result<(QueryOutput, OwnedSemaphorePermit), Problem> {
        let prepared = single(Session::prepare(&question.sql)?)?;
        let read_only = prepared.is_read_only();
        if !read_only && self.0.config.read_only {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "read-only",
                "this server answers questions only; the statement would change something",
            )
            .help("run it with `berglake sql`, or set query.read-only = false"));
        }
        let session = self.0.engine.connect();
        let namespace = question.namespace.clone();
        let work = async move {
            if let Some(namespace) = &namespace {
                session.enter(namespace).await?;
            }
            session.run(prepared).await
        };
        if read_only {
            return match timeout_at(bounds.deadline, work).await {
                Ok(output) => Ok((output?, permit)),
                Err(_) => Err(bounds.late()),
            };
        }
        // A client that goes away must not leave it open whether its change was made, and takes neither
        // its deadline nor its place with it: as long as the statement runs, it has both.
        let deadline = bounds.deadline;
        let task = async move { (timeout_at(deadline, work).await, permit) };
        let (outcome, permit) = tokio::spawn(task.in_current_span())
            .await
            .map_err(|failure| {
                Error::internal("the statement ended without an answer").source_error(failure)
            })?;
        match outcome {
            Ok(output) => Ok((output?, permit)),
            Err(_) => Err(Problem::from(Error::new(
                ErrorKind::UnknownOutcome,
                "the statement took too long and was given up; it is not known whether its change was made",
            )
            .help("look at the table before you send it again"))),
        }
    }
}

async fn ask(State(service): State<QueryService>, request: Request) -> Response {
    let id = service.0.environment.ids().uuid().to_string();
    let span = tracing::info_span!("query", id);
    let mut response = match service.answer(request).instrument(span.clone()).await {
        Ok(response) => response,
        Err(problem) => {
            span.in_scope(|| tracing::info!(status = problem.status().as_u16(), "refused"));
            problem.into_response()
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(QUERY_ID, id);
    }
    response
}

async fn nowhere() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is nothing at this path",
    )
    .help("ask at POST /v1/sql")
}

/// The body of a request, which is neither long nor slow.
async fn read(body: Body, limit: u64) -> Result<axum::body::Bytes, Problem> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    match timeout(READ_TIMEOUT, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // That it is too long is the one thing that this error tells from a connection that broke,
        // and whoever broke it reads no answer.
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "limit-exceeded",
            &format!("the body has more than {limit} bytes"),
        )
        .help("raise query.max-body")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "limit-exceeded",
            "the body took too long to arrive",
        )),
    }
}

/// The one statement of a question.
fn single(mut statements: Vec<Prepared>) -> Result<Prepared, Problem> {
    match (statements.pop(), statements.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Problem::from(Error::invalid("there is no statement"))),
        (Some(_), false) => Err(Problem::from(
            Error::invalid("there is more than one statement")
                .help("send them one after the other; nothing is kept between requests"),
        )),
    }
}
