//! What each command does, on the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::Project;

fn json_of(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "one object on one line: {text}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_new_project_works_and_a_second_run_does_nothing() {
    let project = Project::initialised();
    assert_eq!(project.run(&["validate"]).ok(), "project is valid\n");

    let plan = json_of(&project.run(&["plan", "--output", "json"]).ok());
    assert_eq!(plan["pipeline"], "project");
    let actions: Vec<_> = plan["flows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flow| {
            (
                flow["target"].as_str().unwrap(),
                flow["action"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("bronze.orders_raw", "create"),
            ("silver.orders", "create"),
            ("gold.revenue_by_country", "create")
        ]
    );
    assert!(!project.path(".berglake").exists(), "plan must not write");

    let first = json_of(&project.run(&["run", "--output", "json"]).ok());
    let flows = first["flows"].as_array().unwrap();
    assert_eq!(flows.len(), 3);
    assert!(
        flows.iter().all(|flow| flow["status"] == "updated"),
        "{first}"
    );
    assert_eq!(flows[0]["rows_inserted"], 5);
    assert_eq!(flows[0]["dead_letters"], 1);
    assert_eq!(flows[1]["rows_inserted"], 4);

    assert_eq!(
        project.rows("SELECT customer, country, amount FROM silver.orders WHERE order_id = 2"),
        [json!({"customer": "Grace", "country": "US", "amount": 95.0})]
    );

    let second = json_of(&project.run(&["run", "--output", "json"]).ok());
    for flow in second["flows"].as_array().unwrap() {
        assert_eq!(flow["status"], "up-to-date", "{flow}");
        assert_eq!(flow["snapshot_id"], Value::Null, "{flow}");
        assert_eq!(flow["rows_read"], 0, "{flow}");
    }
    let plan = json_of(&project.run(&["plan", "--output", "json"]).ok());
    for flow in plan["flows"].as_array().unwrap() {
        assert_eq!(flow["action"], "up-to-date", "{flow}");
    }
}

#[test]
fn a_run_is_reported_to_people_and_its_progress_goes_to_stderr() {
    let project = Project::initialised();
    let ran = project.run(&["run"]);
    assert!(
        ran.stderr.contains("silver.orders: running"),
        "{}",
        ran.stderr
    );
    assert!(
        !ran.stderr.contains('\u{1b}'),
        "no colours without a terminal"
    );
    let stdout = ran.ok();
    assert!(stdout.contains("gold.revenue_by_country"), "{stdout}");
    assert!(stdout.contains("amount_is_positive"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn init_overwrites_nothing() {
    let project = Project::empty();
    project.write("data/orders.json", "mine");
    let root = project.root();
    let ran = project.run_plain(&["init", root.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("data/orders.json"), "{}", ran.stderr);
    assert!(!project.path("berglake.toml").exists());
    assert_eq!(
        std::fs::read_to_string(project.path("data/orders.json")).unwrap(),
        "mine"
    );
}

#[test]
fn commands_that_look_do_not_make_a_catalog() {
    let project = Project::initialised();
    for command in [
        &["tables"][..],
        &["info"],
        &["plan"],
        &["validate"],
        &["sql", "-c", "SELECT 1"],
    ] {
        project.run(command).ok();
        assert!(!project.path(".berglake").exists(), "{command:?}");
    }
    assert!(project.run(&["tables"]).ok().contains("berglake run"));
    let ran = project.run(&["history", "silver.orders"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("`berglake run`"), "{}", ran.stderr);
    assert!(!project.path(".berglake").exists());

    project.run(&["sql", "-c", "CREATE NAMESPACE mine"]).ok();
    assert!(project.path(".berglake/catalog.db").exists());
}

#[test]
fn sql_prints_each_format() {
    let project = Project::with_config("");
    let query = "SELECT 1 AS n, 'a,\"b' AS t, CAST(NULL AS INT) AS x, '' AS e, \
                 CAST(1.5 AS DECIMAL(5, 2)) AS d, TIMESTAMP '2026-01-02 03:04:05' AS at";
    let run = |output: &str| project.run(&["sql", "--output", output, "-c", query]).ok();
    assert_eq!(
        run("csv"),
        "n,t,x,e,d,at\n1,\"a,\"\"b\",,\"\",1.50,2026-01-02T03:04:05\n"
    );
    assert_eq!(
        run("json"),
        "{\"n\":1,\"t\":\"a,\\\"b\",\"x\":null,\"e\":\"\",\"d\":\"1.50\",\"at\":\"2026-01-02T03:04:05\"}\n"
    );
    let table = run("table");
    assert!(table.starts_with("n  t"), "{table}");
    assert!(table.contains("NULL"), "{table}");
    assert!(table.ends_with("(1 row)\n"), "{table}");
}

#[test]
fn an_arrow_stream_holds_the_rows() {
    let project = Project::with_config("");
    let query = "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t(n, s) ORDER BY n";
    let output = project
        .command(&["sql", "--output", "arrow", "-c", query])
        .output()
        .unwrap();
    assert!(output.status.success());
    let reader = arrow::ipc::reader::StreamReader::try_new(&output.stdout[..], None).unwrap();
    let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        2
    );
    assert_eq!(
        batches[0].schema().field(1).data_type(),
        &arrow::datatypes::DataType::Utf8
    );

    let two = project.run(&["sql", "--output", "arrow", "-c", "SELECT 1; SELECT 2"]);
    assert_eq!(two.code, Some(2), "{}", two.stderr);
}

#[test]
fn statements_come_from_a_file_and_from_stdin() {
    let project = Project::with_config("");
    project.write("q.sql", "-- two\nSELECT 1 AS a;\nSELECT 2 AS b;\n");
    let file = project.path("q.sql");
    let file = file.to_str().unwrap();
    assert_eq!(
        project.run(&["sql", "--output", "csv", "-f", file]).ok(),
        "a\n1\nb\n2\n"
    );
    let mut child = project
        .command(&["sql", "--output", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"SELECT 3 AS c")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"c\n3\n");
}

#[test]
fn info_and_history_agree_with_the_rows() {
    let project = Project::initialised();
    project.run(&["run"]).ok();
    project.write(
        "data/orders-2.json",
        "{\"order_id\": 1, \"customer\": \"Ada\", \"country\": \"gb\", \"amount\": 7, \
          \"ordered_at\": \"2026-01-05T09:30:00Z\", \"updated_at\": \"2026-03-01T00:00:00Z\"}\n",
    );
    project.run(&["run"]).ok();

    let info = json_of(&project.run(&["info", "--output", "json"]).ok());
    assert_eq!(info["format"], "iceberg");
    assert_eq!(info["catalog"]["name"], "berglake");
    let tables = info["tables"].as_array().unwrap();
    let names: Vec<_> = tables
        .iter()
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "bronze.orders_errors",
            "bronze.orders_raw",
            "gold.revenue_by_country",
            "silver.orders"
        ]
    );
    for table in tables {
        let name = table["name"].as_str().unwrap();
        let rows = project.rows(&format!("SELECT count(*) AS n FROM {name}"));
        assert_eq!(table["rows"], rows[0]["n"], "{name}");
        assert!(table["total_size"].as_u64().unwrap() > 0, "{table}");
        let history = project.run(&["history", name, "--output", "json"]).ok();
        let snapshots: Vec<Value> = history
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(table["snapshots"], snapshots.len(), "{name}");
        let current: Vec<_> = snapshots
            .iter()
            .filter(|s| s["is_current"] == true)
            .collect();
        assert_eq!(current.len(), 1, "{name}");
        assert_eq!(
            table["latest_snapshot_id"], current[0]["snapshot_id"],
            "{name}"
        );
        assert_eq!(current[0]["application"], "project", "{name}");
    }
    // The corrected order is one row in two files: the old one is deleted by position.
    let silver = &tables[3];
    assert_eq!(silver["rows"], 4);
    assert_eq!(silver["delete_files"], 1);
    assert!(project.run(&["info"]).ok().contains("silver.orders"));
    assert!(
        project
            .run(&["tables"])
            .ok()
            .contains("gold.revenue_by_country")
    );
}

#[test]
fn config_show_says_where_values_come_from() {
    let project = Project::with_config("[project]\nname = \"films\"\n")
        .env("BERGLAKE_CATALOG__NAME", "other")
        .env("BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "hunter2");
    let shown = project
        .run(&["--set", "variables.data=here", "config", "show", "--origin"])
        .ok();
    for line in [
        "name = \"films\"  # berglake.toml:2",
        "name = \"other\"  # BERGLAKE_CATALOG__NAME",
        "warehouse = \"[tmp]/project/.berglake/warehouse\"  # default",
        "secret-access-key = \"***\"  # BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY",
        "data = \"here\"  # command line",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
    }
    let json = json_of(&project.run(&["config", "show", "--output", "json"]).ok());
    assert_eq!(json["catalog.name"], "other");
    assert_eq!(json["storage.s3.secret-access-key"], "***");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let project = Project::with_config("");
    let digits = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";
    let query = format!(
        "SELECT 'a line that is long enough to fill the pipe' AS t \
         FROM {digits} a CROSS JOIN {digits} b CROSS JOIN {digits} c CROSS JOIN {digits} d CROSS JOIN {digits} e"
    );
    let mut child = project
        .command(&["sql", "--output", "csv", "-c", &query])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert_eq!(first, "t\n");
    // The reader is dropped by now, as that of `| head -1` is.
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_ends_with_130() {
    for signal in ["INT", "TERM"] {
        let project = Project::with_config("");
        let digits = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";
        let many = [digits; 12]
            .iter()
            .enumerate()
            .map(|(i, digits)| format!("{digits} AS t{i}(d)"))
            .collect::<Vec<_>>()
            .join(" CROSS JOIN ");
        let query = format!("SELECT 1 AS ready; SELECT sum(t0.d * t11.d) FROM {many}");
        let mut child = project
            .command(&["sql", "--output", "csv", "-c", &query])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        crate::support::signal(child.id(), signal);
        let status = child.wait().unwrap();
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert_eq!(status.code(), Some(130), "{errors}");
        assert!(errors.starts_with("interrupted: "), "{errors}");
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let project = Project::empty();
    let help = project.run_plain(&["--help"]).ok();
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "130"] {
        assert!(help.contains(&format!("\n  {code}")), "{code}: {help}");
    }
    for command in [
        "init",
        "validate",
        "plan",
        "run",
        "sql",
        "tables",
        "history",
        "rollback",
        "info",
        "completions",
    ] {
        let help = project.run_plain(&[command, "--help"]).ok();
        assert!(help.contains("Examples:"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = project.run_plain(&["completions", shell]).ok();
        assert!(script.contains("full-refresh"), "{shell}");
    }
}
