//! Errors as the specification has them: one mapping from kinds to status codes and types.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berglake_format::{Error, ErrorKind, NamespaceIdent, TableIdent};

use crate::rest::protocol::{ErrorModel, ErrorResponse, error_type};

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) error_type: &'static str,
    pub(super) message: String,
    /// What berglake's own client takes over, where an error of the catalog stands behind it.
    kind: Option<ErrorKind>,
    help: Option<String>,
}

/// What was looked for when something was not found, or was in the way when there was a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    Namespace(&'a NamespaceIdent),
    Table(&'a TableIdent),
}

impl Subject<'_> {
    /// The first words are what clients and their tests look for.
    fn missing(self) -> String {
        match self {
            Self::Namespace(namespace) => {
                format!("Namespace does not exist: {}", namespace.join("."))
            }
            Self::Table(ident) => format!("Table does not exist: {ident}"),
        }
    }

    fn exists(self) -> String {
        match self {
            Self::Namespace(namespace) => {
                format!("Namespace already exists: {}", namespace.join("."))
            }
            Self::Table(ident) => format!("Table already exists: {ident}"),
        }
    }
}

/// A failure as the log and the audit record have it; beside the answer, not in it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error_type: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        error_type: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error_type,
            message: message.into(),
            kind: None,
            help: None,
        }
    }

    /// The same, with the kind and the advice of the error that stands behind it.
    pub(super) fn because(mut self, error: &Error) -> Self {
        self.kind = Some(error.kind());
        self.help = error.advice().map(str::to_string);
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error_type::BAD_REQUEST, message)
    }

    /// It may have been done. The status says who lost the answer.
    pub(super) fn unknown(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, error_type::COMMIT_STATE_UNKNOWN, message)
    }

    pub(super) fn no_such(subject: Subject<'_>) -> Self {
        let error_type = match subject {
            Subject::Namespace(_) => error_type::NO_SUCH_NAMESPACE,
            Subject::Table(_) => error_type::NO_SUCH_TABLE,
        };
        Self::new(StatusCode::NOT_FOUND, error_type, subject.missing())
    }

    /// The answer to an error of the catalog while it dealt with this subject.
    pub(super) fn of(subject: Subject<'_>, error: &Error) -> Self {
        let answer = match (error.kind(), subject) {
            (ErrorKind::NotFound, _) => {
                let mut answer = Self::no_such(subject);
                if let (Subject::Table(_), Some(advice)) = (subject, error.advice()) {
                    answer.message = format!("{}; {advice}", answer.message);
                }
                answer
            }
            (ErrorKind::AlreadyExists, _) => Self::new(
                StatusCode::CONFLICT,
                error_type::ALREADY_EXISTS,
                subject.exists(),
            ),
            (ErrorKind::Conflict, Subject::Namespace(_)) => Self::new(
                StatusCode::CONFLICT,
                error_type::NAMESPACE_NOT_EMPTY,
                error.to_string(),
            ),
            _ => Self::general(error),
        };
        answer.because(error)
    }

    /// The answer to an error that is not about one namespace or table.
    pub(super) fn general(error: &Error) -> Self {
        let (status, error_type) = match error.kind() {
            ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, error_type::BAD_REQUEST),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, error_type::NOT_FOUND),
            ErrorKind::AlreadyExists => (StatusCode::CONFLICT, error_type::ALREADY_EXISTS),
            ErrorKind::Conflict => (StatusCode::CONFLICT, error_type::COMMIT_FAILED),
            ErrorKind::UnknownOutcome => {
                (StatusCode::BAD_GATEWAY, error_type::COMMIT_STATE_UNKNOWN)
            }
            ErrorKind::Unsupported => (
                StatusCode::NOT_ACCEPTABLE,
                error_type::UNSUPPORTED_OPERATION,
            ),
            // Refused are the server's own credentials, not the client's.
            ErrorKind::Unavailable | ErrorKind::Denied => (
                StatusCode::SERVICE_UNAVAILABLE,
                error_type::SERVICE_UNAVAILABLE,
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                error_type::INTERNAL_SERVER_ERROR,
            ),
        };
        Self::new(status, error_type, error.to_string()).because(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorResponse {
            error: ErrorModel {
                message: self.message.clone(),
                error_type: self.error_type.to_string(),
                code: self.status.as_u16(),
                stack: Vec::new(),
                kind: self.kind.map(|kind| kind.as_str().to_string()),
                help: self.help,
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(Failure {
            error_type: self.error_type,
            message: self.message,
        });
        response
    }
}
