//! `berglake maintain`

use std::time::Duration;

use serde_json::Value;

use crate::support::Project;

const PIPELINE: &str = "
CREATE OR REFRESH STREAMING TABLE bronze.raw
  TBLPROPERTIES ('berglake.batch.max-files' = '1')
  AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k BIGINT, v BIGINT');
CREATE OR REFRESH STREAMING TABLE silver.clean;
CREATE FLOW clean AS AUTO CDC INTO silver.clean FROM STREAM(bronze.raw) KEYS (k) SEQUENCE BY v
  COLUMNS (k, v) STORED AS SCD TYPE 1;
CREATE OR REFRESH MATERIALIZED VIEW gold.counted AS SELECT count(*) AS n FROM bronze.raw;
";

fn project(files: usize) -> Project {
    let project = Project::with_pipeline(PIPELINE);
    for i in 0..files {
        let text = format!("{{\"k\": {i}, \"v\": 1}}\n{{\"k\": 0, \"v\": {i}}}\n");
        project.write(&format!("data/{i}.ndjson"), &text);
    }
    project.run(&["run"]).ok();
    project
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&project.run(&arguments).ok()).unwrap()
}

#[test]
fn a_plan_changes_nothing_and_a_run_does_what_it_says() {
    let project = project(6);
    let plan = json(&project, &["maintain", "plan"]);
    let tables = plan["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 3);
    assert_eq!(tables[0]["table"], "bronze.raw");
    let groups = &tables[0]["compact"]["done"]["groups"];
    assert_eq!(groups[0]["files"].as_array().unwrap().len(), 6);
    assert_eq!(groups[0]["reason"], "files");
    assert_eq!(tables[0]["expire"]["done"]["expired"], Value::Array(vec![]));
    assert_eq!(plan, json(&project, &["maintain", "plan"]));
    let text = project.run(&["maintain", "plan"]).ok();
    assert!(
        text.contains("6 of 6 files in 1 groups, into about 1"),
        "{text}"
    );

    let before = project.rows("SELECT k, v FROM bronze.raw ORDER BY k, v");
    let report = json(&project, &["maintain", "run"]);
    assert_eq!(
        report["tables"][0]["compact"]["done"]["groups"][0]["outcome"],
        "committed"
    );
    assert_eq!(report["stopped"], false);
    assert_eq!(
        project.rows("SELECT k, v FROM bronze.raw ORDER BY k, v"),
        before
    );
    let files = project.rows("SELECT count(*) AS n FROM bronze.raw$files");
    assert_eq!(files[0]["n"], 1);
    // Nothing is new to the flows that read the table.
    let run = json(&project, &["run"]);
    for flow in run["flows"].as_array().unwrap() {
        assert_eq!(flow["rows_read"].as_u64().unwrap_or(0), 0, "{flow}");
        if flow["target"] == "gold.counted" {
            assert_eq!(flow["status"], "up-to-date", "{flow}");
        }
    }
}

#[test]
fn a_view_is_not_computed_anew_because_its_files_were_rewritten() {
    // Every snapshot is too old at once: what stays is needed.
    let age = "BERGLAKE_DEFAULTS__HISTORY_EXPIRE_MAX_SNAPSHOT_AGE_MS";
    let project = project(6).env(age, "0");
    for round in 0..3 {
        let maintain = ["maintain", "run", "--table", "gold.counted"];
        let report = json(
            &project,
            &[&maintain[..], &["--option", "rewrite-all=true"]].concat(),
        );
        let table = &report["tables"][0];
        let groups = &table["compact"]["done"]["groups"];
        assert_eq!(groups[0]["outcome"], "committed", "{table}");
        let expired = &table["expire"]["done"]["expired"];
        assert_eq!(expired.as_array().unwrap().len(), 1, "{table}");
        let run = json(&project, &["run"]);
        let flows = run["flows"].as_array().unwrap();
        let gold = flows.iter().find(|flow| flow["target"] == "gold.counted");
        assert_eq!(
            gold.unwrap()["status"],
            "up-to-date",
            "round {round}: {run}"
        );
    }
}

#[test]
fn one_table_and_one_operation_can_be_asked_for() {
    let project = project(6);
    let old = ["--set", "defaults.history.expire.max-snapshot-age-ms=0"];
    let expire = [
        "maintain",
        "run",
        "--operation",
        "expire",
        "--table",
        "silver.clean",
    ];
    let report = json(&project, &[&old[..], &expire].concat());
    let tables = report["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].get("compact"), None);
    assert!(tables[0]["expire"]["done"]["files_left"] == 0, "{report}");
    let again = json(
        &project,
        &[
            "maintain",
            "plan",
            "--table",
            "bronze.raw",
            "--operation",
            "compact",
        ],
    );
    assert_eq!(again["tables"][0]["compact"]["done"]["files"], 6);
}

#[test]
fn what_is_asked_for_wrongly_is_an_error_that_says_so() {
    let project = project(1);
    for (arguments, code, message) in [
        (
            &["maintain", "run", "--table", "silver.claen"][..],
            1,
            "did you mean silver.clean",
        ),
        (
            &["maintain", "run", "--operation", "vacuum"][..],
            2,
            "possible values",
        ),
        (
            &["maintain", "run", "--option", "min-input-file=2"][..],
            2,
            "did you mean min-input-files",
        ),
        (
            &["maintain", "run", "--option", "min-input-files=0"][..],
            2,
            "min-input-files",
        ),
        (
            &["maintain", "plan", "--option", "min-input-files=0"][..],
            2,
            "min-input-files",
        ),
    ] {
        let ran = project.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn the_role_maintains_tables_on_its_schedules_while_flows_follow_their_files() {
    let mut project = project(6);
    for (variable, value) in [
        // Cron expressions with seconds: every second.
        ("BERGLAKE_MAINTENANCE__COMPACT", "* * * * * *"),
        ("BERGLAKE_MAINTENANCE__EXPIRE", "* * * * * *"),
    ] {
        project = project.env(variable, value);
    }
    let running = project.serve(&["up"]);
    running.ready("query");
    let until = |sql: &str, expected: &str| {
        let mut last = String::new();
        for _ in 0..1_200 {
            let (_, body) = running.sql(sql, "csv");
            last = String::from_utf8(body).unwrap();
            if last.lines().nth(1) == Some(expected) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{sql} does not become {expected}: {last}");
    };
    until("SELECT count(*) AS n FROM bronze.raw$files", "1");
    // Files keep coming while they are compacted away.
    for i in 6..14 {
        let text = format!("{{\"k\": {i}, \"v\": 1}}\n{{\"k\": 0, \"v\": {i}}}\n");
        project.write(&format!("data/{i}.ndjson"), &text);
        std::thread::sleep(Duration::from_millis(300));
    }
    until("SELECT count(*) AS n FROM bronze.raw", "28");
    until("SELECT count(*) AS n FROM silver.clean", "14");
    until("SELECT v FROM silver.clean WHERE k = 0", "13");
    until("SELECT n FROM gold.counted", "28");
    let errors = running.stop();
    assert!(!errors.contains("panicked"), "{errors}");
    // A compaction that came last has no rows, but a flow may yet have to say that it has passed it.
    let flows = json(&project, &["run"]);
    for flow in flows["flows"].as_array().unwrap() {
        assert_eq!(flow["rows_read"], 0, "{flow}");
    }
    let again = json(&project, &["run"]);
    for flow in again["flows"].as_array().unwrap() {
        assert_eq!(flow["status"], "up-to-date", "{flow}");
    }
}
