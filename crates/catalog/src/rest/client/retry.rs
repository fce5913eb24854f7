//! How often a request is sent, and what is certain afterwards.

use std::time::Duration;

use berglake_format::{Environment, Error, Result};
use chrono::DateTime;
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::transport::{Failure, Reply, Request, Transport};

/// How patiently a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRetry {
    /// The number of tries after the first.
    pub retries: u32,
    /// The wait after the first failure; it doubles each time.
    pub min_wait: Duration,
    /// The longest wait. A server that asks for more by `Retry-After` is not asked again.
    pub max_wait: Duration,
}

impl Default for RequestRetry {
    fn default() -> Self {
        Self {
            retries: 4,
            min_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(30),
        }
    }
}

impl RequestRetry {
    /// The wait before the next try, none if there is to be no other.
    ///
    /// `asked` is what the server asks for, `jitter` any number.
    pub(super) fn wait(
        &self,
        tries: u32,
        asked: Option<Duration>,
        jitter: u64,
    ) -> Option<Duration> {
        if tries > self.retries {
            return None;
        }
        let full = self
            .min_wait
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(self.max_wait);
        // Between half and all of it, so that clients that failed together do not come back together.
        let wait = full / 2 + full.mul_f64((jitter % 1_000) as f64 / 2_000.0);
        match asked {
            Some(asked) if asked > self.max_wait => None,
            Some(asked) => Some(wait.max(asked)),
            None => Some(wait),
        }
    }
}

/// What came of sending a request, perhaps several times.
#[derive(Debug)]
pub(super) struct Sent {
    /// The last answer, or why there is none.
    pub(super) result: Result<Reply, Failure>,
    /// Set if a try before the last may have been carried out although it did not succeed: what the
    /// last answer says of the state before it (a conflict, a missing table) may then be our own doing.
    pub(super) doubt: Option<Error>,
}

/// Sends a request until there is an answer that another try would not change.
///
/// A request that only looks is sent again after every failure that may pass. One that changes
/// something is sent again where it was not sent at all, and where the server says that it is busy
/// (429, 503); any other failure may hide that it was carried out, and that is for the caller to find
/// out. One that deletes or renames is not sent again after the 503 of a gateway either: had it been carried out,
/// the second would meet the next thing of that name.
pub(super) async fn send(
    transport: &Transport,
    environment: &Environment,
    policy: &RequestRetry,
    request: &Request,
) -> Sent {
    let mut tries = 0;
    let mut doubt = None;
    loop {
        let result = transport.send(request).await;
        tries += 1;
        let (again, asked) = match &result {
            Ok(reply) => (
                may_be_sent_again(request, reply),
                asked_wait(reply, environment),
            ),
            Err(Failure::NotSent(_)) => (true, None),
            Err(Failure::Lost(_)) => (request.is_safe(), None),
        };
        let jitter = || environment.ids().uuid().as_u64_pair().1;
        let wait = if again {
            policy.wait(tries, asked, jitter())
        } else {
            None
        };
        let Some(wait) = wait else {
            return Sent { result, doubt };
        };
        tracing::debug!(%request, tries, ?wait, "the catalog is asked again");
        // A gateway says 503 too, and not always before the server behind it has done its work.
        if let Ok(reply) = &result
            && !request.is_safe()
            && super::refusal::is_doubtful(reply)
        {
            doubt = Some(super::refusal::error(transport.base(), request, reply));
        }
        tokio::time::sleep(wait).await;
    }
}

fn may_be_sent_again(request: &Request, reply: &Reply) -> bool {
    if request.is_safe() {
        return is_busy(reply.status) || is_gateway(reply.status);
    }
    is_busy(reply.status) && !(request.takes_away() && super::refusal::is_doubtful(reply))
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn is_gateway(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long the server asks to be left alone, as seconds or as a date.
fn asked_wait(reply: &Reply, environment: &Environment) -> Option<Duration> {
    let text = reply.header(RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
    let wait = until.saturating_sub(environment.clock().now_millis());
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berglake_format::{Identity, ManualClock, SeededIds};
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    #[test]
    fn waits_double_are_spread_and_obey_the_server() {
        let policy = RequestRetry {
            retries: 3,
            min_wait: Duration::from_millis(100),
            max_wait: Duration::from_millis(300),
        };
        let wait = |tries, asked: Option<u64>, jitter| {
            let asked = asked.map(Duration::from_millis);
            let wait = policy.wait(tries, asked, jitter);
            wait.map(|wait| wait.as_millis())
        };
        assert_eq!(wait(1, None, 0), Some(50));
        assert_eq!(wait(1, None, 1_500), Some(75));
        assert_eq!(wait(2, None, 0), Some(100));
        assert_eq!(wait(3, None, 0), Some(150), "no more than the longest");
        assert_eq!(wait(4, None, 0), None, "the tries are used up");
        assert_eq!(wait(1, Some(200), 0), Some(200));
        assert_eq!(wait(1, Some(301), 0), None, "too long to wait for");
    }

    #[test]
    fn what_takes_away_is_sent_again_only_where_it_certainly_did_nothing() {
        let asked = |request: &Request, status: u16, body: &'static str| {
            let reply = Reply {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
            };
            may_be_sent_again(request, &reply)
        };
        let request = |method| Request::new(method, "/v1/x".to_string());
        let again = |method, status, body| asked(&request(method), status, body);
        let ours = r#"{"error":{"kind":"unavailable"}}"#;
        assert!(again(Method::DELETE, 503, ours));
        assert!(again(Method::DELETE, 429, "<html>"));
        assert!(!again(Method::DELETE, 503, "<html>"));
        assert!(again(Method::POST, 503, "<html>"));
        assert!(again(Method::GET, 503, "<html>"));
        let rename = request(Method::POST).taking_away();
        assert!(asked(&rename, 503, ours));
        assert!(asked(&rename, 429, "<html>"));
        assert!(!asked(&rename, 503, "<html>"));
        for method in [Method::DELETE, Method::POST] {
            assert!(!again(method, 502, "<html>"));
        }
    }

    #[test]
    fn a_server_asks_for_a_wait_in_seconds_or_by_date() {
        let at = 1_445_412_478_000_000;
        let environment = Environment::new(
            Arc::new(ManualClock::at(at)),
            Arc::new(SeededIds::new(1)),
            Identity::default(),
        );
        for (text, expected) in [
            ("7", Some(7)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(2)),
            ("Wed, 21 Oct 2015 07:20:00 GMT", Some(0)),
            ("soon", None),
        ] {
            let reply = Reply {
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]),
                body: Bytes::new(),
            };
            let asked = asked_wait(&reply, &environment);
            assert_eq!(asked.map(|asked| asked.as_secs()), expected, "{text}");
        }
    }
}
