//! A request's id, its span, its line in the log and its audit record; and that a change runs to its
//! end with all of them.

use std::any::Any;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State as FromState};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use berglake_format::Error;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::State;
use super::auth::Principal;
use super::error::{ApiError, Failure};
use crate::AuditRecord;
use crate::rest::protocol::error_type;

const REQUEST_ID: &str = "x-request-id";

/// What a request was to change, where its path does not say all of it.
#[derive(Debug, Clone)]
struct Object(String);

/// The answer, with what the request was about: its record names that whether it was done or refused.
pub(super) fn about(
    object: impl Into<String>,
    result: Result<impl IntoResponse, ApiError>,
) -> axum::response::Response {
    (Extension(Object(object.into())), result).into_response()
}

/// A change that is under way, as long as this lives.
struct UnderWay(Arc<State>);

impl UnderWay {
    fn new(state: Arc<State>) -> Self {
        state.under_way.send_modify(|changes| *changes += 1);
        Self(state)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|changes| *changes -= 1);
    }
}

/// Answers a request under observation. A change runs on a task of its own: a client that goes away
/// stops neither the change halfway nor the record of it.
pub(super) async fn observe(
    FromState(state): FromState<Arc<State>>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let matched = request.extensions().get::<MatchedPath>();
    if !matched.is_some_and(|matched| is_change(request.method(), matched.as_str())) {
        return answer(&state, request, next).await;
    }
    let under_way = UnderWay::new(state.clone());
    let work = async move {
        let response = answer(&under_way.0, request, next).await;
        drop(under_way);
        response
    };
    tokio::spawn(work.in_current_span())
        .await
        .unwrap_or_else(|error| {
            let error = Error::internal("a defect stopped the request").source_error(error);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::unknown(status, error.to_string()).into_response()
        })
}

/// Gives a request an id, logs its answer, and keeps a record of every change that was asked for.
async fn answer(state: &State, request: Request, next: Next) -> axum::response::Response {
    let environment = state.catalog.environment();
    let id = match request.headers().get(REQUEST_ID) {
        Some(given) if is_plain(given) => given.clone(),
        _ => HeaderValue::from_str(&environment.ids().uuid().to_string())
            .unwrap_or(HeaderValue::from_static("unknown")),
    };
    let request_id = id.to_str().unwrap_or("unknown").to_string();
    let method = request.method().clone();
    let path = request.uri().path().to_string();
    let matched = request
        .extensions()
        .get::<MatchedPath>()
        .map(|matched| matched.as_str().to_string());
    let span = tracing::info_span!("catalog_request", %method, path, request_id);

    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);

    response.headers_mut().insert(REQUEST_ID, id);
    let status = response.status();
    let extensions = response.extensions();
    let principal = match extensions.get::<Principal>() {
        Some(Principal(principal)) => principal.clone(),
        None => "unknown".to_string(),
    };
    let failure = extensions.get::<Failure>();
    span.in_scope(|| match failure {
        Some(Failure { message, .. }) if status.is_server_error() => tracing::error!(
            status = status.as_u16(),
            elapsed_ms,
            principal,
            reason = message,
            "request failed"
        ),
        Some(Failure { message, .. }) => tracing::debug!(
            status = status.as_u16(),
            elapsed_ms,
            principal,
            reason = message,
            "request refused"
        ),
        None => {
            tracing::debug!(
                status = status.as_u16(),
                elapsed_ms,
                principal,
                "request answered"
            );
        }
    });
    if let Some(matched) = matched.filter(|matched| is_change(&method, matched)) {
        let object = match extensions.get::<Object>() {
            Some(Object(object)) => object.clone(),
            None => path,
        };
        state.journal.audit(AuditRecord {
            at_ms: environment.clock().now_millis(),
            request_id,
            principal,
            action: format!("{method} {matched}"),
            object,
            status: status.as_u16(),
            error_type: failure.map(|failure| failure.error_type.to_string()),
        });
    }
    response
}

/// An id that can stand in logs as it is.
fn is_plain(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn is_change(method: &Method, matched: &str) -> bool {
    matches!(*method, Method::POST | Method::DELETE) && !matched.ends_with("/metrics")
}

/// The answer to a panic. Whether a change was made before it is not known.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text, "a request handler panicked");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        error_type::INTERNAL_SERVER_ERROR,
        "a defect of the server stopped the request; its log says more under the request's id",
    )
    .into_response()
}
