//! `berglake recover-metadata`

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Project;

const PIPELINE: &str = "
CREATE OR REFRESH STREAMING TABLE bronze.raw
  TBLPROPERTIES ('berglake.batch.max-files' = '1')
  AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k BIGINT');
CREATE OR REFRESH STREAMING TABLE bronze.other
  AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k BIGINT');
";

const DOWNSTREAM: &str = "
CREATE OR REFRESH STREAMING TABLE silver.clean AS SELECT k FROM STREAM(bronze.raw);
";

/// A project whose table `bronze.raw` has one commit for each of three files.
fn project(pipeline: &str) -> Project {
    let project = Project::with_pipeline(pipeline);
    for k in 0..3 {
        project.write(&format!("data/{k}.ndjson"), &format!("{{\"k\": {k}}}\n"));
    }
    project.run(&["run"]).ok();
    project
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&project.run(&arguments).ok()).unwrap()
}

/// The path of a location that a command has printed.
fn path(project: &Project, location: &str) -> PathBuf {
    let folder = project.root();
    let folder = folder.parent().unwrap().to_str().unwrap();
    let location = location.strip_prefix("file://").unwrap();
    PathBuf::from(location.replace("[tmp]", folder))
}

/// The current metadata file of a table.
fn current(project: &Project, table: &str) -> (String, PathBuf) {
    let info = json(project, &["info", table]);
    let location = info["tables"][0]["metadata_location"].as_str().unwrap();
    (location.to_string(), path(project, location))
}

