//! Telemetry as a process has it. It is set up once, so this is one test after the other in one function.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail the test that calls them"
)]

use berglake_telemetry::instruments::{self, ALL, Kind, attribute as at, prometheus_name};
use berglake_telemetry::{Format, Settings, metrics, propagation};
use http::HeaderMap;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_process_measures_and_passes_trace_contexts_on_once_it_is_set_up() {
    if ran_without_settings_of_the_machine(
        "a_process_measures_and_passes_trace_contexts_on_once_it_is_set_up",
    ) {
        return;
    }
    // Before, all of it does nothing and fails nowhere.
    instruments::ROWS_READ.add(1, &instruments::of_flow("p.f", "a.b"));
    assert_eq!(metrics::prometheus_text().unwrap(), "");
    let mut headers = HeaderMap::new();
    propagation::inject(&mut headers);
    assert!(headers.is_empty());

    let settings = Settings::new(Format::Json).service("test");
    let guard = settings.clone().init().unwrap();
    assert!(settings.init().is_err(), "it can be set up once");

    the_text_for_prometheus_has_what_was_recorded();
    every_instrument_has_the_documented_name_and_kind();
    a_span_of_a_request_is_of_its_callers_trace();
    drop(guard);
}

/// What the machine exports telemetry to is no part of this test. A process cannot safely change its own
/// environment, so where something is set another one runs the test without it.
fn ran_without_settings_of_the_machine(test: &str) -> bool {
    let names = std::env::vars_os().map(|(name, _)| name);
    let set: Vec<_> = names
        .filter(|name| name.to_string_lossy().starts_with("OTEL_"))
        .collect();
    if set.is_empty() {
        return false;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args([test, "--exact", "--nocapture"]);
    for name in &set {
        again.env_remove(name);
    }
    assert!(again.status().unwrap().success());
    true
}

fn the_text_for_prometheus_has_what_was_recorded() {
    let flow = instruments::of_flow("p.f", "a.b");
    instruments::ROWS_READ.add(40, &flow);
    instruments::ROWS_READ.add(2, &flow);
    instruments::DEAD_LETTERS.add(0, &flow);
    let committed = [at::table("a.b"), at::outcome("committed")];
    instruments::COMMIT_DURATION.record_micros(1_000_000, 1_300_000, &committed);
    instruments::source_time("p.f", "a.b", 0);

    let text = metrics::prometheus_text().unwrap();
    let has = |line: &str| text.lines().any(|found| found == line);
    assert!(
        has(r#"berglake_flow_rows_read_total{berglake_flow="p.f",berglake_table="a.b"} 42"#),
        "{text}"
    );
    assert!(!text.contains("berglake_flow_dead_letters"), "{text}");
    let of = r#"berglake_outcome="committed",berglake_table="a.b""#;
    let bucket = |bound: &str, count: u32| {
        has(&format!(
            r#"berglake_commit_duration_seconds_bucket{{{of},le="{bound}"}} {count}"#
        ))
    };
    assert!(
        bucket("0.25", 0) && bucket("0.5", 1) && bucket("+Inf", 1),
        "{text}"
    );
    assert!(
        has(&format!("berglake_commit_duration_seconds_sum{{{of}}} 0.3")),
        "{text}"
    );
    assert!(text.contains("berglake_flow_freshness_seconds{"), "{text}");
    assert!(text.contains(r#"service_name="test""#), "{text}");
}

fn every_instrument_has_the_documented_name_and_kind() {
    instruments::ROWS_INSERTED.add(1, &[]);
    instruments::ROWS_UPDATED.add(1, &[]);
    instruments::ROWS_DELETED.add(1, &[]);
    instruments::ROWS_SUPERSEDED.add(1, &[]);
    instruments::DEAD_LETTERS.add(1, &[]);
    instruments::EXPECTATION_FAILURES.add(1, &[]);
    instruments::BATCH_DURATION.record(1.0, &[]);
    instruments::FLOW_RUNS.add(1, &[]);
    instruments::LAG_RECORDS.set(1, &[]);
    instruments::LAG_SNAPSHOTS.set(1, &[]);
    instruments::LAG_ROWS.set(1, &[]);
    instruments::LAG_FILES.set(1, &[]);
    instruments::COMMIT_ATTEMPTS.add(1, &[]);
    instruments::TABLE_ROWS.set(1, &[]);
    instruments::TABLE_FILES.set(1, &[]);
    instruments::TABLE_SIZE.set(1, &[]);
    instruments::TABLE_SNAPSHOTS.set(1, &[]);
    instruments::TABLE_MANIFESTS.set(1, &[]);
    instruments::METADATA_SIZE.set(1, &[]);
    instruments::QUERY_DURATION.record(1.0, &[]);
    instruments::QUERY_ROWS.add(1, &[]);
    instruments::HTTP_SERVER_DURATION.record(1.0, &[at::status(200)]);
    instruments::HTTP_CLIENT_DURATION.record(1.0, &[at::status(503)]);
    instruments::MAINTENANCE_DURATION.record(1.0, &[]);
    instruments::FILES_REWRITTEN.add(1, &[]);
    instruments::BYTES_REWRITTEN.add(1, &[]);
    instruments::SNAPSHOTS_EXPIRED.add(1, &[]);
    instruments::FILES_DELETED.add(1, &[]);

    let text = metrics::prometheus_text().unwrap();
    for definition in ALL {
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let line = format!("# TYPE {} {kind}", prometheus_name(definition));
        let is_there = text.lines().any(|found| found == line);
        // Only Linux tells the memory in the way in which it is asked for.
        let is_told = definition.name != "process.memory.usage" || cfg!(target_os = "linux");
        assert!(is_there == is_told, "{line}\n{text}");
    }
}

fn a_span_of_a_request_is_of_its_callers_trace() {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", CALLER.parse().unwrap());
    let handling = async {
        let span = tracing::info_span!(target: "berglake_host", "request");
        let _entered = span.enter();
        let mut onward = HeaderMap::new();
        propagation::inject(&mut onward);
        onward
    };
    let onward = ready(propagation::within(&headers, handling));
    let onward = onward["traceparent"].to_str().unwrap();
    assert!(
        onward.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{onward}"
    );
    assert!(
        !onward.contains("b7ad6b7169203331"),
        "the span is its own: {onward}"
    );

    headers.insert("traceparent", "nonsense".parse().unwrap());
    let handling = async {
        let mut onward = HeaderMap::new();
        propagation::inject(&mut onward);
        onward
    };
    assert!(ready(propagation::within(&headers, handling)).is_empty());
}

/// The output of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}
