//! All that berglake measures: one table of instruments, and how they are recorded.
//!
//! Names, units and attributes follow OpenTelemetry's conventions. The table in
//! `docs/observability.md` is generated from here, so an instrument cannot exist without being
//! documented. Recording goes through the global meter and does nothing where the process has not
//! set one; it is meant for batches, commits and requests, not for rows.
//!
//! ```
//! use berglake_telemetry::instruments::{self, attribute};
//!
//! let of = instruments::of_flow("films.movies_raw", "bronze.movies_raw");
//! instruments::ROWS_READ.add(3_201, &of);
//! instruments::BATCH_DURATION.record(0.42, &[&of[..], &[attribute::outcome("committed")]].concat());
//! ```

pub mod attribute;
mod freshness;
mod kinds;
mod reference;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

pub use freshness::source_time;
pub use kinds::{Counter, Definition, Gauge, Histogram, Kind};
pub use reference::{prometheus_name, reference};

use attribute as at;

/// Declares the instruments and the list of them, so that none is missing there.
macro_rules! instruments {
    ($($(#[doc = $description:literal])+ $name:ident: $kind:ident = $text:literal, $unit:literal, [$($attribute:expr),*];)+) => {
        $(
            $(#[doc = $description])+
            pub static $name: $kind = $kind::new(Definition {
                name: $text,
                kind: Kind::$kind,
                unit: $unit,
                description: concat!($($description),+).trim_ascii(),
                attributes: &[$($attribute),*],
            });
        )+

        /// All instruments, in the order in which they are documented.
        pub static ALL: &[&Definition] = &[$($name.definition()),+];
    };
}

instruments! {
    /// Rows that flows have read from their sources and committed the effect of.
    ROWS_READ: Counter = "berglake.flow.rows.read", "{row}", [at::FLOW, at::TABLE];
    /// Rows that flows have added to their tables.
    ROWS_INSERTED: Counter = "berglake.flow.rows.inserted", "{row}", [at::FLOW, at::TABLE];
    /// Rows of tables that flows have replaced by newer ones.
    ROWS_UPDATED: Counter = "berglake.flow.rows.updated", "{row}", [at::FLOW, at::TABLE];
    /// Rows that flows have removed from their tables.
    ROWS_DELETED: Counter = "berglake.flow.rows.deleted", "{row}", [at::FLOW, at::TABLE];
    /// Rows that lost against a newer row of their key.
    ROWS_SUPERSEDED: Counter = "berglake.flow.rows.superseded", "{row}", [at::FLOW, at::TABLE];
    /// Records that are no rows and went to a dead-letter table.
    DEAD_LETTERS: Counter = "berglake.flow.dead_letters", "{record}", [at::FLOW, at::TABLE];
    /// Rows for which an expectation did not hold.
    EXPECTATION_FAILURES: Counter = "berglake.flow.expectation.failures", "{row}", [at::FLOW, at::TABLE, at::EXPECTATION, at::ACTION];
    /// Time from the start of a batch, reading included, until it was committed or failed.
    BATCH_DURATION: Histogram = "berglake.flow.batch.duration", "s", [at::FLOW, at::TABLE, at::OUTCOME];
    /// Runs of flows by what became of them: `updated`, `up-to-date`, `failed` or `skipped`.
    FLOW_RUNS: Counter = "berglake.flow.runs", "{run}", [at::FLOW, at::TABLE, at::OUTCOME, at::ERROR];
    /// Now minus the newest source time that a flow has committed: of a record, a file or a snapshot.
    FRESHNESS: Gauge = "berglake.flow.freshness", "s", [at::FLOW, at::TABLE];
    /// Records of a topic's partition that a flow has not yet committed.
    LAG_RECORDS: Gauge = "berglake.source.lag.records", "{record}", [at::FLOW, at::TOPIC, at::PARTITION];
    /// Snapshots of a source table that a flow has not yet committed.
    LAG_SNAPSHOTS: Gauge = "berglake.source.lag.snapshots", "{snapshot}", [at::FLOW, at::SOURCE_TABLE];
    /// Rows in the snapshots of a source table that a flow has not yet committed.
    LAG_ROWS: Gauge = "berglake.source.lag.rows", "{row}", [at::FLOW, at::SOURCE_TABLE];
    /// Source files that a flow has not yet committed.
    LAG_FILES: Gauge = "berglake.source.lag.files", "{file}", [at::FLOW];
    /// Time of a whole commit with all its attempts, by outcome: `committed`, `conflict`, `unknown` or `failed`.
    COMMIT_DURATION: Histogram = "berglake.commit.duration", "s", [at::TABLE, at::OUTCOME];
    /// Attempts to commit, by what became of each: `committed`, `conflict`, `unknown` or `failed`.
    COMMIT_ATTEMPTS: Counter = "berglake.commit.attempts", "{attempt}", [at::TABLE, at::OUTCOME];
    /// Rows in the data files of a table's head; rows that are deleted by delete files are counted.
    TABLE_ROWS: Gauge = "berglake.table.rows", "{row}", [at::TABLE];
    /// Files of a table's head, by content: `data` or `deletes`.
    TABLE_FILES: Gauge = "berglake.table.files", "{file}", [at::TABLE, at::CONTENT];
    /// Size of the data and delete files of a table's head.
    TABLE_SIZE: Gauge = "berglake.table.size", "By", [at::TABLE];
    /// Snapshots in a table's metadata.
    TABLE_SNAPSHOTS: Gauge = "berglake.table.snapshots", "{snapshot}", [at::TABLE];
    /// Manifests of a table's head.
    TABLE_MANIFESTS: Gauge = "berglake.table.manifests", "{manifest}", [at::TABLE];
    /// Size of a table's newest metadata file.
    METADATA_SIZE: Gauge = "berglake.table.metadata.size", "By", [at::TABLE];
    /// Time of a statement from its arrival until its last row was given or it failed.
    QUERY_DURATION: Histogram = "berglake.query.duration", "s", [at::STATEMENT, at::ERROR];
    /// Rows that statements have given.
    QUERY_ROWS: Counter = "berglake.query.rows", "{row}", [at::STATEMENT];
    /// Requests that a service has answered: to the catalog, to the query service, to probes.
    HTTP_SERVER_DURATION: Histogram = "http.server.request.duration", "s", [at::METHOD, at::ROUTE, at::STATUS, at::ERROR];
    /// Requests that were sent to a catalog server, each attempt for itself.
    HTTP_CLIENT_DURATION: Histogram = "http.client.request.duration", "s", [at::METHOD, at::SERVER, at::TEMPLATE, at::STATUS, at::ERROR];
    /// Time of one maintenance action on one table, by outcome.
    MAINTENANCE_DURATION: Histogram = "berglake.maintenance.duration", "s", [at::TABLE, at::ACTION, at::OUTCOME];
    /// Data and delete files that maintenance has replaced.
    FILES_REWRITTEN: Counter = "berglake.maintenance.files.rewritten", "{file}", [at::TABLE, at::ACTION];
    /// Size of the files that maintenance has replaced.
    BYTES_REWRITTEN: Counter = "berglake.maintenance.rewritten", "By", [at::TABLE, at::ACTION];
    /// Snapshots that maintenance has expired.
    SNAPSHOTS_EXPIRED: Counter = "berglake.maintenance.snapshots.expired", "{snapshot}", [at::TABLE];
    /// Files that maintenance has deleted because nothing reaches them any more.
    FILES_DELETED: Counter = "berglake.maintenance.files.deleted", "{file}", [at::TABLE];
    /// Physical memory that the process uses.
    PROCESS_MEMORY: Gauge = "process.memory.usage", "By", [];
}

/// The attributes of what a flow does to its table.
pub fn of_flow(flow: &str, table: &str) -> [KeyValue; 2] {
    [attribute::flow(flow), attribute::table(table)]
}

/// Registers the instruments that are asked for their value when they are exported.
/// [`Settings::init`](crate::Settings::init) does; a process that sets its own global meter calls it
/// once with a meter of that.
pub fn register(meter: &Meter) {
    freshness::register(meter);
    register_memory(meter);
}

fn register_memory(meter: &Meter) {
    let of = PROCESS_MEMORY.definition();
    meter
        .u64_observable_gauge(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_callback(|observer| {
            if let Some(bytes) = resident_memory() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
}

/// What the system says; nothing where it does not say it in this way.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests;
