//! Trace contexts in and out of HTTP, as the headers `traceparent` and `tracestate` of the
//! [W3C](https://www.w3.org/TR/trace-context/).
//!
//! A client calls [`inject`] on the headers of each request. A server runs the handling of a request
//! [`within`] its headers: spans that begin there are children of the caller's. Which headers are
//! understood is decided by the process, see [`Settings::init`](crate::Settings::init); before that
//! nothing is written or read.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::context::{FutureExt, WithContext};
use opentelemetry::propagation::{Extractor, Injector};

/// Writes the current trace context into the headers of a request.
pub fn inject(headers: &mut HeaderMap) {
    let context = Context::current();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Outgoing(headers));
    });
}

/// The trace context of a request's headers; an empty one where there is none or it is malformed.
pub fn extract(headers: &HeaderMap) -> Context {
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Incoming(headers))
    })
}

/// Handles a request as a part of its caller's trace. The handling's own span has to be made inside of
/// the future: a span's parent is what is current when it is made.
pub fn within<F: Future>(headers: &HeaderMap, handling: F) -> WithContext<F> {
    handling.with_context(extract(headers))
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // A propagator writes valid headers; what is none is left out, since a trace is not worth a request.
        let name = HeaderName::from_bytes(key.as_bytes());
        let value = HeaderValue::from_str(&value);
        if let (Ok(name), Ok(value)) = (name, value) {
            self.0.insert(name, value);
        }
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
