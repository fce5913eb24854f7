//! The example projects do what their READMEs say, without any server.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::Project;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// The example as a project of its own.
fn copy_of(name: &str) -> Project {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != ".berglake" {
                    copy(&entry.path(), &target);
                }
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let project = Project::empty();
    copy(&example(name), &project.root());
    project
}

/// The number that a query gives.
#[track_caller]
fn number(project: &Project, sql: &str) -> i64 {
    let rows = project.rows(sql);
    let row = rows[0].as_object().unwrap();
    row.values().next().unwrap().as_i64().unwrap()
}

#[test]
fn sales_are_loaded_once_pruned_by_day_and_read_as_of_each_day() {
    let project = copy_of("sales");
    let file = |name: &str| {
        let path = project.path(name);
        project.run(&["sql", "-f", path.to_str().unwrap()]).ok()
    };
    for _ in 0..2 {
        file("sql/schema.sql");
        file("sql/create.sql");
    }
    project.run(&["run"]).ok();
    let count = "SELECT count(*) AS n FROM iceberg.lakehouse.sales";
    assert_eq!(number(&project, count), 40 + 35 + 45);
    let snapshots = "SELECT count(*) AS n FROM lakehouse.sales$snapshots";
    assert_eq!(number(&project, snapshots), 3);
    // Loading the days again changes nothing.
    let again = project.run(&["run"]).ok();
    assert!(again.contains("up to date"), "{again}");
    assert_eq!(number(&project, snapshots), 3);
    assert_eq!(number(&project, count), 120);

    let pruned =
        "EXPLAIN SELECT sum(amount) FROM lakehouse.sales WHERE ingestion_date = '2024-01-15'";
    let plan = project.run(&["sql", "-c", pruned]).ok();
    assert!(plan.contains("files=1/3"), "{plan}");
    // Two commits can be of the same millisecond, so time does not tell their order.
    let ids = "SELECT snapshot_id FROM lakehouse.sales$snapshots
        ORDER BY CAST(summary['total-records'] AS BIGINT)";
    for (row, expected) in project.rows(ids).iter().zip([40, 75, 120]) {
        let id = row["snapshot_id"].as_i64().unwrap();
        assert_eq!(
            number(&project, &format!("{count} FOR VERSION AS OF {id}")),
            expected
        );
    }
    let first = "SELECT order_id, amount, ingestion_date FROM lakehouse.sales ORDER BY 1 LIMIT 1";
    let line = fs::read_to_string(project.path("data/sales_2024-01-15.csv")).unwrap();
    let amount = line.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    assert_eq!(
        project.rows(first),
        [json!({"order_id": "ORD-001", "amount": amount, "ingestion_date": "2024-01-15"})]
    );
    let described = project
        .run(&["sql", "-c", "DESCRIBE EXTENDED lakehouse.sales"])
        .ok();
    assert!(described.contains("snappy"), "{described}");
}

#[test]
fn every_health_record_is_in_a_table_once_and_counted_in_each_aggregate() {
    let project = copy_of("health");
    project.run(&["run"]).ok();
    let aggregates = ["daily", "weekly", "monthly"];
    let check = |records: i64| {
        let raw = number(&project, "SELECT count(*) AS n FROM bronze.health_data_raw");
        let errors = "SELECT count(DISTINCT error_id) AS n FROM bronze.health_data_errors";
        assert_eq!(raw + number(&project, errors), records);
        for name in aggregates {
            let sum = format!("SELECT sum(record_count) AS n FROM gold.health_data_{name}_agg");
            assert_eq!(number(&project, &sum), raw, "{name}");
        }
    };
    check(600);
    let late = project.path("data/late/health-2.ndjson");
    fs::copy(late, project.path("data/health-2.ndjson")).unwrap();
    project.run(&["run"]).ok();
    check(660);
    let weeks = "SELECT DISTINCT year, week_of_year FROM gold.health_data_weekly_agg
        WHERE week_start_date IN ('2020-12-28', '2024-12-30') ORDER BY year";
    assert_eq!(
        project.rows(weeks),
        [
            json!({"year": 2020, "week_of_year": 53}),
            json!({"year": 2025, "week_of_year": 1}),
        ]
    );
}

/// The projects on Kafka are folders of their own, which a container can mount; what they share with
/// the projects on files must stay the same.
#[test]
fn the_projects_on_kafka_differ_in_their_source_alone() {
    for (name, source) in [("movies", "bronze.sql"), ("health", "raw.sql")] {
        let files = |name: &str| {
            let mut files: Vec<(String, String)> = fs::read_dir(example(name).join("pipelines"))
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = fs::read_to_string(entry.path()).unwrap();
                    (entry.file_name().into_string().unwrap(), text)
                })
                .filter(|(name, _)| name != source)
                .collect();
            files.sort();
            files
        };
        assert_eq!(files(name), files(&format!("{name}-kafka")), "{name}");
    }
}
