//! Where traces and metrics go: to a collector over OTLP, and to whoever reads `/metrics`.

use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider};
use tokio::runtime::Runtime;

use super::Error;
use crate::metrics::registry;

/// The providers of the process, and the threads on which they export.
#[derive(Debug)]
pub(super) struct Exporters {
    pub(super) traces: SdkTracerProvider,
    pub(super) metrics: SdkMeterProvider,
    /// Whether traces go anywhere.
    pub(super) traced: bool,
    /// The exporters' connections live here and not on the threads of the work, so that they end after
    /// it and neither waits for the other.
    runtime: Option<Runtime>,
}

/// A kind of telemetry with the variables that are for it alone.
struct Signal {
    name: &'static str,
    endpoint: &'static str,
    exporter: &'static str,
}

const TRACES: Signal = Signal {
    name: "traces",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    exporter: "OTEL_TRACES_EXPORTER",
};
const METRICS: Signal = Signal {
    name: "metrics",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    exporter: "OTEL_METRICS_EXPORTER",
};

impl Signal {
    /// Whether the environment names a collector for it and does not turn it off.
    fn is_wanted(&self, variable: &dyn Fn(&str) -> Option<String>) -> bool {
        let is = |name: &str, value: &str| {
            variable(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
        };
        let has_endpoint =
            variable(self.endpoint).is_some() || variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        has_endpoint && !is("OTEL_SDK_DISABLED", "true") && !is(self.exporter, "none")
    }

    fn error(&self, reason: impl ToString) -> Error {
        Error::Export {
            signal: self.name,
            reason: reason.to_string(),
        }
    }
}

/// An environment variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Exporters {
    pub(super) fn new(service: &str, endpoint: Option<&str>) -> Result<Self, Error> {
        let wanted = |signal: &Signal| endpoint.is_some() || signal.is_wanted(&variable);
        let (traced, measured) = (wanted(&TRACES), wanted(&METRICS));
        let resource = resource(service);

        let runtime = match traced || measured {
            true => Some(runtime()?),
            false => None,
        };
        // A connection is made on the runtime that is entered.
        let _entered = runtime.as_ref().map(Runtime::enter);

        let mut traces = SdkTracerProvider::builder().with_resource(resource.clone());
        if traced {
            let mut exporter = SpanExporter::builder().with_tonic();
            if let Some(endpoint) = endpoint {
                exporter = exporter.with_endpoint(endpoint);
            }
            let exporter = exporter.build().map_err(|error| TRACES.error(error))?;
            traces = traces.with_batch_exporter(exporter);
        } else {
            // Spans have ids, for log lines, and are otherwise not kept.
            traces = traces.with_sampler(Sampler::AlwaysOff);
        }

        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| Error::Metrics(error.to_string()))?;
        let mut metrics = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(prometheus);
        if measured {
            let mut exporter = MetricExporter::builder().with_tonic();
            if let Some(endpoint) = endpoint {
                exporter = exporter.with_endpoint(endpoint);
            }
            let exporter = exporter.build().map_err(|error| METRICS.error(error))?;
            metrics = metrics.with_reader(PeriodicReader::builder(exporter).build());
        }
        Ok(Self {
            traces: traces.build(),
            metrics: metrics.build(),
            traced,
            runtime,
        })
    }

    /// Exports what is left, and waits for it no longer than this.
    pub(super) fn finish(self, longest: Duration) {
        let Some(runtime) = self.runtime else {
            return;
        };
        let (done, wait) = mpsc::channel();
        let (traces, metrics) = (self.traces, self.metrics);
        // A collector that does not answer must not keep a finished program, so the waiting is done
        // beside it.
        std::thread::spawn(move || {
            for result in [traces.shutdown_with_timeout(longest), metrics.shutdown()] {
                if let Err(error) = result {
                    tracing::warn!(%error, "telemetry was not exported to its end");
                }
            }
            // Nobody waits any more where this took too long.
            let _ = done.send(());
        });
        if wait.recv_timeout(longest).is_err() {
            tracing::warn!("the collector took too long, the last telemetry is lost");
        }
        // Dropping it would wait, which asynchronous code may not.
        runtime.shutdown_background();
    }
}

fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry")
        .enable_all()
        .build()
        .map_err(|error| TRACES.error(format!("no thread can be started: {error}")))
}

/// Who we are: what the environment says, and what holds where it says nothing.
fn resource(service: &str) -> Resource {
    let instance = RandomIdGenerator::default().new_trace_id().to_string();
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service.to_string()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(signal: &Signal, variables: &[(&str, &str)]) -> bool {
        signal.is_wanted(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_string())
        })
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        assert!(!wanted(&TRACES, &[]));
        assert!(!wanted(&TRACES, &[("OTEL_TRACES_SAMPLER", "always_on")]));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert!(wanted(&TRACES, &[endpoint]) && wanted(&METRICS, &[endpoint]));
    }

    #[test]
    fn a_signal_has_its_own_collector_and_can_be_turned_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        assert!(wanted(&TRACES, &[traces]) && !wanted(&METRICS, &[traces]));
        let none = ("OTEL_METRICS_EXPORTER", "none");
        assert!(wanted(&TRACES, &[endpoint, none]) && !wanted(&METRICS, &[endpoint, none]));
        let disabled = ("OTEL_SDK_DISABLED", "TRUE");
        assert!(!wanted(&TRACES, &[endpoint, disabled]));
    }

    #[test]
    fn an_address_that_is_none_is_an_error_that_says_what_to_write() {
        for address in ["not a url", "https://collector:4317"] {
            let error = Exporters::new("test", Some(address))
                .unwrap_err()
                .to_string();
            assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
        }
    }
}
