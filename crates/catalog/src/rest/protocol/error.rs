//! How a server says that something went wrong.

use serde::{Deserialize, Serialize};

use super::nullable;

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The error.
    pub error: ErrorModel,
}

/// An error: for people, and by type and code for programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorModel {
    /// What went wrong, for people.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
    /// What went wrong, one of [`error_type`] or another server's own.
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    pub error_type: String,
    /// The HTTP status code again.
    #[serde(default, deserialize_with = "nullable")]
    pub code: u16,
    /// What the caller can do, an [`ErrorKind`](berglake_format::ErrorKind) by its name. Only
    /// berglake's server says it: one status of HTTP stands for several kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What to do about it, for people. Only berglake's server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where in the server it happened.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub stack: Vec<String>,
}

/// The types of errors, under the names that clients know.
pub mod error_type {
    /// 400: the request is wrong.
    pub const BAD_REQUEST: &str = "BadRequestException";
    /// 401: no token, or one that is not known.
    pub const NOT_AUTHORIZED: &str = "NotAuthorizedException";
    /// 403: the token may not do this.
    pub const FORBIDDEN: &str = "ForbiddenException";
    /// 404 without an object: there is no such route.
    pub const NOT_FOUND: &str = "NotFoundException";
    /// 404: there is no such namespace.
    pub const NO_SUCH_NAMESPACE: &str = "NoSuchNamespaceException";
    /// 404: there is no such table.
    pub const NO_SUCH_TABLE: &str = "NoSuchTableException";
    /// 404: there is no such view.
    pub const NO_SUCH_VIEW: &str = "NoSuchViewException";
    /// 404: there is no such warehouse.
    pub const NO_SUCH_WAREHOUSE: &str = "NoSuchWarehouseException";
    /// 406: the server does not do this.
    pub const UNSUPPORTED_OPERATION: &str = "UnsupportedOperationException";
    /// 409: it exists already.
    pub const ALREADY_EXISTS: &str = "AlreadyExistsException";
    /// 409: the namespace is not empty.
    pub const NAMESPACE_NOT_EMPTY: &str = "NamespaceNotEmptyException";
    /// 409: nothing was committed, and it is certain.
    pub const COMMIT_FAILED: &str = "CommitFailedException";
    /// 422: a property is both set and removed.
    pub const UNPROCESSABLE_ENTITY: &str = "UnprocessableEntityException";
    /// 500, 502, 504: it may have been committed.
    pub const COMMIT_STATE_UNKNOWN: &str = "CommitStateUnknownException";
    /// 500: a defect.
    pub const INTERNAL_SERVER_ERROR: &str = "InternalServerError";
    /// 503: the server cannot do it now.
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailableException";
}
