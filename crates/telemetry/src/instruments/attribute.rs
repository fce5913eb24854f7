//! The attributes of measurements: their keys, and one function for each that takes a value.
//!
//! Values are names of few things: flows, tables, routes, outcomes. A value never holds data, a
//! query's text, an address with a password, or anything of which there is one per row or request.

use opentelemetry::KeyValue;

macro_rules! attributes {
    ($($(#[doc = $description:literal])+ $constant:ident, $function:ident = $key:literal;)+) => {
        $(
            $(#[doc = $description])+
            pub const $constant: &str = $key;

            $(#[doc = $description])+
            pub fn $function(value: impl Into<String>) -> KeyValue {
                KeyValue::new($key, value.into())
            }
        )+
    };
}

attributes! {
    /// A flow, with its pipeline: `films.movies_raw`.
    FLOW, flow = "berglake.flow";
    /// A table with its namespace: `bronze.movies_raw`.
    TABLE, table = "berglake.table";
    /// A table from which a flow reads.
    SOURCE_TABLE, source_table = "berglake.source.table";
    /// What became of it.
    OUTCOME, outcome = "berglake.outcome";
    /// What was done: that of an expectation on violation, or the kind of maintenance.
    ACTION, action = "berglake.action";
    /// An expectation's name.
    EXPECTATION, expectation = "berglake.expectation";
    /// What files hold: `data` or `deletes`.
    CONTENT, content = "berglake.content";
    /// The kind of a statement: `select`, `insert`, `create-table`.
    STATEMENT, statement = "berglake.statement";
    /// The kind of an error, where there was one.
    ERROR, error = "error.type";
    /// A topic.
    TOPIC, topic = "messaging.destination.name";
    /// A partition of a topic.
    PARTITION, partition = "messaging.destination.partition.id";
    /// The method of a request.
    METHOD, method = "http.request.method";
    /// The route that matched a request, with its placeholders: `/v1/{prefix}/namespaces`.
    ROUTE, route = "http.route";
    /// The host that a request was sent to, without user and password.
    SERVER, server = "server.address";
    /// The path of a request with placeholders in place of names.
    TEMPLATE, template = "url.template";
}

/// The status of a response.
pub const STATUS: &str = "http.response.status_code";

/// The status of a response.
pub fn status(code: u16) -> KeyValue {
    KeyValue::new(STATUS, i64::from(code))
}
