//! What is seen of requests from outside: a span around each, which is a part of its caller's trace,
//! and how long it took with which status.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use berglake_telemetry::instruments::{self, attribute as at};
use berglake_telemetry::propagation;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// Middleware for [`axum::middleware::from_fn`]. Paths stand in neither span nor measurement, only
/// their routes: a path holds names, and there are as many as there are requests.
pub(crate) async fn observed(request: Request, next: Next) -> Response {
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(
        || "unmatched".to_string(),
        |route| route.as_str().to_string(),
    );
    let headers = request.headers().clone();
    let handling = async move {
        let span = tracing::info_span!(
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            otel.status_code = Empty,
        );
        let started = Instant::now();
        let response = next.run(request).instrument(span.clone()).await;
        record(
            &span,
            method,
            route,
            response.status().as_u16(),
            started.elapsed(),
        );
        response
    };
    propagation::within(&headers, handling).await
}

fn record(span: &Span, method: &'static str, route: String, status: u16, took: Duration) {
    span.record("http.response.status_code", status);
    let mut of = vec![at::method(method), at::route(route), at::status(status)];
    // What the caller did wrong is no error of the server.
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
        of.push(at::error(status.to_string()));
    }
    instruments::HTTP_SERVER_DURATION.record(took.as_secs_f64(), &of);
}

/// The methods that there are; anybody can send others, and each would be a series of its own.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
