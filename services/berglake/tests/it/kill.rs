//! Exactly once, whatever happens: the real binary is killed at every point at which a test can stop
//! it and at random moments, and started twice at the same time; after the next run its tables hold
//! exactly what the source files say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use berglake_format::failpoint;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{Project, output, output_of};

mod maintenance;

/// One file per commit into bronze, and several commits into silver: a run that is killed has done
/// some of its commits and not the others.
const PIPELINE: &str = "
CREATE OR REFRESH STREAMING TABLE bronze.events_raw
  TBLPROPERTIES ('berglake.dead-letter' = 'bronze.events_errors', 'berglake.batch.max-files' = '1')
  AS SELECT * FROM STREAM read_files('data/*.ndjson',
    schema => 'k BIGINT, seq BIGINT, v BIGINT, region STRING',
    filename => 'source_file', row_number => 'source_row');

CREATE OR REFRESH STREAMING TABLE silver.events (
  CONSTRAINT has_key EXPECT (k IS NOT NULL) ON VIOLATION DROP ROW)
  PARTITIONED BY (region)
  TBLPROPERTIES ('berglake.batch.max-rows' = '30');
CREATE FLOW events_upsert AS AUTO CDC INTO silver.events
  FROM STREAM(bronze.events_raw) KEYS (k) SEQUENCE BY seq
  COLUMNS (k, seq, v, region) STORED AS SCD TYPE 1;

CREATE OR REFRESH MATERIALIZED VIEW gold.by_region AS
  SELECT region, count(*) AS events, sum(v) AS total FROM silver.events GROUP BY 1;
";

/// Passes of each point that a run over two new files is sure to make: in bronze two commits of two
/// tables, in silver two of one, in gold one.
const KILLS: &[(&str, &[u64])] = &[
    (failpoint::DATA_FILE_WRITTEN, &[1, 2, 4, 6, 9]),
    (failpoint::DEAD_LETTERS_WRITTEN, &[1, 2]),
    (failpoint::MANIFESTS_WRITTEN, &[1, 4, 6]),
    (failpoint::MANIFEST_LIST_WRITTEN, &[2, 5, 7]),
    (failpoint::COMMIT_PLANNED, &[1, 3, 5]),
    (failpoint::METADATA_FILE_WRITTEN, &[1, 2, 5, 7]),
    (failpoint::BEFORE_POINTER_SWAP, &[1, 3, 5]),
    (failpoint::AFTER_POINTER_SWAP, &[1, 2, 3, 5]),
    (failpoint::COMMITTED, &[1, 2, 4, 5]),
    (failpoint::BATCH_COMMITTED, &[1, 3, 5]),
    (failpoint::BETWEEN_FLOWS, &[1, 2, 3]),
];

/// Pseudo-random numbers (splitmix64): the same for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A record as the test reads it from the files, with a parser of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Event {
    k: Option<i64>,
    seq: Option<i64>,
    v: Option<i64>,
    region: Option<String>,
}

/// File, row in it, record.
type BronzeRow = (String, u64, Event);

/// The rows that each table must have.
#[derive(Debug, PartialEq)]
struct Tables {
    bronze: Vec<BronzeRow>,
    dead: Vec<(String, u64)>,
    silver: Vec<Event>,
    gold: Vec<(Option<String>, i64, Option<i64>)>,
}

/// A project with files that grow in number.
pub struct Lake {
    pub project: Project,
    files: Vec<(String, String)>,
    random: Random,
    next_sequence: u64,
}

impl Lake {
    pub fn new(seed: u64) -> Self {
        Self {
            project: Project::with_pipeline(PIPELINE),
            files: Vec::new(),
            random: Random(seed),
            next_sequence: 0,
        }
    }

