//! Bearer tokens.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State as FromState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use berglake_format::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::State;
use super::error::ApiError;
use crate::rest::protocol::error_type;

/// A bearer token and who has it.
#[derive(Clone)]
pub struct Token {
    principal: String,
    digest: [u8; 32],
}

impl Token {
    /// The token of this principal, who stands in audit records.
    pub fn new(principal: impl Into<String>, token: &Secret) -> Self {
        Self {
            principal: principal.into(),
            digest: digest(token.reveal()),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.principal).finish()
    }
}

/// Who sends a request.
#[derive(Debug, Clone)]
pub(super) struct Principal(pub(super) String);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Lets in who has a token, and notes who it is in the request and in the answer.
pub(super) async fn authenticate(
    FromState(state): FromState<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let principal = match principal(&state.options.tokens, request.headers()) {
        Ok(principal) => principal,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(principal.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(principal);
    response
}

fn principal(tokens: &[Token], headers: &HeaderMap) -> Result<Principal, ApiError> {
    if tokens.is_empty() {
        return Ok(Principal("anonymous".to_string()));
    }
    let refused = |message: &str| {
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            error_type::NOT_AUTHORIZED,
            message,
        ))
    };
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return refused("a bearer token is needed: set the client's `token` property");
    };
    let given = header.to_str().ok().and_then(|header| {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let Some(given) = given else {
        return refused("the Authorization header is no bearer token");
    };
    // Every token is compared and each comparison takes the same time, so that time tells nothing.
    let given = digest(given);
    let mut found = None;
    for token in tokens {
        if bool::from(token.digest.ct_eq(&given)) {
            found = Some(token);
        }
    }
    match found {
        Some(token) => Ok(Principal(token.principal.clone())),
        None => refused("the bearer token is not known"),
    }
}
