//! What a run says about itself, received by a real collector, and its log lines.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::collector::{Collector, number, text};
use crate::support::Project;

/// The project of `init`, which exports to this collector and has a secret.
fn project(collector: &Collector) -> Project {
    Project::initialised()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_SERVICE_NAME", "films")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env("BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "hunter2")
}

fn report(project: &Project, arguments: &[&str]) -> Value {
    let arguments = [&["run", "--output", "json"], arguments].concat();
    serde_json::from_str(&project.run(&arguments).ok()).unwrap()
}

/// The one child of a span with this name.
#[track_caller]
fn child<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let found: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == name && span.parent_span_id == parent.span_id)
        .collect();
    match found[..] {
        [only] => {
            assert_eq!(only.trace_id, parent.trace_id);
            only
        }
        _ => panic!(
            "{} children {name} of {}: {spans:#?}",
            found.len(),
            parent.name
        ),
    }
}

#[test]
fn the_trace_of_a_batch_leads_from_its_files_to_its_commit() {
    let collector = Collector::start();
    let project = project(&collector);
    let report = report(&project, &[]);
    let spans = collector.spans();

    let batches: HashMap<String, &Span> = spans
        .iter()
        .filter(|span| span.name == "batch")
        .map(|span| (text(&span.attributes, "berglake.table").unwrap(), span))
        .collect();
    assert_eq!(batches.len(), 3, "{spans:#?}");
    for flow in report["flows"].as_array().unwrap() {
        let batch = batches[flow["target"].as_str().unwrap()];
        let has = |key: &str| text(&batch.attributes, key);
        assert!(
            batch.parent_span_id.is_empty(),
            "a batch is a trace: {batch:#?}"
        );
        assert_eq!(
            has("berglake.flow").unwrap(),
            format!("project.{}", flow["flow"].as_str().unwrap())
        );
        assert_eq!(
            has("berglake.snapshot.id").unwrap(),
            flow["snapshot_id"].to_string()
        );
        assert_eq!(
            number(&batch.attributes, "berglake.rows.read"),
            flow["rows_read"].as_i64()
        );
        assert_eq!(has("berglake.outcome").unwrap(), "committed");

        let commit = child(&spans, batch, "commit");
        let has = |key: &str| text(&commit.attributes, key);
        assert_eq!(
            has("berglake.snapshot.id").unwrap(),
            flow["snapshot_id"].to_string()
        );
        assert_eq!(
            number(&commit.attributes, "berglake.commit.attempts"),
            Some(1)
        );
        child(&spans, commit, "commit request");
    }
    let bronze = batches["bronze.orders_raw"];
    let write = child(&spans, bronze, "write");
    let decode = child(&spans, write, "decode");
    let file = text(&decode.attributes, "berglake.file").unwrap();
    assert!(file.ends_with("/data/orders.json"), "{file}");
    child(&spans, batches["silver.orders"], "collect");
    child(&spans, batches["gold.revenue_by_country"], "write");

    let traces: std::collections::HashSet<_> =
        batches.values().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 3, "each batch is a trace of its own");
    let resource = collector.resource();
    assert_eq!(text(&resource, "service.name").unwrap(), "films");
    assert_eq!(
        text(&resource, "deployment.environment.name").unwrap(),
        "test"
    );
    assert!(text(&resource, "service.instance.id").is_some());
    let everything = collector.everything();
    assert!(!everything.contains("hunter2"), "a secret is exported");
}

#[test]
fn the_measurements_of_a_run_are_those_of_its_report() {
    let collector = Collector::start();
    let project = project(&collector);
    let report = report(&project, &[]);
    for flow in report["flows"].as_array().unwrap() {
        let name = format!("project.{}", flow["flow"].as_str().unwrap());
        let table = flow["target"].as_str().unwrap();
        let of = [("berglake.flow", name.as_str()), ("berglake.table", table)];
        for (metric, field) in [
            ("berglake.flow.rows.read", "rows_read"),
            ("berglake.flow.rows.inserted", "rows_inserted"),
            ("berglake.flow.rows.updated", "rows_updated"),
            ("berglake.flow.rows.superseded", "rows_superseded"),
            ("berglake.flow.dead_letters", "dead_letters"),
        ] {
            let measured = collector.metric(metric, &of).unwrap_or(0);
            assert_eq!(Some(measured), flow[field].as_u64(), "{metric} {flow}");
        }
        for result in flow["expectations"].as_array().unwrap() {
            let of = [
                of[0],
                of[1],
                ("berglake.expectation", result["name"].as_str().unwrap()),
            ];
            let failed = collector.metric("berglake.flow.expectation.failures", &of);
            assert_eq!(
                Some(failed.unwrap_or(0)),
                result["failed"].as_u64(),
                "{flow}"
            );
        }
        assert_eq!(collector.count("berglake.flow.batch.duration", &of), 1);
        let updated = [of[0], of[1], ("berglake.outcome", "updated")];
        assert_eq!(collector.metric("berglake.flow.runs", &updated), Some(1));
        // The sources are older than the run, and were made for this test.
        let freshness = collector.metric("berglake.flow.freshness", &of);
        assert!(
            freshness.is_some_and(|seconds| seconds < 600),
            "{freshness:?}"
        );

        let committed = [("berglake.table", table), ("berglake.outcome", "committed")];
        assert_eq!(collector.count("berglake.commit.duration", &committed), 1);
        assert_eq!(
            collector.metric("berglake.commit.attempts", &committed),
            Some(1)
        );
        let of = [("berglake.table", table)];
        assert_eq!(collector.metric("berglake.table.snapshots", &of), Some(1));
        assert_eq!(collector.metric("berglake.table.manifests", &of), Some(1));
        assert_eq!(
            collector.metric("berglake.table.rows", &of),
            flow["rows_inserted"].as_u64(),
        );
        assert!(collector.metric("berglake.table.size", &of).unwrap() > 0);
    }
    let bronze = [("berglake.flow", "project.bronze.orders_raw")];
    assert_eq!(
        collector.metric("berglake.source.lag.files", &bronze),
        Some(0)
    );
    let silver = [("berglake.source.table", "bronze.orders_raw")];
    assert_eq!(
        collector.metric("berglake.source.lag.snapshots", &silver),
        Some(0)
    );

    let info = project.run(&["info", "--output", "json"]).ok();
    let info: Value = serde_json::from_str(&info).unwrap();
    for table in info["tables"].as_array().unwrap() {
        let name = table["name"].as_str().unwrap();
        let location = table["metadata_location"].as_str().unwrap();
        // The dead-letter table is written beside the rows, and measured with its flow's target alone.
        if let Some(size) =
            collector.metric("berglake.table.metadata.size", &[("berglake.table", name)])
        {
            let file = location.strip_prefix("file://").unwrap();
            let file = file.replace("[tmp]", project.root().parent().unwrap().to_str().unwrap());
            assert_eq!(size, std::fs::metadata(file).unwrap().len(), "{name}");
        }
    }

    project.rows("SELECT * FROM silver.orders");
    let select = [("berglake.statement", "select")];
    assert_eq!(collector.count("berglake.query.duration", &select), 1);
    assert_eq!(collector.metric("berglake.query.rows", &select), Some(4));
}

