//! What an answer that is no success means to the caller.

use berglake_format::{Error, ErrorKind};
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;

use super::transport::{Reply, Request};
use crate::rest::protocol::error_type;

/// The characters of a body that is no error of the specification that are worth showing.
const EXCERPT: usize = 200;

/// The error model of the specification, as much of it as is there. `kind` and `help` are what
/// berglake's own server adds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Model {
    message: Option<String>,
    #[serde(rename = "type")]
    error_type: Option<String>,
    kind: Option<String>,
    help: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Body {
    error: Model,
}

/// The model in an answer; none where it comes from something else than an Iceberg catalog.
fn model(reply: &Reply) -> Option<Model> {
    let body: Body = serde_json::from_slice(&reply.body).ok()?;
    Some(body.error)
}

/// The type that an answer names.
pub(super) fn error_type(reply: &Reply) -> Option<String> {
    model(reply)?.error_type
}

/// An answer as the error that it stands for.
pub(super) fn error(base: &str, request: &Request, reply: &Reply) -> Error {
    let model = model(reply);
    let foreign = model.is_none();
    let Model {
        message,
        error_type,
        kind,
        help,
    } = model.unwrap_or_default();
    let said = kind.as_deref().and_then(known_kind);
    let kind = said.unwrap_or_else(|| kind_of(reply.status, error_type.as_deref()));
    let message = match message.filter(|message| !message.trim().is_empty()) {
        Some(message) => message,
        None => format!("the catalog answered {}", reply.status),
    };
    let mut error = Error::new(kind, message).with("catalog", base);
    if foreign {
        error = error.with("request", request);
        if let Some(excerpt) = excerpt(&reply.body) {
            error = error.with("answer", excerpt);
        }
    }
    match help.or_else(|| advice(reply, kind, foreign)) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// An answer that reports success and cannot be read.
pub(super) fn unreadable(base: &str, request: &Request, cause: serde_json::Error) -> Error {
    Error::corrupt("the catalog's answer is not what the REST specification says")
        .with("catalog", base)
        .with("request", request)
        .source_error(cause)
}

fn known_kind(name: &str) -> Option<ErrorKind> {
    [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Conflict,
        ErrorKind::UnknownOutcome,
        ErrorKind::Corrupt,
        ErrorKind::Unsupported,
        ErrorKind::Unavailable,
        ErrorKind::Denied,
        ErrorKind::Internal,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == name)
}

fn kind_of(status: StatusCode, error_type: Option<&str>) -> ErrorKind {
    match error_type {
        Some(error_type::COMMIT_STATE_UNKNOWN) => return ErrorKind::UnknownOutcome,
        Some(error_type::UNSUPPORTED_OPERATION) => return ErrorKind::Unsupported,
        _ => {}
    }
    match status.as_u16() {
        401 | 403 | 407 | 419 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        405 | 406 | 501 => ErrorKind::Unsupported,
        409 => match error_type {
            Some(error_type::ALREADY_EXISTS) => ErrorKind::AlreadyExists,
            _ => ErrorKind::Conflict,
        },
        408 | 429 | 500.. => ErrorKind::Unavailable,
        // A redirection is a wrong address, and 4xx a wrong request.
        _ => ErrorKind::InvalidInput,
    }
}

fn advice(reply: &Reply, kind: ErrorKind, foreign: bool) -> Option<String> {
    if reply.status.is_redirection() {
        let to = reply.header(LOCATION).unwrap_or("another address");
        return Some(format!(
            "the server sends the request on to {to}: name that address in catalog.uri"
        ));
    }
    match kind {
        ErrorKind::Denied => Some(
            "check catalog.token (BERGLAKE_CATALOG__TOKEN) and what it may do in the catalog"
                .to_string(),
        ),
        ErrorKind::NotFound if foreign => {
            Some("check that catalog.uri is the address of an Iceberg REST catalog".to_string())
        }
        _ => None,
    }
}

/// The beginning of a body as one line of text.
fn excerpt(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(EXCERPT)
        .collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn said(status: u16, body: &str) -> Error {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("https://b"))]),
            body: Bytes::from(body.to_string()),
        };
        let request = Request::new(Method::GET, "/v1/config".to_string());
        error("http://a", &request, &reply)
    }

    fn model(status: u16, error_type: &str) -> Error {
        said(
            status,
            &format!(r#"{{"error":{{"message":"no","type":"{error_type}","code":{status}}}}}"#),
        )
    }

    #[test]
    fn each_answer_has_the_kind_that_says_what_to_do() {
        for (status, name, kind) in [
            (400, "BadRequestException", ErrorKind::InvalidInput),
            (400, "UnsupportedOperationException", ErrorKind::Unsupported),
            (401, "NotAuthorizedException", ErrorKind::Denied),
            (403, "ForbiddenException", ErrorKind::Denied),
            (404, "NoSuchTableException", ErrorKind::NotFound),
            (406, "UnsupportedOperationException", ErrorKind::Unsupported),
            (409, "AlreadyExistsException", ErrorKind::AlreadyExists),
            (409, "NamespaceNotEmptyException", ErrorKind::Conflict),
            (409, "CommitFailedException", ErrorKind::Conflict),
            (422, "UnprocessableEntityException", ErrorKind::InvalidInput),
            (429, "SlowDownException", ErrorKind::Unavailable),
            (500, "InternalServerError", ErrorKind::Unavailable),
            (500, "CommitStateUnknownException", ErrorKind::UnknownOutcome),
            (503, "ServiceUnavailableException", ErrorKind::Unavailable),
        ] {
            let error = model(status, name);
            assert_eq!(error.kind(), kind, "{status} {name}");
            assert_eq!(error.message(), "no");
        }
        assert!(model(401, "NotAuthorizedException").advice().is_some());
    }

    #[test]
    fn what_is_no_catalog_is_recognised_and_shown_in_short() {
        let error = said(404, "<html>\n<h1>Not\u{7} Found</h1>");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.contains("answered 404 Not Found"), "{text}");
        assert!(text.contains("answer: <html> <h1>Not Found</h1>"), "{text}");
        assert!(text.contains("Iceberg REST catalog"), "{text}");
        let long = said(502, &"x".repeat(100_000)).to_string();
        assert!(long.len() < 600, "{}", long.len());
        let moved = said(301, "").to_string();
        assert!(moved.contains("https://b"), "{moved}");
    }

    #[test]
    fn kind_and_advice_of_our_own_server_are_taken_over() {
        let error = said(
            400,
            r#"{"error":{"message":"no","type":"BadRequestException","code":400,
                "kind":"corrupt","help":"mend it","stack":null}}"#,
        );
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.advice(), Some("mend it"));
        assert_eq!(error.to_string(), "no (catalog: http://a); mend it");
    }
}