    /// Adds files of 40 records: over few keys, so that most are updates; with sequences that tie,
    /// that go back, and with some that are null; and with broken records among them.
    pub fn add_files(&mut self, count: usize) {
        for _ in 0..count {
            let name = format!("part-{:05}.ndjson", self.files.len());
            let mut text = String::new();
            for row in 0..40 {
                let random = &mut self.random;
                let (k, v) = (random.below(50), random.below(1_000));
                let region = ["north", "south", "east"][random.below(3) as usize];
                self.next_sequence += random.below(2);
                let seq = self.next_sequence.saturating_sub(match random.below(10) {
                    0 => 25,
                    _ => 0,
                });
                let line = match random.below(20) {
                    // The first record of each file is broken: each commit has a dead letter.
                    _ if row == 0 => "no JSON at all".to_string(),
                    0 => format!(r#"{{"k": {k}, "seq": {seq}, "v""#),
                    1 => format!(r#"{{"k": "key", "seq": {seq}, "v": {v}, "region": "{region}"}}"#),
                    2 => format!(
                        r#"{{"k": {k}, "seq": {seq}, "v": 99999999999999999999, "region": null}}"#
                    ),
                    3 => format!(r#"{{"k": null, "seq": {seq}, "v": {v}, "region": "{region}"}}"#),
                    4 => format!(r#"{{"k": {k}, "seq": {seq}, "region": null}}"#),
                    _ => format!(r#"{{"k": {k}, "seq": {seq}, "v": {v}, "region": "{region}"}}"#),
                };
                writeln!(text, "{line}").unwrap();
            }
            self.project.write(&format!("data/{name}"), &text);
            self.files.push((name, text));
        }
    }

    /// What the source files say, computed without any of the code under test.
    fn expected(&self) -> Tables {
        let mut tables = Tables {
            bronze: Vec::new(),
            dead: Vec::new(),
            silver: Vec::new(),
            gold: Vec::new(),
        };
        let mut newest: BTreeMap<i64, Event> = BTreeMap::new();
        for (name, text) in &self.files {
            for (row, line) in (0..).zip(text.lines()) {
                let Ok(event) = serde_json::from_str::<Event>(line) else {
                    tables.dead.push((name.clone(), row));
                    continue;
                };
                tables.bronze.push((name.clone(), row, event.clone()));
                let Some(k) = event.k else { continue };
                // Among equals the later one wins.
                if newest.get(&k).is_none_or(|known| known.seq <= event.seq) {
                    newest.insert(k, event);
                }
            }
        }
        let mut groups: BTreeMap<Option<String>, (i64, Option<i64>)> = BTreeMap::new();
        for event in newest.values() {
            let group = groups.entry(event.region.clone()).or_default();
            group.0 += 1;
            group.1 = match (group.1, event.v) {
                (Some(total), Some(v)) => Some(total + v),
                (total, v) => total.or(v),
            };
        }
        tables.silver = newest.into_values().collect();
        tables.silver.sort();
        tables.gold = groups
            .into_iter()
            .map(|(region, (events, total))| (region, events, total))
            .collect();
        tables
    }

    /// What the tables hold.
    #[track_caller]
    fn actual(&self) -> Tables {
        tables_of(&self.project.rows(QUERIES))
    }

    /// Each source record is a row of bronze or a dead letter, once; silver and gold follow.
    #[track_caller]
    pub fn check(&self, when: &str) {
        let (actual, expected) = (self.actual(), self.expected());
        let records: usize = self
            .files
            .iter()
            .map(|(_, text)| text.lines().count())
            .sum();
        assert_eq!(actual.bronze.len() + actual.dead.len(), records, "{when}");
        assert_eq!(actual.bronze, expected.bronze, "{when}");
        assert_eq!(actual.dead, expected.dead, "{when}");
        assert_eq!(actual.silver, expected.silver, "{when}");
        assert_eq!(actual.gold, expected.gold, "{when}");
        assert!(
            !expected.dead.is_empty() && expected.gold.len() > 2,
            "{when}"
        );
    }

    /// Whether bronze is there and has every record.
    pub fn is_taken(&self) -> bool {
        let rows = self.project.rows_if_any(
            "SELECT (SELECT count(*) FROM bronze.events_raw) + (SELECT count(*) FROM bronze.events_errors) AS n",
        );
        let records: usize = self
            .files
            .iter()
            .map(|(_, text)| text.lines().count())
            .sum();
        rows.is_some_and(|rows| rows[0]["n"] == records)
    }

    /// Whether all tables are there and what they come to.
    pub fn is_settled(&self) -> bool {
        let rows = self.project.rows_if_any(QUERIES);
        rows.is_some_and(|rows| tables_of(&rows) == self.expected())
    }

    /// Runs to a point and dies there.
    #[track_caller]
    fn die_at(&self, point: &str, pass: u64) {
        self.die_in(&["run"], point, pass);
    }

    /// Does something up to a point and dies there.
    #[track_caller]
    fn die_in(&self, arguments: &[&str], point: &str, pass: u64) {
        let mut command = self.project.command(arguments);
        command.env(failpoint::VARIABLE, format!("{point}:{pass}"));
        let output = output(command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            None,
            "the run was not killed at {point}:{pass}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
    }

    fn start(&self) -> Child {
        let mut command = self.project.command(&["run"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// For one process; each gives the number of its table.
const QUERIES: &str = "SELECT 1 AS t, * FROM bronze.events_raw;
    SELECT 2 AS t, file, `row` FROM bronze.events_errors;
    SELECT 3 AS t, k, seq, v, region FROM silver.events;
    SELECT 4 AS t, region, events, total FROM gold.by_region";

/// The tables from the rows of their queries.
fn tables_of(rows: &[Value]) -> Tables {
    let int = |row: &Value, name: &str| row[name].as_i64();
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let file = |row: &Value, name: &str| {
        let location = row[name].as_str().unwrap();
        location.rsplit('/').next().unwrap().to_owned()
    };
    let event = |row: &Value| Event {
        k: int(row, "k"),
        seq: int(row, "seq"),
        v: int(row, "v"),
        region: text(row, "region"),
    };
    let of = |table: i64| rows.iter().filter(move |row| int(row, "t") == Some(table));
    let mut tables = Tables {
        bronze: of(1)
            .map(|row| {
                let number = row["source_row"].as_u64().unwrap();
                (file(row, "source_file"), number, event(row))
            })
            .collect(),
        dead: of(2)
            .map(|row| (file(row, "file"), row["row"].as_u64().unwrap()))
            .collect(),
        silver: of(3).map(event).collect(),
        gold: of(4)
            .map(|row| {
                (
                    text(row, "region"),
                    int(row, "events").unwrap(),
                    int(row, "total"),
                )
            })
            .collect(),
    };
    tables.bronze.sort();
    tables.dead.sort();
    tables.silver.sort();
    tables.gold.sort();
    tables
}

/// A test that kills needs a binary that can be killed; without one it must not pass.
#[track_caller]
fn need_failpoints() {
    let project = Project::with_pipeline(PIPELINE).env(failpoint::VARIABLE, "committed:1000000");
    let ran = project.run(&["validate"]);
    assert!(
        !ran.stderr.contains("without failpoints"),
        "the binary was built without failpoints: run the tests with `--features berglake/failpoints`"
    );
}

#[test]
fn every_point_is_killed_at() {
    let mut points: Vec<&str> = KILLS.iter().map(|(point, _)| *point).collect();
    points.push(failpoint::TABLE_CREATED);
    points.extend(maintenance::KILLS.iter().map(|(point, _)| *point));
    points.sort_unstable();
    points.dedup();
    let mut known = failpoint::POINTS.to_vec();
    known.sort_unstable();
    assert_eq!(points, known);
    let kills: usize = KILLS.iter().map(|(_, passes)| passes.len()).sum();
    assert!(kills >= 20);
}

#[test]
fn a_run_that_dies_at_any_point_is_made_good_by_the_next() {
    need_failpoints();
    let mut lake = Lake::new(1);
    for (point, passes) in KILLS {
        for pass in *passes {
            lake.add_files(2);
            lake.die_at(point, *pass);
            lake.project.run(&["run"]).ok();
            lake.check(&format!("after {point}:{pass}"));
        }
    }
}

#[test]
fn a_first_run_that_dies_again_and_again_is_made_good() {
    need_failpoints();
    let mut lake = Lake::new(2);
    lake.add_files(3);
    // Bronze, its dead letters, silver, gold: each is created once, and the run dies after each.
    for _ in 0..2 {
        lake.die_at(failpoint::TABLE_CREATED, 1);
    }
    for (point, pass) in [
        (failpoint::DATA_FILE_WRITTEN, 1),
        (failpoint::AFTER_POINTER_SWAP, 1),
        (failpoint::BEFORE_POINTER_SWAP, 2),
        (failpoint::METADATA_FILE_WRITTEN, 2),
    ] {
        lake.die_at(point, pass);
    }
    for _ in 0..2 {
        lake.die_at(failpoint::TABLE_CREATED, 1);
    }
    lake.die_at(failpoint::COMMIT_PLANNED, 1);
    lake.project.run(&["run"]).ok();
    lake.check("after kills of the first run");
    let again = lake.project.run(&["run", "--output", "json"]).ok();
    let report: Value = serde_json::from_str(&again).unwrap();
    for flow in report["flows"].as_array().unwrap() {
        assert_eq!(flow["status"], "up-to-date", "{flow}");
    }
}

#[test]
fn a_full_refresh_that_dies_is_made_good() {
    need_failpoints();
    let mut lake = Lake::new(3);
    lake.add_files(2);
    lake.project.run(&["run"]).ok();
    let refresh = [
        "run",
        "--full-refresh",
        "bronze.events_raw",
        "--full-refresh",
        "silver.events",
    ];
    for (point, pass) in [
        (failpoint::COMMITTED, 1),
        (failpoint::COMMITTED, 2),
        (failpoint::BATCH_COMMITTED, 3),
    ] {
        let mut command = lake.project.command(&refresh);
        command.env(failpoint::VARIABLE, format!("{point}:{pass}"));
        assert_eq!(output(command).status.code(), None, "{point}:{pass}");
        // Dead letters of the first reading stay: they are what happened.
        lake.project.run(&refresh).ok();
        let (actual, expected) = (lake.actual(), lake.expected());
        assert_eq!(actual.bronze, expected.bronze, "{point}:{pass}");
        assert_eq!(actual.silver, expected.silver, "{point}:{pass}");
        assert_eq!(actual.gold, expected.gold, "{point}:{pass}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the time that a process takes is measured, not simulated"
)]
fn a_run_that_is_killed_at_any_time_is_made_good_by_the_next() {
    let seed = match std::env::var("KILL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(std::process::id()),
    };
    println!("KILL_SEED={seed}");
    let mut moments = Random(seed);
    let mut lake = Lake::new(seed);
    lake.add_files(2);
    let clean_run = |lake: &Lake| {
        let started = Instant::now();
        lake.project.run(&["run"]).ok();
        started.elapsed()
    };
    let mut whole = clean_run(&lake);
    let mut killed = 0;
    for round in 0..60 {
        if killed == 10 {
            break;
        }
        lake.add_files(1);
        let mut child = lake.start();
        let moment = whole.mul_f64(moments.below(1_000) as f64 / 1_000.0);
        std::thread::sleep(moment);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += usize::from(status.code().is_none());
        // Now and then a run is killed that makes a killed one good.
        if moments.below(3) == 0 {
            continue;
        }
        // The first run is slower than those after it, and kills of these would come too late.
        whole = clean_run(&lake);
        lake.check(&format!(
            "KILL_SEED={seed}, round {round}, killed after {moment:?}"
        ));
    }
    assert_eq!(
        killed, 10,
        "runs end before they are killed: KILL_SEED={seed}"
    );
    lake.project.run(&["run"]).ok();
    lake.check(&format!("KILL_SEED={seed}, at the end"));
}

#[test]
fn two_runs_at_the_same_time_take_nothing_twice() {
    let mut lake = Lake::new(5);
    let mut losers = 0;
    // In the first round both create the tables.
    for round in 0..6 {
        lake.add_files(3);
        let first = lake.start();
        if round > 2 {
            std::thread::sleep(Duration::from_millis(100 * (round - 2)));
        }
        let second = lake.start();
        let mut winners = 0;
        for child in [first, second] {
            let output = output_of(child, "a run beside another");
            let stdout = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                winners += 1;
                continue;
            }
            losers += 1;
            assert_eq!(output.status.code(), Some(4), "{stdout}\n{stderr}");
            assert!(
                stdout.contains("another run of this flow has committed")
                    || stdout.contains("another writer changed the table"),
                "{stdout}\n{stderr}"
            );
            assert!(stdout.contains("run again"), "{stdout}\n{stderr}");
        }
        // The flows stand in a line, so a run can only lose to one that is ahead of it.
        assert!(winners > 0, "round {round}: both runs failed");
        lake.project.run(&["run"]).ok();
        lake.check(&format!("round {round}"));
    }
    println!("{losers} of 12 runs lost a race");
}
