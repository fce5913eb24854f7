//! Logging of berglake processes: plain lines for terminals, JSON for services, always to stderr.
//!
//! This crate refuses to know anything of tables and to decide where a filter comes from; binaries
//! hand it over. There is no OpenTelemetry exporter in this version.
//!
//! Read these first: [`Settings`], [`Format`], [`Error`].
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

/// The environment variable from which binaries take the filter.
pub const FILTER_VARIABLE: &str = "BERGLAKE_LOG";

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

/// Why logging could not be set up.
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
}

/// What to log and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    format: Format,
    filter: String,
    colour: bool,
}

impl Settings {
    /// Warnings and errors in this format, coloured if stderr is a terminal and `NO_COLOR` is unset.
    pub fn new(format: Format) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            filter: "warn".to_string(),
            colour: !no_colour && std::io::stderr().is_terminal(),
        }
    }

    /// What to log: a level, or `TARGET=LEVEL`, joined by commas.
    ///
    /// # Errors
    /// [`Error::Filter`] with what is wrong.
    pub fn filter(mut self, filter: &str) -> Result<Self, Error> {
        parse(filter)?;
        self.filter = filter.to_string();
        Ok(self)
    }

    /// Makes this the logging of the whole process.
    ///
    /// # Errors
    /// [`Error::AlreadySet`] if the process has logging.
    pub fn init(self) -> Result<(), Error> {
        let subscriber = self.subscriber(std::io::stderr)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySet)
    }

    /// The subscriber that [`init`](Self::init) installs, writing elsewhere than to stderr.
    ///
    /// # Errors
    /// [`Error::Filter`] if the filter cannot be read.
    pub fn subscriber<W>(&self, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let registry = tracing_subscriber::registry().with(parse(&self.filter)?);
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(self.colour)
            .with_writer(writer);
        Ok(match self.format {
            Format::Plain => Box::new(registry.with(lines)),
            Format::Json => Box::new(registry.with(lines.json().flatten_event(true))),
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &Settings) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = settings.subscriber(move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "berglake_format::commit", table = "a.b", "commit lost");
            tracing::info!(target: "berglake_format::commit", "planned again");
            tracing::info!(target: "other", "noise");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn warnings_alone_are_logged_where_nothing_is_said() {
        let text = logged(&Settings::new(Format::Plain));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("commit lost"), "{text}");
        assert!(text.contains("table=\"a.b\""), "{text}");
    }

    #[test]
    fn a_filter_names_targets_by_prefix() {
        let settings = Settings::new(Format::Plain)
            .filter("off,berglake=info")
            .unwrap();
        let text = logged(&settings);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains("noise"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields() {
        let text = logged(&Settings::new(Format::Json));
        let line = text.strip_suffix('\n').unwrap();
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains(r#""level":"WARN""#), "{line}");
        assert!(line.contains(r#""message":"commit lost""#), "{line}");
        assert!(line.contains(r#""table":"a.b""#), "{line}");
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let error = Settings::new(Format::Plain)
            .filter("berglake=lots")
            .unwrap_err();
        assert!(error.to_string().contains("berglake=lots"), "{error}");
    }
}
