//! What `/metrics` says of runs.

use std::collections::HashMap;

use berglake_pipeline::RunReport;
use berglake_telemetry::{Format, Settings, metrics};

use crate::lake::{Lake, events, flow, lines};

/// The samples of the text for Prometheus: name with labels, and value.
fn samples() -> HashMap<String, f64> {
    let text = metrics::prometheus_text().unwrap();
    let mut types = 0;
    let mut samples = HashMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(
                comment.starts_with("TYPE ") || comment.starts_with("HELP "),
                "{line}"
            );
            types += usize::from(comment.starts_with("TYPE "));
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        let value: f64 = value.parse().expect("a value is a number");
        assert!(
            samples.insert(name.to_owned(), value).is_none(),
            "twice: {line}"
        );
    }
    assert!(types > 0, "{text}");
    samples
}

/// A number of a run's report on a table.
type Count = fn(&RunReport, &str) -> u64;

#[tokio::test]
async fn the_text_for_prometheus_counts_what_the_reports_of_all_runs_count() {
    let _guard = Settings::new(Format::Plain)
        .filter("off")
        .unwrap()
        .init()
        .unwrap();
    let lake = Lake::new(&events(2)).await;
    // Other tests run in this process, too; this pipeline's name is its own.
    lake.write("berglake.toml", "[project]\nname = \"measured\"\n");
    lake.write(
        "data/1.ndjson",
        &lines(&[("a", 1, 1), ("b", 1, 2), ("c", 1, 3)]),
    );
    lake.write(
        "data/2.ndjson",
        "{\"k\": \"c\", \"seq\": 1, \"v\": 4}\n{\"k\": broken\n",
    );
    let mut reports = vec![lake.run().await];
    lake.write("data/3.ndjson", &lines(&[("a", 2, 10), ("b", 0, 0)]));
    reports.push(lake.run().await);
    reports.push(lake.run().await);

    let samples = samples();
    let total = |table: &str, of: Count| -> f64 {
        reports.iter().map(|report| of(report, table) as f64).sum()
    };
    for (table, name) in [
        ("bronze.events", "measured.bronze.events"),
        ("silver.events", "measured.upsert"),
        ("gold.total", "measured.gold.total"),
    ] {
        let labels = format!("berglake_flow=\"{name}\",berglake_table=\"{table}\"");
        let sample = |name: &str| samples.get(&format!("{name}{{{labels}}}")).copied();
        let expected: [(&str, Count); 5] = [
            ("read", |report, table| flow(report, table).rows_read),
            ("inserted", |report, table| {
                flow(report, table).rows_inserted
            }),
            ("updated", |report, table| flow(report, table).rows_updated),
            ("deleted", |report, table| flow(report, table).rows_deleted),
            ("superseded", |report, table| {
                flow(report, table).rows_superseded
            }),
        ];
        for (what, of) in expected {
            let measured = sample(&format!("berglake_flow_rows_{what}_total")).unwrap_or(0.0);
            assert_eq!(
                measured,
                total(table, of),
                "{what} of {table}: {samples:#?}"
            );
        }
        let letters = sample("berglake_flow_dead_letters_total").unwrap_or(0.0);
        assert_eq!(
            letters,
            total(table, |report, table| flow(report, table).dead_letters)
        );
        assert!(
            sample("berglake_flow_freshness_seconds").is_some(),
            "{samples:#?}"
        );
    }
    let of = "berglake_flow=\"measured.bronze.events\"";
    let table = "berglake_table=\"bronze.events\"";
    let batches = format!(
        "berglake_flow_batch_duration_seconds_count{{{of},berglake_outcome=\"committed\",{table}}}"
    );
    assert_eq!(
        samples.get(&batches),
        Some(&3.0),
        "a file is a batch: {samples:#?}"
    );
    let idle = format!("berglake_flow_runs_total{{{of},berglake_outcome=\"up-to-date\",{table}}}");
    assert_eq!(samples.get(&idle), Some(&1.0), "{samples:#?}");
    assert_eq!(
        samples.get(&format!("berglake_source_lag_files{{{of}}}")),
        Some(&0.0)
    );
}
