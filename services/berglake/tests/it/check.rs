//! `berglake check`

use serde_json::Value;

use crate::support::Project;

fn steps(text: &str) -> Vec<(String, String, bool)> {
    let report: Value = serde_json::from_str(text).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(report["ok"], steps.iter().all(|step| step["ok"] == true));
    steps
        .iter()
        .map(|step| {
            let text = |key: &str| step[key].as_str().unwrap().to_owned();
            (text("step"), text("subject"), step["ok"] == true)
        })
        .collect()
}

#[test]
fn a_new_project_is_checked_and_its_tables_are_made() {
    let project = Project::initialised();
    let text = project.run(&["check"]).ok();
    for part in [
        "catalog",
        "written, read, listed and deleted",
        "read_files(data/orders*.json) of bronze.orders_raw: 1 files",
        "bronze.orders_errors: created, at file://[tmp]",
        "gold.revenue_by_country: created",
        "all",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What was made is empty, and found again.
    let text = project.run(&["check"]).ok();
    assert!(text.contains("silver.orders: verified, at"), "{text}");
    assert!(!text.contains("created"), "{text}");
    let json = project.run(&["check", "--output", "json"]).ok();
    let steps = steps(&json);
    let tables = steps.iter().filter(|(step, _, _)| step == "table").count();
    assert_eq!(tables, 4, "{steps:?}");
    assert_eq!(
        project.rows("SELECT count(*) AS n FROM silver.orders")[0]["n"],
        0
    );
    project.run(&["run"]).ok();
    assert_eq!(
        project.rows("SELECT count(*) AS n FROM silver.orders")[0]["n"],
        4
    );
}

#[test]
fn the_first_failure_is_named_and_ends_the_check() {
    // The store.
    let project = Project::initialised();
    project.write("lake", "in the way");
    let ran = project.run(&[
        "--set",
        "storage.warehouse=lake",
        "check",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let last = steps(&ran.stdout).pop().unwrap();
    assert_eq!(
        (last.0.as_str(), last.2),
        ("storage", false),
        "{}",
        ran.stdout
    );

    // A source.
    let project = Project::initialised();
    std::fs::remove_dir_all(project.path("data")).unwrap();
    let sql = std::fs::read_to_string(project.path("pipelines/bronze.sql")).unwrap();
    project.write(
        "pipelines/bronze.sql",
        &sql.replace("orders*.json", "orders.json"),
    );
    let ran = project.run(&["check", "--output", "json"]);
    assert_ne!(ran.code, Some(0));
    let last = steps(&ran.stdout).pop().unwrap();
    assert_eq!(
        (last.0.as_str(), last.2),
        ("source", false),
        "{}",
        ran.stdout
    );

    // A table that is another one than defined.
    let project = Project::initialised();
    project.run(&["sql", "-c", "CREATE NAMESPACE gold"]).ok();
    let other =
        "CREATE TABLE gold.revenue_by_country (month DATE NOT NULL, nothing BINARY NOT NULL)";
    project.run(&["sql", "-c", other]).ok();
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stdout
            .contains("FAILED  table     gold.revenue_by_country"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("another definition"), "{}", ran.stderr);
}
