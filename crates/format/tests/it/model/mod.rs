//! Random sequences of operations, made on a table and on rows in memory. After each of them the table
//! must have the rows of the model, at its head and at a snapshot of long ago.
//!
//! `BERGLAKE_MODEL_SEEDS=from..to` chooses the sequences, `BERGLAKE_MODEL_STEPS` their length. A
//! failure names its seed, and the seed alone makes the same sequence again.

mod lake;
mod nested;
mod partitions;
mod rows;
mod steps;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use lake::Lake;

/// Sequences that run in `make test`.
const SEEDS: std::ops::Range<u64> = 0..100;
/// Sequences that run at the same time.
const WORKERS: usize = 2;
/// Operations of a sequence.
const STEPS: usize = 36;

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // The state walks in steps of one size. States of neighbouring seeds must lie apart, else the
        // numbers of one seed are those of the next, a place further on.
        Self(Self(seed).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        match of.len() {
            0 => None,
            n => of.get(self.below(n)),
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("BERGLAKE_MODEL_SEEDS") else {
        return SEEDS;
    };
    let (from, to) = text
        .split_once("..")
        .expect("BERGLAKE_MODEL_SEEDS=from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

fn steps() -> usize {
    match std::env::var("BERGLAKE_MODEL_STEPS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => STEPS,
    }
}

async fn sequence(seed: u64) -> Lake {
    let mut lake = Lake::new(seed).await;
    for step in 0..steps() {
        lake.step(step).await;
        lake.check().await;
    }
    lake
}

/// Runs a sequence; what it did, how often.
fn run(seed: u64) -> BTreeMap<&'static str, usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(sequence(seed))));
    match result {
        Ok(lake) => lake.made,
        Err(panic) => {
            let next = seed + 1;
            eprintln!("seed {seed} failed; again: BERGLAKE_MODEL_SEEDS={seed}..{next}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_sequence_of_operations_gives_the_rows_of_the_model() {
    let next = AtomicU64::new(seeds().start);
    let worker = || {
        let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds().end {
                return done;
            }
            for (what, times) in run(seed) {
                *done.entry(what).or_default() += times;
            }
        }
    };
    let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(own) => {
                    for (what, times) in own {
                        *done.entry(what).or_default() += times;
                    }
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    for (what, times) in &done {
        println!("{times:>6}  {what}");
    }
    // A model that never does a thing proves nothing about it.
    if seeds() == SEEDS && steps() == STEPS {
        for what in steps::every() {
            let times = done.get(what.name()).copied().unwrap_or(0);
            assert!(times >= 5, "{} was made {times} times", what.name());
        }
    }
}
