//! Schedules: cron expressions in a time zone, retries, and one run of a job at a time.
//!
//! [`Scheduler`] is a state machine over instants that it is given; it never looks at a clock, so each
//! behaviour is a table of times in a test. [`follow`] drives it by a clock.
//!
//! A job that is still running when its time comes again is not started twice; the tick is passed
//! over, and so are ticks that came while the process was down. There is no jitter.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use berglake_format::{Clock, Error, Result};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::Stop;

/// When to do something: a cron expression and the time zone in which it is meant.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    text: String,
}

impl Schedule {
    /// A schedule from a cron expression such as `0 2 * * 0` (minute, hour, day of month, month, day of
    /// week; optionally seconds before and the year behind) and a time zone such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for an expression or a time zone that
    /// is none, or one that never comes.
    pub fn parse(cron: &str, zone: &str) -> Result<Self> {
        let invalid = |message: &str, help: &str| {
            Error::invalid(message)
                .with("schedule", cron)
                .with("time-zone", zone)
                .help(help)
        };
        let parsed = Cron::from_str(cron).map_err(|error| {
            invalid(
                "the schedule is no cron expression",
                "write it as in `0 2 * * 0`: minute, hour, day of month, month, day of week",
            )
            .source_error(error)
        })?;
        let parsed = Self {
            cron: parsed,
            zone: zone.parse().map_err(|_| {
                invalid(
                    "there is no such time zone",
                    "write it as in Europe/Berlin or UTC",
                )
            })?,
            text: cron.to_string(),
        };
        // 2024 was a leap year, so that even the 29th of February is near.
        if parsed.next_after(1_704_067_200_000).is_none() {
            return Err(invalid(
                "the schedule names a time that never comes",
                "look at its days and months",
            ));
        }
        Ok(parsed)
    }

    /// The first time after this one (ms since 1970 UTC); none where there is none any more.
    pub fn next_after(&self, millis: i64) -> Option<i64> {
        let after = DateTime::<Utc>::from_timestamp_millis(millis)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp_millis())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

/// Something to be done on a schedule.
#[derive(Debug, Clone)]
pub struct Job<T> {
    /// What.
    pub task: T,
    /// When.
    pub schedule: Schedule,
    /// How often it is tried again after it has failed, before its next time.
    pub retries: u32,
    /// How long after the failure.
    pub delay: Duration,
}

/// The jobs and what has become of them.
#[derive(Debug)]
pub struct Scheduler<T> {
    jobs: Vec<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    job: Job<T>,
    next: Option<i64>,
    failures: u32,
    running: bool,
}

impl<T: Clone> Scheduler<T> {
    /// These jobs, none of which has run; each waits for its first time after now.
    pub fn new(jobs: impl IntoIterator<Item = Job<T>>, now: i64) -> Self {
        Self {
            jobs: jobs
                .into_iter()
                .map(|job| State {
                    next: job.schedule.next_after(now),
                    job,
                    failures: 0,
                    running: false,
                })
                .collect(),
        }
    }

    /// Begins the jobs whose time has come: their numbers and what they do. Each must be reported as
    /// [`finished`](Self::finished).
    pub fn begin(&mut self, now: i64) -> Vec<(usize, T)> {
        let mut begun = Vec::new();
        for (i, state) in self.jobs.iter_mut().enumerate() {
            if !state.running && state.next.is_some_and(|next| next <= now) {
                state.running = true;
                begun.push((i, state.job.task.clone()));
            }
        }
        begun
    }

    /// A job has ended. One that has failed is tried again after its delay, as often as it says, unless
    /// its next regular time comes first.
    pub fn finished(&mut self, job: usize, succeeded: bool, now: i64) {
        let Some(state) = self.jobs.get_mut(job) else {
            return;
        };
        state.running = false;
        let regular = state.job.schedule.next_after(now);
        if succeeded || state.failures >= state.job.retries {
            state.failures = 0;
            state.next = regular;
            return;
        }
        state.failures += 1;
        let delay = i64::try_from(state.job.delay.as_millis()).unwrap_or(i64::MAX);
        let again = now.saturating_add(delay);
        state.next = Some(regular.map_or(again, |regular| regular.min(again)));
    }

    /// The next time at which a job that is not running begins.
    pub fn next(&self) -> Option<i64> {
        let waiting = self.jobs.iter().filter(|state| !state.running);
        waiting.filter_map(|state| state.next).min()
    }
}

/// The longest sleep between two looks at the clock: a clock that was set is noticed after this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Does the jobs at their times until somebody asks to stop; then waits for those that are running.
///
/// `execute` does one job and says whether it succeeded.
pub async fn follow<T, F>(
    mut scheduler: Scheduler<T>,
    clock: &dyn Clock,
    stop: &Stop,
    execute: impl Fn(T) -> F,
) where
    T: Clone,
    F: Future<Output = bool>,
{
    let mut running = FuturesUnordered::new();
    while !stop.asked() {
        for (job, task) in scheduler.begin(clock.now_millis()) {
            let work = execute(task);
            running.push(async move { (job, work.await) });
        }
        let until = scheduler.next().map_or(LONGEST_SLEEP, |next| {
            let millis = next.saturating_sub(clock.now_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_SLEEP)
        });
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(until) => {}
            Some((job, succeeded)) = running.next(), if !running.is_empty() => {
                scheduler.finished(job, succeeded, clock.now_millis());
            }
        }
    }
    while running.next().await.is_some() {}
}

#[cfg(test)]
mod tests;
