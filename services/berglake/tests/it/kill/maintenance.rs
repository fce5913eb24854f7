//! Maintenance that is killed: tables are exact, every snapshot can still be read, flows go on, and the
//! next run does what is left.

use super::*;

/// Passes of each point that maintenance of the four tables is sure to make.
pub(super) const KILLS: &[(&str, &[u64])] = &[
    (failpoint::DATA_FILE_WRITTEN, &[1, 3]),
    (failpoint::ROWS_COPIED, &[1, 4]),
    (failpoint::MANIFESTS_WRITTEN, &[3]),
    (failpoint::MANIFEST_LIST_WRITTEN, &[2]),
    (failpoint::COMMIT_PLANNED, &[1, 4]),
    (failpoint::METADATA_FILE_WRITTEN, &[2]),
    (failpoint::BEFORE_POINTER_SWAP, &[1, 4]),
    (failpoint::AFTER_POINTER_SWAP, &[1, 2, 5]),
    (failpoint::COMMITTED, &[1, 4]),
    (failpoint::SNAPSHOTS_REMOVED, &[1, 3]),
    (failpoint::FILE_EXPIRED, &[1, 9]),
];

const MAINTAIN: &[&str] = &["maintain", "run", "--option", "rewrite-all=true"];

const TABLES: [&str; 4] = [
    "bronze.events_raw",
    "bronze.events_errors",
    "silver.events",
    "gold.by_region",
];

/// A lake whose snapshots are all too old at once: what stays is needed.
fn lake(seed: u64) -> Lake {
    let mut lake = Lake::new(seed);
    lake.project = lake
        .project
        .env("BERGLAKE_DEFAULTS__HISTORY_EXPIRE_MAX_SNAPSHOT_AGE_MS", "0");
    lake
}

impl Lake {
    fn snapshots(&self, table: &str) -> Vec<i64> {
        let history = self
            .project
            .run(&["history", table, "--output", "json"])
            .ok();
        let of_line = |line: &str| {
            let snapshot: Value = serde_json::from_str(line).unwrap();
            snapshot["snapshot_id"].as_i64().unwrap()
        };
        history.lines().map(of_line).collect()
    }

    /// Every snapshot that is left can be read to its last row.
    #[track_caller]
    fn check_snapshots(&self, when: &str) {
        let mut queries = String::new();
        for table in TABLES {
            for id in self.snapshots(table) {
                // All columns, so that all of each file is read.
                writeln!(queries, "SELECT * FROM {table} FOR VERSION AS OF {id};").unwrap();
            }
        }
        assert!(!self.project.rows(&queries).is_empty(), "{when}");
    }
}

#[test]
fn maintenance_that_dies_at_any_point_harms_no_table_and_is_finished_by_the_next() {
    need_failpoints();
    let mut lake = lake(11);
    lake.add_files(2);
    lake.project.run(&["run"]).ok();
    for (point, passes) in KILLS {
        for pass in *passes {
            let when = format!("after {point}:{pass}");
            lake.add_files(2);
            lake.project.run(&["run"]).ok();
            lake.die_in(MAINTAIN, point, *pass);
            lake.check(&when);
            lake.check_snapshots(&when);
            lake.project.run(MAINTAIN).ok();
        }
    }
    lake.check("at the end");
    lake.check_snapshots("at the end");
    // Only what a flow or a reader needs is left: heads, and where flows stand.
    for table in TABLES {
        let left = lake.snapshots(table).len();
        assert!(left <= 3, "{left} snapshots of {table}");
    }
    lake.add_files(1);
    lake.project.run(&["run"]).ok();
    lake.check("after another run");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the time that a process takes is measured, not simulated"
)]
fn maintenance_beside_runs_that_are_killed_loses_and_doubles_nothing() {
    let seed = match std::env::var("KILL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(std::process::id()),
    };
    println!("KILL_SEED={seed}");
    let mut moments = Random(seed);
    let mut lake = lake(seed);
    lake.add_files(2);
    let started = Instant::now();
    lake.project.run(&["run"]).ok();
    let whole = started.elapsed();
    for round in 0..5 {
        lake.add_files(2);
        // Both at once; one of them, or both, are killed somewhere.
        let mut run = lake.start();
        let mut maintenance = lake.project.command(MAINTAIN);
        maintenance.stdout(Stdio::null()).stderr(Stdio::null());
        let mut maintenance = maintenance.spawn().unwrap();
        std::thread::sleep(whole.mul_f64(moments.below(1_500) as f64 / 1_000.0));
        let which = moments.below(3);
        if which != 0 {
            run.kill().unwrap();
        }
        if which != 1 {
            maintenance.kill().unwrap();
        }
        run.wait().unwrap();
        maintenance.wait().unwrap();
        lake.project.run(&["run"]).ok();
        let when = format!("KILL_SEED={seed}, round {round}");
        lake.check(&when);
        lake.check_snapshots(&when);
    }
}
