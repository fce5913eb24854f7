//! What a client asks: JSON, or plain SQL with headers.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use berglake_format::NamespaceIdent;
use berglake_host::Problem;
use berglake_query::encode::RowFormat;
use serde::Deserialize;

/// A question that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    pub(crate) sql: String,
    pub(crate) format: RowFormat,
    pub(crate) namespace: Option<NamespaceIdent>,
    pub(crate) limits: Limits,
}

/// Bounds that the client sets for itself; those of the server hold as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// The most rows.
    pub(crate) max_rows: Option<u64>,
    timeout_ms: Option<u64>,
}

impl Limits {
    /// The longest time.
    pub(crate) fn timeout(self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    sql: String,
    format: Option<Format>,
    namespace: Option<Namespace>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    NdJson,
    Csv,
    Arrow,
}

impl From<Format> for RowFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::NdJson => Self::NdJson,
            Format::Csv => Self::Csv,
            Format::Arrow => Self::Arrow,
        }
    }
}

/// One name, or the parts of a nested one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Namespace {
    Dotted(String),
    Parts(Vec<String>),
}

impl Question {
    /// Reads a request's headers and body.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8 text"))?;
        let accepted = accepted(headers)?;
        let content = media_type(headers, header::CONTENT_TYPE).unwrap_or_default();
        let question = match content.as_str() {
            // What is sent without a type by people who type is JSON or SQL; braces begin no statement.
            "application/json" => from_json(text, accepted)?,
            "" | "application/x-www-form-urlencoded" if text.trim_start().starts_with('{') => {
                from_json(text, accepted)?
            }
            "text/plain" | "application/sql" | "application/x-www-form-urlencoded" | "" => Self {
                sql: text.to_string(),
                format: accepted.unwrap_or(RowFormat::Json),
                namespace: None,
                limits: Limits::default(),
            },
            other => {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "invalid-input",
                    &format!("the body cannot be {other:?}"),
                )
                .help(
                    "send application/json with {\"sql\": …}, or text/plain with the statement",
                ));
            }
        };
        if question.sql.trim().is_empty() {
            return Err(invalid("there is no statement"));
        }
        Ok(question)
    }
}

fn from_json(text: &str, accepted: Option<RowFormat>) -> Result<Question, Problem> {
    let body: Body = serde_json::from_str(text).map_err(|error| {
        invalid(&format!("the body is not what is expected: {error}")).help(
            "send {\"sql\": \"SELECT …\", \"format\": \"json\" | \"ndjson\" | \"csv\" | \"arrow\", \
             \"namespace\": \"silver\", \"limits\": {\"max_rows\": 1000, \"timeout_ms\": 5000}}; \
             all but sql may be left out",
        )
    })?;
    let parts = body.namespace.map(|namespace| match namespace {
        Namespace::Dotted(name) => name.split('.').map(str::to_string).collect(),
        Namespace::Parts(parts) => parts,
    });
    let namespace = match parts {
        Some(parts) if parts.iter().any(|part: &String| part.is_empty()) || parts.is_empty() => {
            return Err(invalid("the namespace has an empty name"));
        }
        Some(parts) => {
            Some(NamespaceIdent::from_vec(parts).map_err(|error| invalid(&error.to_string()))?)
        }
        None => None,
    };
    Ok(Question {
        sql: body.sql,
        format: body
            .format
            .map(RowFormat::from)
            .or(accepted)
            .unwrap_or(RowFormat::Json),
        namespace,
        limits: body.limits,
    })
}

/// The first format that the client accepts and the server has; none where it does not care.
fn accepted(headers: &HeaderMap) -> Result<Option<RowFormat>, Problem> {
    let Some(accept) = headers.get(header::ACCEPT) else {
        return Ok(None);
    };
    let accept = accept
        .to_str()
        .map_err(|_| invalid("the header Accept is no text"))?;
    for wanted in accept.split(',') {
        let wanted = wanted.split(';').next().unwrap_or_default().trim();
        return Ok(Some(match wanted.to_ascii_lowercase().as_str() {
            "application/json" => RowFormat::Json,
            "application/x-ndjson" | "application/jsonl" => RowFormat::NdJson,
            "text/csv" => RowFormat::Csv,
            "application/vnd.apache.arrow.stream" => RowFormat::Arrow,
            "*/*" | "application/*" | "" => return Ok(None),
            _ => continue,
        }));
    }
    Err(Problem::new(
        StatusCode::NOT_ACCEPTABLE,
        "invalid-input",
        "the server has no answer of the type that the client accepts",
    )
    .help(
        "accept application/json, application/x-ndjson, text/csv or \
         application/vnd.apache.arrow.stream",
    ))
}

fn media_type(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    let value = value.split(';').next().unwrap_or_default().trim();
    Some(value.to_ascii_lowercase())
}

fn invalid(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-input", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(header::HeaderName, &str)], body: &str) -> Result<Question, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        Question::read(&map, body.as_bytes())
    }

    #[test]
    fn json_and_plain_sql_ask_the_same() {
        let json = read(
            &[(header::CONTENT_TYPE, "application/json; charset=utf-8")],
            r#"{"sql": "SELECT 1", "format": "csv", "namespace": "a.b",
                "limits": {"max_rows": 5, "timeout_ms": 100}}"#,
        )
        .unwrap();
        assert_eq!(
            (json.sql.as_str(), json.format),
            ("SELECT 1", RowFormat::Csv)
        );
        assert_eq!(json.namespace.unwrap().as_ref(), &["a", "b"]);
        assert_eq!(json.limits.max_rows, Some(5));
        assert_eq!(json.limits.timeout(), Some(Duration::from_millis(100)));

        let plain = read(
            &[
                (header::CONTENT_TYPE, "text/plain"),
                (header::ACCEPT, "image/png, text/csv;q=0.5, */*"),
            ],
            "SELECT 1",
        )
        .unwrap();
        assert_eq!(
            (plain.sql.as_str(), plain.format),
            ("SELECT 1", RowFormat::Csv)
        );
        // As `curl -d` sends it.
        let form = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded")];
        assert_eq!(read(&form, "SELECT 2").unwrap().sql, "SELECT 2");
        assert_eq!(
            read(&form, r#" {"sql": "SELECT 3"}"#).unwrap().sql,
            "SELECT 3"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        let json = (header::CONTENT_TYPE, "application/json");
        for (headers, body, status) in [
            (vec![json.clone()], "", 400),
            (vec![json.clone()], "[]", 400),
            (vec![json.clone()], r#"{"sql": 1}"#, 400),
            (vec![json.clone()], r#"{"sql": "  "}"#, 400),
            (vec![json.clone()], r#"{"sql": "x", "sq": 1}"#, 400),
            (vec![json.clone()], r#"{"sql": "x", "format": "xml"}"#, 400),
            (
                vec![json.clone()],
                r#"{"sql": "x", "namespace": "a..b"}"#,
                400,
            ),
            (vec![json.clone()], r#"{"sql": "x", "namespace": []}"#, 400),
            (
                vec![json],
                r#"{"sql": "x", "limits": {"max_rows": -1}}"#,
                400,
            ),
            (vec![(header::CONTENT_TYPE, "text/plain")], " \n", 400),
            (vec![(header::CONTENT_TYPE, "image/png")], "x", 415),
            (vec![(header::ACCEPT, "image/png")], "SELECT 1", 406),
        ] {
            let problem = read(&headers, body).unwrap_err();
            assert_eq!(problem.status().as_u16(), status, "{body}");
        }
        assert!(Question::read(&HeaderMap::new(), b"\xff\xfe").is_err());
    }
}
