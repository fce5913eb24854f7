//! The kinds of instruments, and how each is recorded through the global meter.

use opentelemetry::KeyValue;

use crate::SCOPE;

/// Upper bounds of durations in seconds: from a request that hits a cache to a refresh of minutes.
const BOUNDARIES: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
];

/// What an instrument's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value as it stands now.
    Gauge,
    /// How often values of each size were seen.
    Histogram,
}

impl Kind {
    /// The kind as it is written in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One instrument as data.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, as UCUM has it: `s`, `By`, or a word in braces.
    pub unit: &'static str,
    /// What is measured.
    pub description: &'static str,
    /// The keys that its attributes may have.
    pub attributes: &'static [&'static str],
}

impl Definition {
    /// Attributes that are not documented are a defect, found wherever tests record.
    fn check(&self, attributes: &[KeyValue]) {
        debug_assert!(
            attributes
                .iter()
                .all(|given| self.attributes.contains(&given.key.as_str())),
            "{} has the attributes {:?}, not {attributes:?}",
            self.name,
            self.attributes,
        );
    }
}

// An instrument is made anew at each recording. The SDK finds the one that it has in a map, which
// costs a microsecond; one that were kept from before the process set its meter would stay silent.

/// A sum that only grows.
#[derive(Debug)]
pub struct Counter(Definition);

impl Counter {
    pub(super) const fn new(definition: Definition) -> Self {
        Self(definition)
    }

    /// What it is.
    pub const fn definition(&self) -> &Definition {
        &self.0
    }

    /// Adds to the sum of these attributes. Nothing is recorded for zero.
    pub fn add(&self, value: u64, attributes: &[KeyValue]) {
        self.0.check(attributes);
        if value > 0 {
            opentelemetry::global::meter(SCOPE)
                .u64_counter(self.0.name)
                .with_unit(self.0.unit)
                .with_description(self.0.description)
                .build()
                .add(value, attributes);
        }
    }
}

/// A value as it stands now.
#[derive(Debug)]
pub struct Gauge(Definition);

impl Gauge {
    pub(super) const fn new(definition: Definition) -> Self {
        Self(definition)
    }

    /// What it is.
    pub const fn definition(&self) -> &Definition {
        &self.0
    }

    /// Sets the value of these attributes.
    pub fn set(&self, value: u64, attributes: &[KeyValue]) {
        self.0.check(attributes);
        opentelemetry::global::meter(SCOPE)
            .u64_gauge(self.0.name)
            .with_unit(self.0.unit)
            .with_description(self.0.description)
            .build()
            .record(value, attributes);
    }
}

/// How often durations of each size were seen, in seconds.
#[derive(Debug)]
pub struct Histogram(Definition);

impl Histogram {
    pub(super) const fn new(definition: Definition) -> Self {
        Self(definition)
    }

    /// What it is.
    pub const fn definition(&self) -> &Definition {
        &self.0
    }

    /// Counts one duration.
    pub fn record(&self, seconds: f64, attributes: &[KeyValue]) {
        self.0.check(attributes);
        opentelemetry::global::meter(SCOPE)
            .f64_histogram(self.0.name)
            .with_unit(self.0.unit)
            .with_description(self.0.description)
            .with_boundaries(BOUNDARIES.to_vec())
            .build()
            .record(seconds, attributes);
    }

    /// Counts the time between two readings of a clock, in microseconds. A clock that was set back
    /// gives zero.
    pub fn record_micros(&self, from: i64, to: i64, attributes: &[KeyValue]) {
        self.record(to.saturating_sub(from).max(0) as f64 / 1e6, attributes);
    }
}
