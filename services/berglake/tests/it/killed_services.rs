//! Services that follow files without end are killed at random moments, told to stop at others, and
//! started twice: their tables hold exactly what the source files say.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::kill::{Lake, Random};
use crate::support::Running;

/// Everything follows as fast as it can, so that kills meet commits.
const FAST: [&str; 6] = [
    "--set",
    "services.bronze.interval=20ms",
    "--set",
    "services.silver.interval=20ms",
    "--set",
    "services.gold.interval=20ms",
];

/// The moments at which a test kills; the same for the same seed.
fn seed() -> u64 {
    let seed = match std::env::var("KILL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(std::process::id()),
    };
    println!("KILL_SEED={seed}");
    seed
}

fn start(lake: &Lake, command: &[&str]) -> Running {
    lake.project.start(&[&FAST[..], command].concat())
}

/// Lets a run take what is left, and holds the tables against the files.
fn caught_up(lake: &Lake, when: &str) {
    lake.project.run(&["run"]).ok();
    lake.check(when);
}

#[test]
fn a_platform_that_is_killed_at_any_time_is_made_good_by_the_next() {
    let seed = seed();
    let mut moments = Random(seed);
    let mut lake = Lake::new(seed);
    for round in 0..12 {
        lake.add_files(2);
        let running = start(&lake, &["run", "--watch"]);
        // Files arrive while it works.
        for _ in 0..moments.below(3) {
            std::thread::sleep(Duration::from_millis(moments.below(400)));
            lake.add_files(1);
        }
        std::thread::sleep(Duration::from_millis(moments.below(1_200)));
        running.kill();
        // Mostly a killed one is made good by one that is killed, too.
        if round % 3 == 2 {
            caught_up(&lake, &format!("KILL_SEED={seed}, round {round}"));
        }
    }
    caught_up(&lake, &format!("KILL_SEED={seed}, at the end"));
}

#[test]
fn a_platform_that_is_told_to_stop_at_any_time_loses_nothing() {
    let seed = seed();
    let mut moments = Random(seed);
    let mut lake = Lake::new(seed);
    // However slow the machine: a batch that is abandoned is another test's matter.
    let grace = "BERGLAKE_SERVICES__SHUTDOWN_TIMEOUT";
    lake.project = lake.project.env(grace, "240s");
    for round in 0..6 {
        lake.add_files(2);
        let running = start(&lake, &["run", "--watch"]);
        std::thread::sleep(Duration::from_millis(100 + moments.below(1_500)));
        lake.add_files(1);
        running.signal(if round % 2 == 0 { "TERM" } else { "INT" });
        let (code, errors) = running.end();
        // Before its handlers stand, the system's own end it.
        assert!(
            matches!(code, Some(0) | None),
            "KILL_SEED={seed}: {code:?} {errors}"
        );
        if round % 2 == 1 {
            caught_up(&lake, &format!("KILL_SEED={seed}, round {round}"));
        }
    }
    caught_up(&lake, &format!("KILL_SEED={seed}, at the end"));
}

#[test]
fn two_watches_at_the_same_time_take_nothing_twice() {
    let mut lake = Lake::new(7);
    lake.add_files(2);
    // Both create the tables.
    let one = start(&lake, &["run", "--watch", "--output", "json"]);
    let two = start(&lake, &["run", "--watch", "--output", "json"]);
    for _ in 0..10 {
        lake.add_files(1);
        std::thread::sleep(Duration::from_millis(250));
    }
    // One is killed: the other goes on with all that comes.
    one.kill();
    lake.add_files(3);
    for _ in 0..300 {
        if lake.is_taken() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // What follows bronze is behind it, on a busy machine by more than a moment.
    for _ in 0..120 {
        if lake.is_settled() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    two.stop();
    lake.check("the one that stood by has taken all");
    caught_up(&lake, "after two watches");
}
