//! One HTTP request and what can become of it.

use std::fmt;
use std::time::Duration;

use berglake_format::{Error, ErrorKind, Result, Secret};
use berglake_telemetry::propagation;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use tracing::Instrument;
use url::Url;

use super::telemetry::Measured;
use crate::rest::protocol::ACCESS_DELEGATION_HEADER;

/// A request that can be sent again: its body is held as bytes.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: Method,
    /// Appended to the catalog's URI, each segment encoded.
    path: String,
    /// Names and encoded values.
    query: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
    takes_away: bool,
}

impl Request {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self {
            takes_away: method == Method::DELETE,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a parameter whose value is encoded already.
    pub(super) fn query(mut self, name: &'static str, encoded: impl Into<String>) -> Self {
        self.query.push((name, encoded.into()));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // A value that is no header, such as an ETag with a line break, is as good as none.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Gives the request a JSON body.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if the value has no JSON form.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|error| {
            Error::internal("a request to the catalog cannot be written as JSON")
                .source_error(error)
        })?;
        self.body = Some(Bytes::from(bytes));
        Ok(self)
    }

    /// Whether sending it twice is the same as sending it once.
    pub(super) fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// Says that what it names has this name no longer after it, as all that deletes does.
    pub(super) fn taking_away(mut self) -> Self {
        self.takes_away = true;
        self
    }

    /// Whether what it names is gone after it, so that the second of two would meet something else.
    pub(super) fn takes_away(&self) -> bool {
        self.takes_away
    }
}

/// Method and path, as they stand in messages. The query can hold nothing that is secret either.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// An answer that arrived in full.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// The text of a header, where it has one.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent, so nothing was done.
    NotSent(Error),
    /// It was sent, and the answer did not come or broke off: the server may have done it.
    Lost(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(error) | Failure::Lost(error) => error,
        }
    }
}

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) request: Duration,
}

/// Sends requests to one catalog.
pub(super) struct Transport {
    client: reqwest::Client,
    /// Without a slash at its end.
    base: String,
    token: Option<Secret>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// A client for the catalog at this URI. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a URI that is none of HTTP or holds a password,
    /// and a token that cannot stand in a header.
    pub(super) fn new(uri: &str, token: Option<Secret>, timeouts: Timeouts) -> Result<Self> {
        let base = checked_uri(uri)?;
        if let Some(token) = &token
            && bearer(token).is_none()
        {
            return Err(Error::invalid(
                "the catalog's token has characters that no header can hold",
            )
            .with("catalog", &base)
            .help("check catalog.token for line breaks"));
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("berglake/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.request)
            // A redirected POST becomes a GET on the way: the user is told the new address instead.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                Error::internal("no HTTP client can be made").source_error(error.without_url())
            })?;
        Ok(Self {
            client,
            base,
            token,
        })
    }

    /// The catalog's URI. It holds no secret.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends it once.
    pub(super) async fn send(&self, request: &Request) -> Result<Reply, Failure> {
        let measured = Measured::start(request.method.as_str(), &request.path, &self.base);
        let result = self.exchange(request).instrument(measured.span()).await;
        measured.finish(&result);
        result
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, Failure> {
        let mut url = format!("{}{}", self.base, request.path);
        for (n, (name, value)) in request.query.iter().enumerate() {
            let joint = if n == 0 { '?' } else { '&' };
            url.push(joint);
            url.push_str(name);
            url.push('=');
            url.push_str(value);
        }
        let mut builder = self
            .client
            .request(request.method.clone(), url)
            // Credentials of the store are welcome, where the catalog has such to give.
            .header(ACCESS_DELEGATION_HEADER, "vended-credentials");
        if let Some(value) = self.token.as_ref().and_then(bearer) {
            builder = builder.header(AUTHORIZATION, value);
        }
        let mut trace = HeaderMap::new();
        propagation::inject(&mut trace);
        builder = builder.headers(trace);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let response = builder
            .send()
            .await
            .map_err(|error| self.failure(request, error))?;
        let status = response.status();
        let headers = response.headers().clone();
        match response.bytes().await {
            Ok(body) => Ok(Reply {
                status,
                headers,
                body,
            }),
            Err(error) => Err(Failure::Lost(self.explain(
                request,
                "the catalog's answer broke off",
                error,
            ))),
        }
    }

    fn failure(&self, request: &Request, error: reqwest::Error) -> Failure {
        if error.is_connect() || error.is_builder() {
            let error = self
                .explain(request, "the catalog cannot be reached", error)
                .help("check that it runs and that catalog.uri names its host and port");
            return Failure::NotSent(error);
        }
        let message = if error.is_timeout() {
            "the catalog did not answer in time"
        } else {
            "the connection to the catalog broke before it answered"
        };
        Failure::Lost(self.explain(request, message, error))
    }

    fn explain(&self, request: &Request, message: &'static str, error: reqwest::Error) -> Error {
        Error::new(ErrorKind::Unavailable, message)
            .with("catalog", &self.base)
            .with("request", request)
            .source_error(innermost(&error.without_url()))
    }
}

/// The token as a header that is not printed in logs either.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What is at the bottom of an error of the HTTP client; the layers above only repeat each other.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn checked_uri(uri: &str) -> Result<String> {
    let wrong = |message: &'static str| {
        Error::invalid(message).help("write the catalog's URI as in http://localhost:8181")
    };
    let url = Url::parse(uri)
        .map_err(|error| wrong("the catalog's URI is no URL").source_error(error))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("the catalog's URI is no http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            wrong("the catalog's URI must not hold a user or a password")
                .help("give the credential as catalog.token"),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("the catalog's URI must end with its path"));
    }
    let base = url.as_str().trim_end_matches('/');
    // Other clients are given the URI with or without the version; both mean the same.
    Ok(base.strip_suffix("/v1").unwrap_or(base).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_taken_with_and_without_its_version_and_never_with_a_password() {
        for uri in [
            "http://localhost:8181",
            "http://localhost:8181/",
            "http://localhost:8181/v1/",
        ] {
            assert_eq!(checked_uri(uri).unwrap(), "http://localhost:8181", "{uri}");
        }
        assert_eq!(
            checked_uri("https://host/api/catalog/").unwrap(),
            "https://host/api/catalog"
        );
        for wrong in [
            "localhost:8181",
            "ftp://host",
            "http://ann:hunter2@host",
            "http://host?warehouse=x",
        ] {
            let error = checked_uri(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_token_is_in_no_text() {
        let timeouts = Timeouts {
            connect: Duration::from_secs(1),
            request: Duration::from_secs(1),
        };
        let token = Some(Secret::new("hunter2"));
        let transport = Transport::new("http://localhost", token, timeouts).unwrap();
        assert!(!format!("{transport:?}").contains("hunter2"));
        let token = Some(Secret::new("hunter2\n"));
        let error = Transport::new("http://localhost", token, timeouts).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
