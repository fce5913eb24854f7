//! Errors as HTTP answers: the one place where kinds become status codes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berglake_format::{Error, ErrorKind};
use serde_json::{Map, Value, json};

/// An error as an HTTP answer: a status code, and JSON that says what, where and what to do.
///
/// ```json
/// {"error": {"kind": "not-found", "message": "there is no table gold.topp",
///            "context": {"line": "1"}, "help": "did you mean gold.top?"}}
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    body: Value,
    retry_after: Option<u64>,
    challenge: bool,
}

impl Problem {
    /// An answer with this status, a stable kind, and what was wrong.
    pub fn new(status: StatusCode, kind: &str, message: &str) -> Self {
        Self {
            status,
            body: json!({"kind": kind, "message": message}),
            retry_after: None,
            challenge: false,
        }
    }

    /// The request carries no token that is known.
    pub fn unauthorized() -> Self {
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the request carries no bearer token that this server knows",
        )
        .help("send the header Authorization: Bearer TOKEN");
        problem.challenge = true;
        problem
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, advice: impl Into<String>) -> Self {
        self.body["help"] = Value::String(advice.into());
        self
    }

    /// Asks the client to come back after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What stands under `error`, for an answer that has begun already.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        // A limit is no fault of the store or the request: the same query fits with another limit.
        let limit = error.context().iter().any(|(key, _)| *key == "limit");
        let (status, kind) = if limit {
            (StatusCode::UNPROCESSABLE_ENTITY, "limit-exceeded")
        } else {
            (status(error.kind()), error.kind().as_str())
        };
        let mut problem = Self::new(status, kind, error.message());
        let context: Map<String, Value> = error
            .context()
            .iter()
            .map(|(key, value)| ((*key).to_string(), Value::String(value.clone())))
            .collect();
        if !context.is_empty() {
            problem.body["context"] = Value::Object(context);
        }
        if let Some(cause) = std::error::Error::source(error) {
            let cause = cause.to_string();
            // What wraps a cause often repeats it.
            if !error.message().contains(&cause) {
                problem.body["cause"] = Value::String(cause);
            }
        }
        match error.advice() {
            Some(advice) => problem.help(advice),
            None => problem,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // The store refuses our credentials, not those of the client.
        ErrorKind::Denied => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"error": self.body}))).into_response();
        let headers = response.headers_mut();
        let retry = match (self.retry_after, self.status) {
            (Some(seconds), _) => Some(seconds),
            (None, StatusCode::SERVICE_UNAVAILABLE) => Some(1),
            (None, _) => None,
        };
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.challenge {
            let challenge = HeaderValue::from_static("Bearer realm=\"berglake\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_what_it_says() {
        let error = Error::not_found("there is no table t")
            .with("line", 3)
            .source_error("the catalog says so")
            .help("did you mean u?");
        let problem = Problem::from(&error);
        assert_eq!(problem.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            problem.body(),
            &json!({"kind": "not-found", "message": "there is no table t", "context": {"line": "3"},
                    "cause": "the catalog says so", "help": "did you mean u?"})
        );
        let away = Problem::from(Error::new(ErrorKind::Unavailable, "x")).into_response();
        assert_eq!(away.headers()[header::RETRY_AFTER], "1");
        let limit = Error::new(ErrorKind::Unavailable, "too much").with("limit", "memory");
        assert_eq!(Problem::from(limit).body()["kind"], "limit-exceeded");
    }
}
