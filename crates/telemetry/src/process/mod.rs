//! What a process sets up once: log lines, export over OTLP, the text for Prometheus.

mod export;
mod lines;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::{SCOPE, instruments};

use export::Exporters;

/// The environment variable from which binaries take the filter.
pub const FILTER_VARIABLE: &str = "BERGLAKE_LOG";

/// How long the end of a process waits for what is still to be exported.
const FLUSH: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One readable line per event.
    #[default]
    Plain,
    /// One JSON object per event, on a line of its own.
    Json,
}

/// Why telemetry could not be set up, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filter cannot be read.
    #[error(
        "log filter {filter:?} cannot be read: {reason}; write a level, or TARGET=LEVEL, joined by commas, with the levels off, error, warn, info, debug, trace"
    )]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another part of the process has set up logging before.
    #[error("logging is set up already")]
    AlreadySet,
    /// What the `OTEL_*` variables ask for cannot be done.
    #[error(
        "{signal} cannot be exported: {reason}; OTEL_EXPORTER_OTLP_ENDPOINT is the http:// URL of a collector's gRPC port, such as http://localhost:4317"
    )]
    Export {
        /// What: traces or metrics.
        signal: &'static str,
        /// Why not.
        reason: String,
    },
    /// The measurements cannot be gathered.
    #[error("the metrics cannot be gathered: {0}")]
    Metrics(String),
}

/// What to log, how, and as which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    format: Format,
    filter: String,
    colour: bool,
    service: String,
    endpoint: Option<String>,
}

impl Settings {
    /// Warnings and errors in this format, coloured if stderr is a terminal and `NO_COLOR` is unset.
    /// Where to export to is taken from the standard `OTEL_*` variables; without them nothing is.
    pub fn new(format: Format) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            filter: "warn".to_string(),
            colour: !no_colour && std::io::stderr().is_terminal(),
            service: SCOPE.to_string(),
            endpoint: None,
        }
    }

    /// What to log: a level, or `TARGET=LEVEL`, joined by commas. Traces do not depend on it.
    ///
    /// # Errors
    /// [`Error::Filter`] with what is wrong.
    pub fn filter(mut self, filter: &str) -> Result<Self, Error> {
        parse(filter)?;
        self.filter = filter.to_string();
        Ok(self)
    }

    /// The name of the service where `OTEL_SERVICE_NAME` does not say it; `berglake` without this.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Exports traces and metrics to this collector, whatever the environment says.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Makes this the telemetry of the whole process: log lines on stderr, the global meter, trace
    /// contexts in HTTP headers, and export if there is a collector. Keep the guard until the end.
    ///
    /// # Errors
    /// [`Error::AlreadySet`] if the process has logging, [`Error::Filter`] for a filter that cannot be
    /// read, [`Error::Export`] for a collector's address that is none.
    pub fn init(self) -> Result<Guard, Error> {
        let exporters = Exporters::new(&self.service, self.endpoint.as_deref())?;
        let tracer = self.tracer(&exporters);
        let subscriber = self.subscriber_with(std::io::stderr, tracer)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySet)?;
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        opentelemetry::global::set_tracer_provider(exporters.traces.clone());
        opentelemetry::global::set_meter_provider(exporters.metrics.clone());
        instruments::register(&opentelemetry::global::meter(SCOPE));
        Ok(Guard(Some(exporters)))
    }

    /// The subscriber for log lines that [`init`](Self::init) installs, writing elsewhere than to
    /// stderr and without traces.
    ///
    /// # Errors
    /// [`Error::Filter`] if the filter cannot be read.
    pub fn subscriber<W>(&self, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        self.subscriber_with(writer, None)
    }

    /// Who makes spans. Lines for machines carry ids even where no trace is exported: they tell which
    /// lines belong together, through all services.
    fn tracer(&self, exporters: &Exporters) -> Option<SdkTracer> {
        (exporters.traced || self.format == Format::Json).then(|| exporters.traces.tracer(SCOPE))
    }

    fn subscriber_with<W>(
        &self,
        writer: W,
        tracer: Option<SdkTracer>,
    ) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        // What is traced does not depend on what is logged. Only our own spans are: those of the
        // exporter's connection would be exported, too, and make more of themselves.
        let ours = Targets::new().with_target(SCOPE, LevelFilter::INFO);
        let traces = tracer.map(|tracer| {
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(ours)
        });
        let registry = tracing_subscriber::registry().with(traces);
        let filter = parse(&self.filter)?;
        Ok(match self.format {
            Format::Plain => Box::new(
                registry.with(
                    tracing_subscriber::fmt::layer()
                        .with_ansi(self.colour)
                        .with_writer(writer)
                        .event_format(lines::Plain::new(self.colour))
                        .with_filter(filter),
                ),
            ),
            Format::Json => Box::new(
                registry.with(
                    tracing_subscriber::fmt::layer()
                        .json()
                        .with_ansi(false)
                        .with_writer(writer)
                        .event_format(lines::Json::default())
                        .with_filter(filter),
                ),
            ),
        })
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| Error::Filter {
            filter: filter.to_string(),
            reason: error.to_string(),
        })
}

/// Telemetry that is set up. Dropping it exports what is left, for a few seconds at most, and ends the
/// export; log lines go on. A process that leaves by [`std::process::exit`] drops it before.
#[derive(Debug)]
#[must_use = "telemetry ends when the guard is dropped"]
pub struct Guard(Option<Exporters>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(exporters) = self.0.take() {
            exporters.finish(FLUSH);
        }
    }
}

#[cfg(test)]
mod tests;