fn metadata(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn rows(project: &Project) -> Vec<Value> {
    let rows = project.rows("SELECT k FROM bronze.raw ORDER BY k");
    rows.into_iter().map(|row| row["k"].clone()).collect()
}

/// All files of the project with their contents, but for those of the catalog.
fn files(project: &Project) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![project.root()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.to_string_lossy().contains("catalog.db") {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_table_goes_back_from_damaged_metadata_and_its_flow_takes_the_lost_rows_again() {
    for damage in ["truncated", "flipped", "missing"] {
        let project = project(PIPELINE);
        let (location, file) = current(&project, "bronze.raw");
        let before = metadata(&file);
        let log = before["metadata-log"].as_array().unwrap();
        let previous = log.last().unwrap()["metadata-file"].as_str().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        match damage {
            "truncated" => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
            "flipped" => {
                // The colon behind the last key.
                let at = bytes.iter().rposition(|byte| *byte == b':').unwrap();
                bytes[at] ^= 1;
                fs::write(&file, bytes).unwrap();
            }
            _ => fs::remove_file(&file).unwrap(),
        }

        let ran = project.run(&["sql", "-c", "SELECT * FROM bronze.raw"]);
        assert_eq!(ran.code, Some(1), "{damage}: {}", ran.stderr);
        assert!(ran.stderr.contains("recover-metadata"), "{}", ran.stderr);
        assert!(ran.stderr.contains(&location), "{}", ran.stderr);

        let untouched = files(&project);
        let plan = json(&project, &["recover-metadata", "bronze.raw", "--dry-run"]);
        assert_eq!(plan["dry_run"], true, "{plan}");
        assert_eq!(plan["damaged"]["location"], location.as_str(), "{plan}");
        let chosen = path(&project, plan["chosen"].as_str().unwrap());
        assert_eq!(chosen, path(&project, previous), "{plan}");
        assert_eq!(plan["table_uuid"], before["table-uuid"], "{plan}");
        let lost = plan["lost_snapshots"].as_array().unwrap();
        assert_eq!(lost.len(), 1, "{damage}: {plan}");
        assert_eq!(
            lost[0]["snapshot_id"], before["current-snapshot-id"],
            "{plan}"
        );
        assert_eq!(lost[0]["sequence_number"], 3, "{plan}");
        assert!(project.rows_if_any("SELECT * FROM bronze.raw").is_none());

        let text = project.run(&["recover-metadata", "bronze.raw"]).ok();
        let id = before["current-snapshot-id"].to_string();
        for expected in [&location, &id, "it was the table's current file"] {
            assert!(text.contains(expected), "{damage}: {text}");
        }
        assert_eq!(rows(&project), [0, 1], "{damage}");
        assert_eq!(current(&project, "bronze.raw").1, path(&project, previous));
        assert!(files(&project) == untouched, "{damage}: files were changed");

        // What is sound now is left alone.
        let again = project.run(&["recover-metadata", "bronze.raw"]);
        assert_eq!(again.code, Some(2), "{}", again.stderr);
        assert!(again.stderr.contains("is sound"), "{}", again.stderr);

        // How far the flow had come went back with its rows.
        project.run(&["run"]).ok();
        assert_eq!(rows(&project), [0, 1, 2], "{damage}");
        let run = json(&project, &["run"]);
        for flow in run["flows"].as_array().unwrap() {
            assert_eq!(flow["status"], "up-to-date", "{flow}");
        }
    }
}

#[test]
fn the_metadata_of_another_table_in_the_folder_is_never_chosen() {
    let project = project(PIPELINE);
    let (_, file) = current(&project, "bronze.raw");
    let log = metadata(&file)["metadata-log"].clone();
    let older: Vec<PathBuf> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| path(&project, entry["metadata-file"].as_str().unwrap()))
        .collect();
    let (_, theirs) = current(&project, "bronze.other");
    let copied = file.with_file_name("00099-copied.metadata.json");
    fs::copy(theirs, &copied).unwrap();
    fs::remove_file(&file).unwrap();
    fs::remove_file(older.last().unwrap()).unwrap();

    let plan = json(&project, &["recover-metadata", "bronze.raw", "--dry-run"]);
    let chosen = path(&project, plan["chosen"].as_str().unwrap());
    assert_eq!(&chosen, &older[older.len() - 2], "{plan}");
    assert_eq!(plan["known_from"], "folder", "{plan}");
    let candidates = plan["candidates"].as_array().unwrap().iter();
    let refused: Vec<_> = candidates.filter(|one| one["usable"] == false).collect();
    assert!(
        refused
            .iter()
            .any(|one| path(&project, one["location"].as_str().unwrap()) == copied)
    );

    // With nothing else in the folder there is nothing to go back to.
    for file in &older[..older.len() - 1] {
        fs::remove_file(file).unwrap();
    }
    let ran = project.run(&["recover-metadata", "bronze.raw"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("00099-copied"), "{}", ran.stderr);
}

#[test]
fn a_file_can_be_named_and_one_of_another_table_is_refused() {
    let project = project(PIPELINE);
    let (_, file) = current(&project, "bronze.raw");
    let log = metadata(&file)["metadata-log"].clone();
    let log = log.as_array().unwrap();
    let first = log[log.len() - 2]["metadata-file"].as_str().unwrap();
    let (_, theirs) = current(&project, "bronze.other");
    fs::write(&file, "").unwrap();
    let ran = project.run(&[
        "recover-metadata",
        "bronze.raw",
        "--to",
        theirs.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("of another table"), "{}", ran.stderr);
    let there = path(&project, first);
    let plan = json(
        &project,
        &[
            "recover-metadata",
            "bronze.raw",
            "--to",
            there.to_str().unwrap(),
        ],
    );
    assert_eq!(
        plan["lost_snapshots"].as_array().unwrap().len(),
        2,
        "{plan}"
    );
    assert_eq!(rows(&project), [0]);
}

#[test]
fn a_flow_that_has_read_lost_rows_stops_and_asks() {
    let project = project(&format!("{PIPELINE}{DOWNSTREAM}"));
    let (_, file) = current(&project, "bronze.raw");
    fs::remove_file(&file).unwrap();
    project.run(&["recover-metadata", "bronze.raw"]).ok();
    let ran = project.run(&["run"]);
    assert_eq!(ran.code, Some(4), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(rows(&project), [0, 1, 2]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("--full-refresh silver.clean"), "{said}");
    project.run(&["run", "--full-refresh", "silver.clean"]).ok();
    let clean = project.rows("SELECT count(*) AS n FROM silver.clean");
    assert_eq!(clean[0]["n"], 3);
}

#[test]
fn what_cannot_be_done_is_said() {
    let project = project(PIPELINE);
    for (arguments, code, message) in [
        (
            &["recover-metadata", "bronze.rwa"][..],
            1,
            "did you mean bronze.raw",
        ),
        (&["recover-metadata", "raw"][..], 2, "no name of a table"),
        (
            &[
                "--set",
                "catalog.uri=http://127.0.0.1:1",
                "recover-metadata",
                "bronze.raw",
            ][..],
            2,
            "not over REST",
        ),
        (
            &["recover-metadata", "bronze.raw", "--output", "csv"][..],
            2,
            "no output",
        ),
    ] {
        let ran = project.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(message),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    let empty = Project::with_pipeline(PIPELINE);
    let ran = empty.run(&["recover-metadata", "bronze.raw"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}
