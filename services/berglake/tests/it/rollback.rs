//! `berglake rollback`, and what the flow says whose rows are gone.

use serde_json::Value;

use crate::support::Project;

/// A project whose tables have two snapshots of two runs, with the ids of those of `bronze.orders_raw`,
/// oldest first, and the time of the last.
fn twice_run() -> (Project, Vec<i64>, String) {
    let project = Project::initialised();
    project.run(&["run"]).ok();
    project.write(
        "data/orders-2.json",
        "{\"order_id\": 9, \"customer\": \"Ada\", \"country\": \"gb\", \"amount\": 7, \
          \"ordered_at\": \"2026-01-05T09:30:00Z\", \"updated_at\": \"2026-03-01T00:00:00Z\"}\n",
    );
    project.run(&["run"]).ok();
    let history = project
        .run(&["history", "bronze.orders_raw", "--output", "json"])
        .ok();
    let snapshots: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<i64> = snapshots
        .iter()
        .map(|snapshot| snapshot["snapshot_id"].as_i64().unwrap())
        .collect();
    assert!(ids.len() >= 2, "{history}");
    let last = snapshots.last().unwrap()["committed_at"].as_str().unwrap();
    (project, ids, last.to_string())
}

fn rows(project: &Project) -> i64 {
    let rows = project.rows("SELECT count(*) AS n FROM bronze.orders_raw");
    rows[0]["n"].as_i64().unwrap()
}

#[test]
fn a_table_goes_back_to_a_snapshot_and_its_flow_stops_and_asks() {
    let (project, ids, _) = twice_run();
    let (was, is) = (ids[ids.len() - 1], ids[ids.len() - 2]);
    let before = rows(&project);
    let said = project
        .run(&[
            "rollback",
            "bronze.orders_raw",
            "--to-snapshot",
            &is.to_string(),
        ])
        .ok();
    assert!(said.starts_with("bronze.orders_raw\n"), "{said}");
    assert!(
        said.contains(&format!("was  snapshot {was} of 20")),
        "{said}"
    );
    assert!(
        said.contains(&format!("is   snapshot {is} of 20")),
        "{said}"
    );
    assert!(said.contains("--resume replay|skip"), "{said}");
    assert_eq!(rows(&project), before - 1);

    let stopped = project.run(&["run"]);
    assert_ne!(stopped.code, Some(0), "{}", stopped.stdout);
    let all = format!("{}{}", stopped.stdout, stopped.stderr);
    assert!(all.contains("--resume"), "{all}");
    // The tables that have read the undone rows ask for themselves.
    project
        .run(&["run", "--layer", "bronze", "--resume", "replay"])
        .ok();
    assert_eq!(rows(&project), before);
}

#[test]
fn a_table_goes_back_to_a_time_and_says_so_in_json() {
    let (project, ids, last) = twice_run();
    let said = project
        .run(&[
            "rollback",
            "bronze.orders_raw",
            "--to-timestamp",
            &last,
            "--output",
            "json",
        ])
        .ok();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["table"], "bronze.orders_raw");
    assert_eq!(said["previous"]["snapshot_id"], ids[ids.len() - 1]);
    assert_eq!(said["current"]["snapshot_id"], ids[ids.len() - 2]);
    let time = said["current"]["committed_at"].as_str().unwrap();
    assert!(time < last.as_str(), "{time} {last}");
}

#[test]
fn what_is_no_ancestor_no_time_and_no_table_is_refused() {
    let (project, ids, _) = twice_run();
    let (last, first) = (ids[ids.len() - 1].to_string(), ids[0].to_string());
    project
        .run(&["rollback", "bronze.orders_raw", "--to-snapshot", &first])
        .ok();
    for (arguments, code, words) in [
        (
            [
                "rollback",
                "bronze.orders_raw",
                "--to-snapshot",
                last.as_str(),
            ],
            2,
            "none of its ancestors",
        ),
        (
            ["rollback", "bronze.orders_raw", "--to-snapshot", "12345"],
            1,
            "12345",
        ),
        (
            [
                "rollback",
                "bronze.orders_raw",
                "--to-timestamp",
                "yesterday",
            ],
            2,
            "no value for timestamp",
        ),
        (
            [
                "rollback",
                "bronze.orders_raw",
                "--to-timestamp",
                "2001-01-01",
            ],
            1,
            "no snapshot that is older",
        ),
        (
            [
                "rollback",
                "bronze.orders_rwa",
                "--to-snapshot",
                last.as_str(),
            ],
            1,
            "did you mean bronze.orders_raw",
        ),
    ] {
        let ran = project.run(&arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    for arguments in [
        &["rollback", "bronze.orders_raw"][..],
        &[
            "rollback",
            "bronze.orders_raw",
            "--to-snapshot",
            last.as_str(),
            "--to-timestamp",
            "2026-01-01",
        ],
    ] {
        assert_eq!(project.run(arguments).code, Some(2));
    }
}
