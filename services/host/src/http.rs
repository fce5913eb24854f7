//! The HTTP side of a role: health, metrics, and the role's own routes once it has what they need.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use berglake_format::{Error, ErrorKind, Result};
use berglake_pipeline::config::Listen;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use crate::Problem;
use crate::health::{Health, HealthReport};
use crate::telemetry;

/// Gives the metrics of the process as Prometheus reads them.
pub type Metrics = fn() -> String;

/// Where a role's own routes appear when it has what they need. Until then they are answered with
/// 503, so that a server can be started before what it serves.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<Option<Router>>>);

impl Gate {
    /// From now on these routes answer.
    pub fn open(&self, router: Router) {
        // Here and not around the server: only a routed request knows its route.
        let router = router.layer(axum::middleware::from_fn(telemetry::observed));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// From now on they answer with 503 again.
    pub fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn router(&self) -> Option<Router> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(Clone)]
struct Shared {
    role: &'static str,
    health: Health,
    gate: Gate,
    metrics: Metrics,
}

/// Takes an address, so that it is known at once whether it is free.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) for a port that another program has,
/// [`Denied`](ErrorKind::Denied) for one that this user may not take,
/// [`InvalidInput`](ErrorKind::InvalidInput) for an address that this machine does not have.
pub(crate) async fn bind(role: &str, listen: &Listen) -> Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind((listen.host(), listen.port())).await;
    let bound = bound.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        let (kind, message, help) = match error.kind() {
            std::io::ErrorKind::AddrInUse => (
                ErrorKind::Unavailable,
                "another program listens at this address",
                "end that program, or name another port",
            ),
            std::io::ErrorKind::PermissionDenied => (
                ErrorKind::Denied,
                "this user may not listen at this address",
                "name a port above 1023",
            ),
            _ => (
                ErrorKind::InvalidInput,
                "this machine cannot listen at this address",
                "name an address that it has, as in 127.0.0.1 or 0.0.0.0",
            ),
        };
        Error::new(kind, message)
            .with("role", role)
            .with("listen", listen)
            .source_error(error)
            .help(help)
    })
}

/// Serves until it is told to stop, then finishes what is in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    role: &'static str,
    health: Health,
    gate: Gate,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<()> {
    let shared = Shared {
        role,
        health,
        gate,
        metrics,
    };
    axum::serve(listener, router(shared))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the server has failed")
                .with("role", role)
                .source_error(error)
        })
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/ready/{role}", get(ready_of))
        .route("/metrics", get(metrics))
        .fallback(forward)
        .with_state(shared)
        // A request that meets a defect must not take others with it.
        .layer(CatchPanicLayer::custom(panicked))
}

/// Whether the process answers at all; that a store is away is no reason to start it again.
async fn live(State(shared): State<Shared>) -> Response {
    Json(json!({"alive": true, "role": shared.role})).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    answer(&shared.health.report(None))
}

async fn ready_of(State(shared): State<Shared>, Path(role): Path<String>) -> Response {
    answer(&shared.health.report(Some(&role)))
}

fn answer(report: &HealthReport) -> Response {
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], (shared.metrics)()).into_response()
}

async fn forward(State(shared): State<Shared>, request: Request) -> Response {
    match shared.gate.router() {
        Some(router) => match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => {
            let report = shared.health.report(Some(shared.role));
            let waits = report.checks.iter().find_map(|check| check.reason.clone());
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server is not ready to answer yet",
            );
            match waits {
                Some(reason) => problem.help(format!("it waits: {reason}")),
                None => problem,
            }
            .into_response()
        }
    }
}

fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request met a defect of the program");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the request met a defect of the program",
    )
    .into_response()
}
