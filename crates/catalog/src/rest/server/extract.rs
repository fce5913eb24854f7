//! What requests carry: names in paths, queries, bodies.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use berglake_format::commit::metadata_file;
use berglake_format::{Error, NamespaceIdent, TableIdent};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::State;
use super::error::ApiError;
use crate::rest::protocol::{decode_namespace, decode_segment, error_type};

/// The route's beginning for clients that use a prefix.
pub(super) const PREFIXED: &str = "/v1/{prefix}";

/// The path's segments after `/v1` and, where the route has one, the prefix.
///
/// They are taken from the raw path: what a client means by `+` is lost after the usual decoding.
fn segments(parts: &Parts) -> Vec<&str> {
    let matched = parts.extensions.get::<MatchedPath>();
    let prefixed = matched.is_some_and(|matched| matched.as_str().starts_with(PREFIXED));
    let skip = if prefixed { 3 } else { 2 };
    parts.uri.path().split('/').skip(skip).collect()
}

fn checked(name: String) -> Result<String, ApiError> {
    if name.contains('\0') {
        return Err(ApiError::bad_request(
            "a name in the path contains the character NUL",
        ));
    }
    Ok(name)
}

fn invalid(error: &Error) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// The namespace of the path.
pub(super) struct NamespacePath(pub(super) NamespaceIdent);

impl FromRequestParts<Arc<State>> for NamespacePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<State>) -> Result<Self, ApiError> {
        let segment = segments(parts).get(1).copied().unwrap_or_default();
        let namespace = decode_namespace(segment).map_err(|error| invalid(&error))?;
        for level in namespace.iter() {
            checked(level.clone())?;
        }
        Ok(Self(namespace))
    }
}

/// The table of the path.
pub(super) struct TablePath(pub(super) TableIdent);

impl FromRequestParts<Arc<State>> for TablePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let NamespacePath(namespace) = NamespacePath::from_request_parts(parts, state).await?;
        let segment = segments(parts).get(3).copied().unwrap_or_default();
        let name = decode_segment(segment).map_err(|error| invalid(&error))?;
        Ok(Self(TableIdent::new(namespace, checked(name)?)))
    }
}

/// The query of the address.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<State>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<State>) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::bad_request(format!(
                "the query of the address cannot be read: {}",
                error.body_text()
            ))),
        }
    }
}

/// The most bytes of the bodies of a route, where that is less than the server's setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct MostBytes(pub(super) usize);

/// The body, as JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<State>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        let most = match request.extensions().get::<MostBytes>() {
            Some(MostBytes(most)) => *most,
            None => state.options.max_body,
        };
        let bytes = match Bytes::from_request(request, state).await {
            Ok(bytes) => bytes,
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    error_type::BAD_REQUEST,
                    format!(
                        "the body is larger than {most} bytes, which is the most that this server takes"
                    ),
                ));
            }
            Err(error) => {
                return Err(ApiError::bad_request(format!(
                    "the body did not arrive: {}",
                    error.body_text()
                )));
            }
        };
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| unreadable(&bytes, &error))
    }
}

/// A body that cannot be read: most often for a column of a type that only newer versions know.
fn unreadable(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    let body: Option<Value> = serde_json::from_slice(bytes).ok();
    if let Some(error) = body.as_ref().and_then(newer_column) {
        return ApiError::bad_request(error.to_string()).because(&error);
    }
    ApiError::bad_request(format!("the body cannot be read: {error}"))
}

/// The error for a schema in the body with such a column: that of a table to create, or one that a commit
/// or one of several commits adds.
fn newer_column(body: &Value) -> Option<Error> {
    let commits = body["table-changes"].as_array().into_iter().flatten();
    let updates = commits
        .chain([body])
        .filter_map(|commit| commit["updates"].as_array())
        .flatten();
    updates
        .map(|update| &update["schema"])
        .chain([&body["schema"]])
        .find_map(metadata_file::newer_column)
}
