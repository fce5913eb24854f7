//! Bearer tokens, and which servers may do without.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use berglake_format::{Error, Result, Secret};
use berglake_pipeline::config::ServerConfig;

use crate::Problem;

/// Lets only requests through that carry one of these tokens; all where there are none.
pub fn require_token(router: Router, tokens: &[Secret]) -> Router {
    if tokens.is_empty() {
        return router;
    }
    let tokens: Arc<[Secret]> = tokens.into();
    router.layer(from_fn_with_state(tokens, check))
}

/// Refuses a server that would let everybody on the network at the data: one that listens beyond
/// this machine, has no tokens, and was not told that this is meant.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for such a server; `section` is where its
/// keys stand.
pub fn check_exposure(section: &str, server: &ServerConfig) -> Result<()> {
    if server.listen.is_loopback() || server.allow_anonymous || !server.tokens.is_empty() {
        return Ok(());
    }
    Err(
        Error::invalid("the server would let everybody in who reaches this machine")
            .with("listen", &server.listen)
            .help(format!(
                "set {section}.tokens (best as an environment variable), listen at 127.0.0.1, or \
                 say {section}.allow-anonymous = true where a network or a proxy keeps others out"
            )),
    )
}

async fn check(State(tokens): State<Arc<[Secret]>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION);
    let given = given
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
    let known = given.is_some_and(|given| {
        // All are compared, each in full, so that the time taken tells nothing.
        tokens.iter().fold(false, |known, token| {
            known | same(token.reveal().as_bytes(), given.as_bytes())
        })
    });
    if known {
        next.run(request).await
    } else {
        Problem::unauthorized().into_response()
    }
}

/// Equality in a time that depends on the length of what was given alone.
fn same(secret: &[u8], given: &[u8]) -> bool {
    let mut difference = secret.len() ^ given.len();
    for (i, byte) in given.iter().enumerate() {
        let expected = secret.get(i).copied().unwrap_or(!byte);
        difference |= usize::from(std::hint::black_box(expected ^ byte));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use berglake_pipeline::config::Listen;

    use super::*;

    #[test]
    fn only_equal_tokens_are_the_same() {
        assert!(same(b"secret", b"secret"));
        for other in [
            &b""[..],
            b"secre",
            b"secret2",
            b"Secret",
            b"\x8c\x9a\x9c\x8d\x9a\x8b",
        ] {
            assert!(!same(b"secret", other), "{other:?}");
        }
        assert!(!same(b"", b"x"));
    }

    #[test]
    fn an_open_server_must_be_meant() {
        let server = |listen, token: Option<&str>, allow_anonymous| ServerConfig {
            listen: Listen::parse(listen).unwrap(),
            tokens: token.into_iter().map(Secret::new).collect(),
            allow_anonymous,
        };
        let error = check_exposure("query", &server("0.0.0.0:1", None, false)).unwrap_err();
        assert!(error.advice().unwrap().contains("query.tokens"), "{error}");
        check_exposure("query", &server("0.0.0.0:1", Some("t"), false)).unwrap();
        check_exposure("query", &server("0.0.0.0:1", None, true)).unwrap();
        check_exposure("query", &server("127.0.0.1:1", None, false)).unwrap();
    }
}
