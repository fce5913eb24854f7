//! The routes, and what surrounds them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State as FromState};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::error::ApiError;
use super::extract::{MostBytes, PREFIXED};
use super::{State, auth, commits, config, metrics, namespaces, observe, tables};
use crate::rest::protocol::{endpoints, error_type};

/// What this server can do.
pub(super) const ENDPOINTS: [&str; 16] = [
    endpoints::LIST_NAMESPACES,
    endpoints::CREATE_NAMESPACE,
    endpoints::LOAD_NAMESPACE,
    endpoints::NAMESPACE_EXISTS,
    endpoints::DROP_NAMESPACE,
    endpoints::UPDATE_NAMESPACE,
    endpoints::LIST_TABLES,
    endpoints::CREATE_TABLE,
    endpoints::LOAD_TABLE,
    endpoints::TABLE_EXISTS,
    endpoints::UPDATE_TABLE,
    endpoints::DROP_TABLE,
    endpoints::REGISTER_TABLE,
    endpoints::REPORT_METRICS,
    endpoints::RENAME_TABLE,
    endpoints::COMMIT_TRANSACTION,
];

/// What the specification has and this server has not.
const UNSUPPORTED: [&str; 12] = [
    "/views/rename",
    "/namespaces/{namespace}/views",
    "/namespaces/{namespace}/views/{view}",
    "/namespaces/{namespace}/register-view",
    "/namespaces/{namespace}/functions",
    "/namespaces/{namespace}/functions/{function}",
    "/namespaces/{namespace}/tables/{table}/credentials",
    "/namespaces/{namespace}/tables/{table}/plan",
    "/namespaces/{namespace}/tables/{table}/plan/{plan}",
    "/namespaces/{namespace}/tables/{table}/tasks",
    "/namespaces/{namespace}/tables/{table}/sign",
    "/namespaces/{namespace}/tables/{table}/unregister",
];

/// The most bytes of a metrics report. An engine sends a few kilobytes, and what waits to be written
/// waits in memory.
const MOST_OF_A_REPORT: usize = 1 << 20;

pub(super) fn router(state: Arc<State>) -> Router {
    let most = state.options.max_body;
    let prefixed = routes(PREFIXED, most);
    let prefixed = prefixed.route_layer(from_fn_with_state(state.clone(), known_prefix));
    Router::new()
        .route("/v1/config", get(config::get))
        .route("/v1/oauth/tokens", post(no_tokens))
        .merge(routes("/v1", most))
        .merge(prefixed)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(most))
        .layer(from_fn_with_state(state.clone(), auth::authenticate))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .layer(CompressionLayer::new())
        .with_state(state)
}

/// The routes of a warehouse. They are there without a prefix and with one.
fn routes(base: &str, most: usize) -> Router<Arc<State>> {
    let at = |path: &str| format!("{base}{path}");
    let of_a_report = most.min(MOST_OF_A_REPORT);
    let mut router = Router::new()
        .route(
            &at("/namespaces"),
            get(namespaces::list).post(namespaces::create),
        )
        .route(
            &at("/namespaces/{namespace}"),
            get(namespaces::load)
                .head(namespaces::exists)
                .delete(namespaces::drop),
        )
        .route(
            &at("/namespaces/{namespace}/properties"),
            post(namespaces::update),
        )
        .route(
            &at("/namespaces/{namespace}/tables"),
            get(tables::list).post(tables::create),
        )
        .route(
            &at("/namespaces/{namespace}/tables/{table}"),
            get(tables::load)
                .head(tables::exists)
                .post(commits::update)
                .delete(tables::drop),
        )
        .route(
            &at("/namespaces/{namespace}/tables/{table}/metrics"),
            post(metrics::report).layer((
                DefaultBodyLimit::max(of_a_report),
                Extension(MostBytes(of_a_report)),
            )),
        )
        .route(
            &at("/namespaces/{namespace}/register"),
            post(tables::register),
        )
        .route(&at("/tables/rename"), post(tables::rename))
        .route(&at("/transactions/commit"), post(commits::transaction));
    for path in UNSUPPORTED {
        router = router.route(&at(path), any(unsupported));
    }
    router
}

/// Refuses a prefix that `/v1/config` never gave.
async fn known_prefix(
    FromState(state): FromState<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let mut segments = request.uri().path().split('/').skip(2);
    let asked = segments.next().unwrap_or_default().to_string();
    if state.prefix.as_ref() == Some(&asked) {
        return next.run(request).await;
    }
    config::no_such_warehouse(&state, &asked).into_response()
}

async fn unsupported(method: Method, request: Request) -> ApiError {
    ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        error_type::UNSUPPORTED_OPERATION,
        format!(
            "this server does not have {method} {}; /v1/config lists what it has",
            request.uri().path()
        ),
    )
}

async fn no_route(method: Method, request: Request) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        error_type::NOT_FOUND,
        format!("there is no route {method} {}", request.uri().path()),
    )
}

async fn no_method(method: Method, request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        error_type::UNSUPPORTED_OPERATION,
        format!("{} does not take {method}", request.uri().path()),
    )
}

/// The specification's route for tokens has errors of its own form, and is to be removed.
async fn no_tokens() -> Response {
    let body = json!({
        "error": "unsupported_grant_type",
        "error_description":
            "this server issues no tokens; send the one that it was configured with as a bearer token",
    });
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
