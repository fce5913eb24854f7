//! Bad input: each case gets an error that says what, where and what to do, and an exit code.

use insta::assert_snapshot;

use crate::support::Project;

#[test]
fn an_unknown_key_names_its_line_and_the_nearest() {
    let project = Project::with_config("[storage]\nwarehose = \"lake\"\n");
    assert_snapshot!(project.run(&["tables"]).failure());
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let project = Project::with_config("[storage.s3]\npath-style = \"yes\"\n");
    assert_snapshot!(project.run(&["config", "show"]).failure());
}

#[test]
fn toml_that_does_not_parse_names_its_line() {
    let project = Project::with_config("[storage]\nwarehouse = lake\n");
    assert_snapshot!(project.run(&["config", "show"]).failure());
}

#[test]
fn a_folder_without_a_project_says_how_to_make_one() {
    assert_snapshot!(Project::empty().run(&["run"]).failure());
}

#[test]
fn an_environment_variable_that_names_no_key_is_an_error() {
    let project = Project::with_config("").env("BERGLAKE_STORAGE__WAREHOSE", "x");
    assert_snapshot!(project.run(&["tables"]).failure());
}

#[test]
fn a_set_flag_that_names_no_key_is_an_error() {
    let project = Project::with_config("");
    assert_snapshot!(
        project
            .run(&["--set", "storage.s3.regin=x", "tables"])
            .failure()
    );
}

#[test]
fn a_connection_of_a_later_version_is_not_supported() {
    let project = Project::with_config("[connections.main]\nkind = \"postgres\"\nhost = \"h:1\"\n");
    assert_snapshot!(project.run(&["validate"]).failure());
}

#[test]
fn unknown_flags_and_values_are_usage_errors() {
    let project = Project::with_config("");
    let ran = [
        project.run(&["run", "--layers", "gold"]),
        project.run(&["info", "--output", "xml"]),
        project.run(&["info", "--output", "arrow"]),
        project.run(&["run", "--resume", "maybe"]),
        project.run(&["rum"]),
        project.run(&["--log", "berglake=lots", "tables"]),
    ];
    let all: Vec<String> = ran.iter().map(|ran| ran.failure()).collect();
    assert!(ran.iter().all(|ran| ran.code == Some(2)));
    assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_catalog_file_that_is_no_database_is_named() {
    let project = Project::initialised();
    project.write(".berglake/catalog.db", &"this is no database\n".repeat(100));
    for command in [
        &["tables"][..],
        &["info"],
        &["plan"],
        &["sql", "-c", "SELECT 1"],
    ] {
        let ran = project.run(command);
        assert_eq!(ran.code, Some(3), "{command:?}: {}", ran.stderr);
    }
    assert_snapshot!(project.run(&["run"]).failure());
    let text = std::fs::read_to_string(project.path(".berglake/catalog.db")).unwrap();
    assert!(
        text.starts_with("this is no database"),
        "the file was changed"
    );
}

#[test]
fn a_catalog_folder_that_cannot_be_written_is_named() {
    let project = Project::initialised();
    // Permissions do not hold for root; that a file stands where the folder should be does.
    project.write(".berglake", "");
    assert_snapshot!(project.run(&["run"]).failure());
}

#[test]
fn a_warehouse_that_cannot_be_written_fails_the_flow_and_leaves_no_table() {
    let project = Project::initialised();
    project.write("lake", "");
    let ran = project.run(&["--set", "storage.warehouse=lake", "run"]);
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.stdout.contains("lake") || ran.stderr.contains("lake"),
        "{ran:?}"
    );
    let tables = project.run(&["tables", "--output", "json"]).ok();
    assert_eq!(tables, "");
}

#[test]
fn an_unknown_table_is_answered_with_the_nearest() {
    let project = Project::initialised();
    project.run(&["run"]).ok();
    assert_snapshot!(
        "history",
        project.run(&["history", "silver.ordrs"]).failure()
    );
    assert_snapshot!(
        "sql",
        project
            .run(&["sql", "-c", "SELECT * FROM silver.ordrs"])
            .failure()
    );
    assert_snapshot!("name", project.run(&["info", "orders"]).failure());
    assert_snapshot!(
        "column",
        project
            .run(&["sql", "-c", "SELECT custmer FROM silver.orders"])
            .failure()
    );
}

#[test]
fn sql_that_does_not_parse_names_line_and_column() {
    let project = Project::with_config("");
    assert_snapshot!(
        project
            .run(&["sql", "-c", "SELECT 1;\nSELECT FROM WHERE"])
            .failure()
    );
}

#[test]
fn a_statement_that_is_not_supported_says_so() {
    let project = Project::with_config("");
    assert_snapshot!(project.run(&["sql", "-c", "UPDATE t SET a = 1"]).failure());
}

#[test]
fn a_missing_sql_file_is_named() {
    let project = Project::with_config("");
    assert_snapshot!(project.run(&["sql", "-f", "nothing.sql"]).failure());
}

