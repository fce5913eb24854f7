//! What is seen of requests to a catalog from outside: a span around each, and how long it took with
//! which status.

use berglake_telemetry::instruments::{self, attribute as at};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;
use url::Url;

use super::transport::{Failure, Reply};

/// The words of the specification's paths; what stands between them are names.
const WORDS: &[&str] = &[
    "v1",
    "config",
    "namespaces",
    "tables",
    "views",
    "register",
    "rename",
    "metrics",
    "properties",
    "transactions",
    "commit",
    "credentials",
];

/// One request while it is under way.
pub(super) struct Measured {
    span: Span,
    method: String,
    server: String,
    template: String,
    started: Instant,
}

impl Measured {
    pub(super) fn start(method: &str, path: &str, base: &str) -> Self {
        let template = template(path);
        let url = Url::parse(base).ok();
        let server = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Self {
            span: tracing::info_span!(
                "catalog request",
                otel.name = format!("{method} {template}"),
                otel.kind = "client",
                http.request.method = method,
                url.template = template,
                server.address = server,
                http.response.status_code = Empty,
                error.type = Empty,
                otel.status_code = Empty,
            ),
            method: method.to_string(),
            server: server.to_string(),
            template,
            started: Instant::now(),
        }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn finish(self, result: &Result<Reply, Failure>) {
        let mut of = vec![
            at::method(self.method),
            at::server(self.server),
            at::template(self.template),
        ];
        let error = match result {
            Ok(reply) => {
                let status = reply.status.as_u16();
                // An unsigned number would be exported as text.
                self.span
                    .record("http.response.status_code", i64::from(status));
                of.push(at::status(status));
                // Being told that something is not there is an answer, though not always a welcome one.
                (status >= 500).then(|| status.to_string())
            }
            Err(Failure::NotSent(_)) => Some("not-sent".to_string()),
            Err(Failure::Lost(_)) => Some("lost".to_string()),
        };
        if let Some(error) = error {
            self.span.record("error.type", error.as_str());
            self.span.record("otel.status_code", "ERROR");
            of.push(at::error(error));
        }
        instruments::HTTP_CLIENT_DURATION.record(self.started.elapsed().as_secs_f64(), &of);
    }
}

/// A path with a placeholder in place of each name, so that there are few of them.
fn template(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "" => "",
        word if WORDS.contains(&word) => word,
        _ => "{name}",
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_part_of_a_template() {
        for (path, expected) in [
            ("/v1/config", "/v1/config"),
            ("/v1/namespaces/bronze", "/v1/namespaces/{name}"),
            (
                "/v1/lake/namespaces/a%1Fb/tables/movies_raw",
                "/v1/{name}/namespaces/{name}/tables/{name}",
            ),
            ("/v1/transactions/commit", "/v1/transactions/commit"),
        ] {
            assert_eq!(template(path), expected);
        }
    }
}
