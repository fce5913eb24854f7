//! The whole platform in one process, and single roles, from outside.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use crate::support::{Project, Running};

/// The movies example in a folder of its own, where nothing was run.
fn movies() -> Project {
    let project = Project::empty();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movies");
    for file in [
        "berglake.toml",
        "pipelines/bronze.sql",
        "pipelines/silver.sql",
        "pipelines/gold.sql",
        "data/movies.json",
    ] {
        let text = std::fs::read_to_string(example.join(file)).unwrap();
        project.write(file, &text);
    }
    project
}

/// Asks until the role is ready and says that it waits for something to work on.
#[track_caller]
fn until_waiting(running: &Running, role: &str) {
    let mut last = String::new();
    for _ in 0..1_200 {
        let (status, body) = running.get(role, "/health/ready");
        if status == 200 && body.contains("\"waiting\"") {
            return;
        }
        last = body;
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{role} does not wait: {last}");
}

/// Asks until the answer, as CSV without its header, is this.
#[track_caller]
fn until_csv(running: &Running, sql: &str, expected: &str) {
    let mut last = String::new();
    for _ in 0..1_200 {
        let (_, body) = running.sql(sql, "csv");
        last = String::from_utf8(body).unwrap();
        if last
            .split_once('\n')
            .is_some_and(|(_, rows)| rows.trim_end() == expected)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{sql} does not become {expected}: {last}");
}

/// Waits until no flow has anything left to do, as another process sees it.
#[track_caller]
fn until_up_to_date(project: &Project) {
    let mut last = Value::Null;
    for _ in 0..240 {
        let plan = project.run(&["plan", "--output", "json"]).ok();
        last = serde_json::from_str(&plan).unwrap();
        let mut flows = last["flows"].as_array().unwrap().iter();
        if flows.all(|flow| flow["action"] == "up-to-date") {
            return;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    panic!("something is left to do: {last}");
}

fn batches(bytes: &[u8]) -> Vec<RecordBatch> {
    let reader = StreamReader::try_new(bytes, None).unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the time that a process takes is measured, not simulated"
)]
fn a_project_comes_up_from_nothing_and_follows_its_files() {
    let project = movies();
    let started = Instant::now();
    let running = project.serve(&["up"]);
    let listening = started.elapsed();
    running.ready("query");
    println!(
        "up: listens after {listening:?}, ready after {:?}",
        started.elapsed()
    );
    until_csv(
        &running,
        "SELECT count(*) > 100 AS full FROM gold.movies_by_year_genre",
        "true",
    );
    println!("up: gold is filled after {:?}", started.elapsed());

    // What the server answers is what the command line prints, in every format.
    let sql = "SELECT * FROM gold.movies_by_year_genre ORDER BY year, genre";
    let printed = |output: &str| {
        let arguments = ["sql", "--output", output, "-c", sql];
        project.command(&arguments).output().unwrap().stdout
    };
    assert_eq!(running.sql(sql, "csv"), (200, printed("csv")));
    let lines = printed("json");
    assert_eq!(running.sql(sql, "ndjson"), (200, lines.clone()));
    let (_, arrow) = running.sql(sql, "arrow");
    let concatenated = |bytes: &[u8]| {
        let batches = batches(bytes);
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    assert_eq!(concatenated(&arrow), concatenated(&printed("arrow")));
    let (_, document) = running.sql(sql, "json");
    let document: Value = serde_json::from_slice(&document).unwrap();
    let rows: Vec<Value> = String::from_utf8(lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(document["row_count"], rows.len());
    assert_eq!(document["rows"], Value::from(rows));

    // A file that arrives is in gold without anybody's command.
    let film =
        r#"[{"Title": "The New One", "Release Date": "Jan 1 1901", "Major Genre": "Drama"}]"#;
    project.write("data/movies_new.json", film);
    until_csv(
        &running,
        "SELECT movie_count FROM gold.movies_by_year_genre WHERE year = 1901 AND genre = 'Drama'",
        "1",
    );
    until_up_to_date(&project);
    running.ready("query");
    println!("up: {} MiB when idle", running.memory() >> 20);
    let errors = running.stop();
    assert!(
        !errors.contains("panicked") && !errors.contains("ERROR"),
        "{errors}"
    );

    // Nothing was left in between.
    let report = project.run(&["run", "--output", "json"]).ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    for flow in report["flows"].as_array().unwrap() {
        assert_eq!(flow["status"], "up-to-date", "{flow}");
    }
}

#[test]
fn roles_that_stand_alone_follow_each_other_in_any_order() {
    let project = Project::initialised();
    let gold = project.serve(&["serve", "gold"]);
    // Nothing is wrong with it: what it reads is not there yet.
    until_waiting(&gold, "gold");
    let query = project.serve(&["serve", "query"]);
    let silver = project.serve(&["serve", "silver"]);
    query.ready("query");
    let bronze = project.serve(&["serve", "bronze"]);
    until_csv(
        &query,
        "SELECT count(*) > 0 AS n FROM gold.revenue_by_country",
        "true",
    );
    for (role, running) in [("gold", &gold), ("silver", &silver), ("bronze", &bronze)] {
        running.ready(role);
        assert_eq!(running.get(role, "/health/live").0, 200);
        let (status, metrics) = running.get(role, "/metrics");
        assert_eq!(status, 200);
        let counted = "berglake_flow_rows_inserted_total{";
        assert!(metrics.contains(counted), "{role}: {metrics}");
        assert_eq!(running.get(role, "/v1/sql").0, 503);
    }
    for running in [gold, query, silver, bronze] {
        running.stop();
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let project = Project::initialised();
    let running = project.serve(&["serve", "query"]);
    let address = running.urls["query"]
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let setting = format!("query.listen={address}");
    let free = "catalog.server.listen=127.0.0.1:0";
    let ran = project.run(&["--set", free, "--set", &setting, "up"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("another program listens"),
        "{}",
        ran.stderr
    );
    running.stop();
}

#[test]
fn a_server_that_everybody_could_reach_needs_tokens() {
    let project = Project::initialised();
    let open = ["--set", "query.listen=0.0.0.0:0", "serve", "query"];
    let ran = project.run(&open);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("query.tokens"), "{}", ran.stderr);
    let project = project.env("BERGLAKE_QUERY__TOKENS", "hunter2");
    let mut running = project.start(&open);
    running.line_with("started");
    let errors = running.stop();
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn a_pipeline_that_does_not_parse_ends_the_process() {
    let project = Project::initialised();
    project.write("pipelines/gold.sql", "CREATE OR REFRESH MATERIALIZED");
    let running = project.serve(&["up"]);
    let (code, errors) = running.end();
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("pipelines/gold.sql"), "{errors}");
}

#[test]
fn a_catalog_that_cannot_be_opened_yet_is_waited_for_and_named() {
    let project = Project::initialised();
    // A file where the catalog's folder should be.
    project.write(".berglake", "in the way");
    let running = project.serve(&["up"]);
    // Each role finds it out by itself; what is asked is whether the role of queries has.
    let mut last = String::new();
    let named = (0..1_200).any(|_| {
        let (status, body) = running.sql("SELECT 1", "csv");
        last = String::from_utf8(body).unwrap();
        assert_eq!(status, 503, "{last}");
        let named = last.contains("project/.berglake");
        if !named {
            std::thread::sleep(Duration::from_millis(50));
        }
        named
    });
    assert!(named, "{last}");
    let (status, body) = running.get("query", "/health/ready");
    assert_eq!(status, 503, "{body}");
    let report: Value = serde_json::from_str(&body).unwrap();
    let mut checks = report["checks"].as_array().unwrap().iter();
    let of_query = |check: &&Value| {
        let reason = check["reason"].as_str().unwrap_or_default();
        check["role"] == "query" && reason.contains("project/.berglake")
    };
    assert!(checks.any(|check| of_query(&check)), "{body}");
    assert_eq!(running.get("query", "/health/live").0, 200);

    std::fs::remove_file(project.path(".berglake")).unwrap();
    running.ready("query");
    until_csv(
        &running,
        "SELECT count(*) > 0 AS n FROM gold.revenue_by_country",
        "true",
    );
    running.stop();
}

#[test]
fn a_catalog_that_is_no_database_ends_the_process() {
    let project = Project::initialised();
    project.write(".berglake/catalog.db", &"no database at all\n".repeat(100));
    let running = project.serve(&["up"]);
    let (code, errors) = running.end();
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("catalog.db"), "{errors}");
    assert!(errors.contains("no SQLite database"), "{errors}");
}

/// Waits until a watch says that it has updated this table. All that it says is an event.
#[track_caller]
fn until_updated(running: &mut Running, table: &str) {
    loop {
        let line = running.line();
        let event: Value = serde_json::from_str(&line).unwrap();
        let updated = event["event"] == "updated";
        assert!(updated || event["event"] == "state", "{line}");
        if updated && event["target"] == table {
            return;
        }
    }
}

#[test]
fn a_watch_tells_what_it_does_and_ends_in_good_order() {
    let project = Project::initialised();
    let mut running = project.start(&["run", "--watch", "--output", "json"]);
    until_updated(&mut running, "gold.revenue_by_country");
    project.write(
        "data/orders_2.json",
        "{\"order_id\": 77, \"customer\": \"Ada\", \"country\": \"gb\", \"amount\": 7, \
          \"ordered_at\": \"2026-01-05T09:30:00Z\", \"updated_at\": \"2026-03-01T00:00:00Z\"}\n",
    );
    // Its lines do not tell which file an update was of; the row does.
    let found = (0..240).any(|_| {
        let rows = project.rows("SELECT count(*) AS n FROM silver.orders WHERE order_id = 77");
        let found = rows[0]["n"] == 1;
        if !found {
            std::thread::sleep(Duration::from_millis(250));
        }
        found
    });
    assert!(found, "the new order does not come to silver");
    running.signal("INT");
    let (code, errors) = running.end();
    assert_eq!(code, Some(0), "{errors}");

    let ran = project.run(&["run", "--watch", "--layer", "platinum"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let ran = project.run(&[
        "run",
        "--watch",
        "--full-refresh",
        "gold.revenue_by_country",
    ]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}
