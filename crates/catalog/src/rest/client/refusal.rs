//! What an answer that is no success means to the caller.

use berglake_format::{Error, ErrorKind};
use http::StatusCode;
use http::header::LOCATION;

use super::transport::{Reply, Request};
use crate::rest::protocol::{ErrorModel, ErrorResponse, error_type};

/// The characters of a body that is no error of the specification that are worth showing.
const EXCERPT: usize = 200;

/// The model in an answer; none where it comes from something else than an Iceberg catalog.
fn model(reply: &Reply) -> Option<ErrorModel> {
    let body: ErrorResponse = serde_json::from_slice(&reply.body).ok()?;
    Some(body.error)
}

/// The type that an answer names.
pub(super) fn type_of(reply: &Reply) -> Option<String> {
    Some(model(reply)?.error_type)
}

/// Whether the request may have been carried out although the answer is no success.
///
/// A gateway answers 5xx in the name of a server that may have done its work. An answer of berglake's
/// own server says by its kind whether anything was changed.
pub(super) fn is_doubtful(reply: &Reply) -> bool {
    if let Some(kind) = model(reply).and_then(|model| known_kind(&model.kind?)) {
        return matches!(kind, ErrorKind::UnknownOutcome | ErrorKind::Internal);
    }
    let status = reply.status;
    status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// An answer as the error that it stands for.
pub(super) fn error(base: &str, request: &Request, reply: &Reply) -> Error {
    let model = model(reply);
    let foreign = model.is_none();
    let ErrorModel {
        message,
        error_type,
        kind,
        help,
        ..
    } = model.unwrap_or_default();
    let said = kind.as_deref().and_then(known_kind);
    // Our own server has said which catalog it is in its message.
    let ours = said.is_some();
    let kind = said.unwrap_or_else(|| kind_of(reply.status, &error_type));
    let message = if message.trim().is_empty() {
        format!("the catalog answered {}", reply.status)
    } else {
        // Clients that know no advice find it in the message.
        let advice = help.as_ref().map(|help| format!("; {help}"));
        let bare = advice.and_then(|advice| message.strip_suffix(&advice).map(str::to_string));
        bare.unwrap_or(message)
    };
    let mut error = Error::new(kind, message);
    if !ours {
        error = error.with("catalog", base);
    }
    if foreign {
        error = error.with("request", request);
        if let Some(excerpt) = excerpt(&reply.body) {
            error = error.with("answer", excerpt);
        }
    }
    match help.or_else(|| advice(reply, foreign)) {
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

fn kind_of(status: StatusCode, error_type: &str) -> ErrorKind {
    match error_type {
        error_type::COMMIT_STATE_UNKNOWN => return ErrorKind::UnknownOutcome,
        error_type::UNSUPPORTED_OPERATION => return ErrorKind::Unsupported,
        _ => {}
    }
    match status.as_u16() {
        401 | 403 | 407 | 419 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        405 | 406 | 501 => ErrorKind::Unsupported,
        409 => match error_type {
            error_type::ALREADY_EXISTS => ErrorKind::AlreadyExists,
            _ => ErrorKind::Conflict,
        },
        408 | 429 | 500.. => ErrorKind::Unavailable,
        // A redirection is a wrong address, and 4xx a wrong request.
        _ => ErrorKind::InvalidInput,
    }
}

fn advice(reply: &Reply, foreign: bool) -> Option<String> {
    if reply.status.is_redirection() {
        let to = reply.header(LOCATION).unwrap_or("another address");
        return Some(format!(
            "the server sends the request on to {to}: name that address in catalog.uri"
        ));
    }
    match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(
            "check catalog.token (BERGLAKE_CATALOG__TOKEN) and what it may do in the catalog"
                .to_string(),
        ),
        StatusCode::NOT_FOUND if foreign => {
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

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("https://b"))]),
            body: Bytes::from(body.to_string()),
        }
    }

    fn said(status: u16, body: &str) -> Error {
        let request = Request::new(Method::GET, "/v1/config".to_string());
        error("http://a", &request, &reply(status, body))
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
            (
                500,
                "CommitStateUnknownException",
                ErrorKind::UnknownOutcome,
            ),
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
        assert_eq!(error.to_string(), "no; mend it");
        let error = said(
            400,
            r#"{"error":{"message":"no (x: 1); mend it","kind":"invalid-input","help":"mend it"}}"#,
        );
        assert_eq!(error.to_string(), "no (x: 1); mend it");
        assert_eq!(error.advice(), Some("mend it"));
    }

    #[test]
    fn only_our_own_server_can_be_busy_for_certain() {
        let doubtful = |status, body: &str| is_doubtful(&reply(status, body));
        assert!(!doubtful(503, r#"{"error":{"kind":"unavailable"}}"#));
        assert!(!doubtful(500, r#"{"error":{"kind":"corrupt"}}"#));
        assert!(doubtful(500, r#"{"error":{"kind":"internal"}}"#));
        assert!(doubtful(502, r#"{"error":{"kind":"unknown-outcome"}}"#));
        assert!(doubtful(503, r#"{"error":{"message":"busy"}}"#));
        for status in [408, 500, 502, 503, 504] {
            assert!(doubtful(status, "<html>"), "{status}");
        }
        for status in [301, 400, 401, 404, 409, 429, 501] {
            assert!(!doubtful(status, "<html>"), "{status}");
        }
    }
}