#[test]
fn pipelines_are_checked_with_file_line_and_column() {
    for (name, sql) in [
        (
            "syntax",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a AS\n  SELEC 1;\n",
        ),
        (
            "cycle",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a AS SELECT * FROM gold.b;\n\
             CREATE OR REFRESH MATERIALIZED VIEW gold.b AS SELECT * FROM gold.a;\n",
        ),
        (
            "column",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a AS SELECT 1 AS x;\n\
             CREATE OR REFRESH MATERIALIZED VIEW gold.b AS SELECT y FROM gold.a;\n",
        ),
        (
            "transform",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a PARTITIONED BY (weeks(x)) AS SELECT 1 AS x;\n",
        ),
        (
            "partition_column",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a PARTITIONED BY (days(z)) AS SELECT 1 AS x;\n",
        ),
        (
            "variable",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a AS SELECT '${nothing}' AS x;\n",
        ),
        (
            "duplicate",
            "CREATE OR REFRESH MATERIALIZED VIEW gold.a AS SELECT 1 AS x;\n\
             CREATE OR REFRESH MATERIALIZED VIEW gold.a AS SELECT 2 AS x;\n",
        ),
    ] {
        let project = Project::with_pipeline(sql);
        let ran = project.run(&["validate"]);
        assert_eq!(ran.code, Some(2), "{name}: {}{}", ran.stdout, ran.stderr);
        assert_snapshot!(format!("pipeline_{name}"), ran.failure());
        assert!(
            !project.path(".berglake").exists(),
            "{name}: a check must not write"
        );
    }
}

#[test]
fn a_run_of_pipelines_that_are_wrong_makes_no_catalog() {
    let project = Project::with_pipeline("CREATE NOTHING;\n");
    assert_eq!(project.run(&["run"]).code, Some(2));
    assert!(!project.path(".berglake").exists());
}

#[test]
fn records_that_do_not_fit_become_dead_letters() {
    let project = Project::initialised();
    project.write(
        "data/orders-2.json",
        "{\"order_id\": \"seven\", \"customer\": \"x\"}\n\
         {\"order_id\": 7, \"customer\": \"Lise\", \"country\": \"at\", \"amount\": 5, \
          \"ordered_at\": \"2026-02-01T00:00:00Z\", \"updated_at\": \"2026-02-01T00:00:00Z\"}\n\
         not json\n",
    );
    project.run(&["run"]).ok();
    // One line of the first file is cut off as it is delivered.
    assert_eq!(project.rows("SELECT * FROM bronze.orders_errors").len(), 3);
    assert_eq!(
        project.rows("SELECT customer FROM silver.orders WHERE order_id = 7"),
        [serde_json::json!({"customer": "Lise"})]
    );
}

#[test]
fn a_table_with_another_schema_is_left_as_it_was() {
    let project = Project::initialised();
    for sql in [
        "CREATE NAMESPACE silver",
        "CREATE TABLE silver.orders (order_id STRING)",
        "INSERT INTO silver.orders VALUES ('mine')",
    ] {
        project.run(&["sql", "-c", sql]).ok();
    }
    let ran = project.run(&["validate"]);
    assert_eq!(ran.code, Some(2), "{}{}", ran.stdout, ran.stderr);
    assert_snapshot!(ran.failure());
    assert_ne!(project.run(&["run"]).code, Some(0));
    assert_eq!(
        project.rows("SELECT * FROM silver.orders"),
        [serde_json::json!({"order_id": "mine"})]
    );
}

#[test]
fn secrets_are_never_printed() {
    let secrets = ["hunter2-password", "hunter3-key", "hunter4-id"];
    // Nobody listens on port 1.
    let uri = "postgres://lake:hunter2-password@127.0.0.1:1/lake";
    let project = Project::initialised()
        .env("BERGLAKE_CATALOG__URI", uri)
        .env("BERGLAKE_STORAGE__WAREHOUSE", "s3://bucket/lake")
        .env("BERGLAKE_STORAGE__S3__ENDPOINT", "http://127.0.0.1:1")
        .env("BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "hunter3-key")
        .env("BERGLAKE_STORAGE__S3__ACCESS_KEY_ID", "hunter4-id")
        .env("BERGLAKE_LOG", "trace");
    for command in [
        &["tables"][..],
        &["run"],
        &["plan"],
        &["validate"],
        &["info"],
        &["sql", "-c", "SELECT 1"],
    ] {
        let ran = project.run(command);
        assert_eq!(ran.code, Some(3), "{command:?}: {}", ran.stderr);
        for secret in secrets {
            assert!(
                !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
                "{ran:?}"
            );
        }
    }
    let shown = project.run(&["config", "show", "--origin"]);
    for secret in secrets {
        assert!(
            !shown.stdout.contains(secret) && !shown.stderr.contains(secret),
            "{shown:?}"
        );
    }
    assert!(shown.ok().contains("postgres://lake:***@127.0.0.1:1/lake"));
}

#[test]
fn a_misspelled_failpoint_is_an_error() {
    let project = Project::with_config("").env("BERGLAKE_FAILPOINT", "no-such-point");
    let ran = project.run(&["tables"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("BERGLAKE_FAILPOINT"), "{}", ran.stderr);
}