/// The one child of a span that is of this kind.
#[track_caller]
fn child_of_kind<'a>(spans: &'a [Span], parent: &Span, kind: SpanKind) -> &'a Span {
    let mut found = spans
        .iter()
        .filter(|span| span.kind() == kind && span.parent_span_id == parent.span_id);
    match (found.next(), found.next()) {
        (Some(only), None) => {
            assert_eq!(only.trace_id, parent.trace_id);
            only
        }
        _ => panic!("not one child {kind:?} of {}: {spans:#?}", parent.name),
    }
}

#[test]
fn a_trace_goes_on_in_the_catalogs_server_and_its_requests_are_measured() {
    let collector = Collector::start();
    let served = project(&collector);
    let server = served.serve(&["serve", "catalog"]);
    server.ready("catalog");
    let client = project(&collector).env("BERGLAKE_CATALOG__URI", &server.urls["catalog"]);
    let report = report(&client, &[]);
    assert_eq!(report["flows"][0]["status"], "updated", "{report}");
    let (_, metrics) = server.get("catalog", "/metrics");
    server.stop();

    let spans = collector.spans();
    let bronze = spans.iter().find(|span| {
        let table = text(&span.attributes, "berglake.table");
        span.name == "batch" && table.as_deref() == Some("bronze.orders_raw")
    });
    let commit = child(&spans, bronze.unwrap(), "commit");
    let attempt = child(&spans, commit, "commit request");
    // The tables are loaded again behind it.
    let request = child(&spans, attempt, "POST /v1/transactions/commit");
    assert_eq!(request.kind(), SpanKind::Client);
    assert_eq!(
        number(&request.attributes, "http.response.status_code"),
        Some(204)
    );
    let answer = child_of_kind(&spans, request, SpanKind::Server);
    let route = text(&answer.attributes, "http.route").unwrap();
    assert!(route.ends_with("/transactions/commit"), "{answer:#?}");
    let counted = metrics.lines().find(|line| {
        line.starts_with("http_server_request_duration_seconds_count{")
            && line.contains(&format!("http_route=\"{route}\""))
    });
    // The dead letters and the rows are one commit, and so is each of the two other tables.
    let counted = counted.unwrap_or_else(|| panic!("{metrics}"));
    assert!(
        counted.contains("http_response_status_code=\"204\""),
        "{counted}"
    );
    assert!(
        !collector.everything().contains("hunter2"),
        "a secret is exported"
    );
}

#[test]
fn log_lines_in_json_have_their_fields_and_the_ids_of_their_trace() {
    let project = Project::initialised();
    let ran = project.run(&["run", "--log-format", "json", "--log", "berglake=debug"]);
    let lines: Vec<Value> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = lines
        .iter()
        .find(|line| line["message"] == "records are no rows")
        .unwrap_or_else(|| panic!("no line of the dead letters: {}", ran.stderr));
    assert_eq!(line["level"], "DEBUG");
    assert_eq!(line["flow"], "bronze.orders_raw");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(
        line["target"]
            .as_str()
            .unwrap()
            .starts_with("berglake_pipeline"),
        "{line}"
    );
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16, "{line}");
}

#[test]
fn a_collector_that_is_away_costs_lines_and_no_rows_and_no_more_than_seconds() {
    // Nobody listens at a port that was free a moment ago.
    let endpoint = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let project = Project::initialised().env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let started = now();
    let ran = project.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        started.elapsed() < Duration::from_secs(120),
        "{}",
        ran.stderr
    );
    assert_eq!(project.rows("SELECT * FROM silver.orders").len(), 4);

    let project = Project::initialised().env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let ran = project.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{}",
        ran.stderr
    );
}

fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a process takes is no matter of berglake's clock"
    )]
    Instant::now()
}
