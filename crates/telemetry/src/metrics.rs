//! The measurements as text for Prometheus.

use std::sync::OnceLock;

use prometheus::{Registry, TextEncoder};

use crate::Error;

/// What `/metrics` says of its content.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// All measurements of this process in the text format of Prometheus; nothing before
/// [`Settings::init`](crate::Settings::init).
///
/// # Errors
/// [`Error::Metrics`] if they cannot be written as text, which is a defect.
pub fn prometheus_text() -> Result<String, Error> {
    let Some(registry) = REGISTRY.get() else {
        return Ok(String::new());
    };
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| Error::Metrics(error.to_string()))
}

/// Where measurements are gathered from on demand. There is one for the process.
pub(crate) fn registry() -> Registry {
    REGISTRY.get_or_init(Registry::new).clone()
}
