use std::sync::atomic::{AtomicUsize, Ordering};

use berglake_format::ManualClock;

use super::*;

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_millis()
}

fn shown(millis: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(millis)
        .unwrap()
        .to_rfc3339()
}

fn job(cron: &str, zone: &str, retries: u32, delay: Duration) -> Job<&'static str> {
    Job {
        task: "work",
        schedule: Schedule::parse(cron, zone).unwrap(),
        retries,
        delay,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_schedule_is_meant_in_its_time_zone_and_follows_its_clock_changes() {
    let sundays = Schedule::parse("0 2 * * 0", "UTC").unwrap();
    let next = sundays.next_after(at("2026-11-21T12:00:00Z")).unwrap();
    assert_eq!(shown(next), "2026-11-22T02:00:00+00:00");
    // A time itself is not after itself.
    assert_eq!(
        shown(sundays.next_after(next).unwrap()),
        "2026-11-29T02:00:00+00:00"
    );

    let daily = Schedule::parse("30 3 * * *", "Europe/Berlin").unwrap();
    let mut time = at("2026-03-28T00:00:00Z");
    let mut times = Vec::new();
    for _ in 0..3 {
        time = daily.next_after(time).unwrap();
        times.push(shown(time));
    }
    // Summer time begins on the 29th of March.
    assert_eq!(
        times,
        [
            "2026-03-28T02:30:00+00:00",
            "2026-03-29T01:30:00+00:00",
            "2026-03-30T01:30:00+00:00"
        ]
    );
}

#[test]
fn what_is_no_schedule_is_refused_with_advice() {
    for (cron, zone, message) in [
        ("every day", "UTC", "no cron expression"),
        ("61 * * * *", "UTC", "no cron expression"),
        ("0 2 * * 0", "Middle/Earth", "no such time zone"),
        ("0 0 30 2 *", "UTC", "never comes"),
    ] {
        let error = Schedule::parse(cron, zone).unwrap_err();
        assert!(error.message().contains(message), "{error}");
        assert!(error.advice().is_some());
    }
}

#[test]
fn a_job_begins_at_its_time_once_and_then_waits_for_the_next() {
    let mut scheduler = Scheduler::new(
        [job("0 * * * *", "UTC", 0, MINUTE)],
        at("2026-11-21T10:30:00Z"),
    );
    assert_eq!(scheduler.next(), Some(at("2026-11-21T11:00:00Z")));
    assert!(scheduler.begin(at("2026-11-21T10:59:59Z")).is_empty());
    assert_eq!(scheduler.begin(at("2026-11-21T11:00:00Z")), [(0, "work")]);
    // It still runs when its time comes again: that tick is passed over.
    assert!(scheduler.begin(at("2026-11-21T12:00:00Z")).is_empty());
    assert_eq!(scheduler.next(), None);
    scheduler.finished(0, true, at("2026-11-21T12:10:00Z"));
    assert_eq!(scheduler.next(), Some(at("2026-11-21T13:00:00Z")));
}

#[test]
fn a_failed_job_is_tried_again_after_its_delay_as_often_as_it_says() {
    let mut scheduler = Scheduler::new(
        [job("0 2 * * 0", "UTC", 2, 5 * MINUTE)],
        at("2026-11-21T00:00:00Z"),
    );
    let mut now = at("2026-11-22T02:00:00Z");
    for again in ["2026-11-22T02:06:00Z", "2026-11-22T02:12:00Z"] {
        assert_eq!(scheduler.begin(now).len(), 1);
        scheduler.finished(0, false, now + 60_000);
        assert_eq!(scheduler.next(), Some(at(again)));
        now = at(again);
    }
    assert_eq!(scheduler.begin(now).len(), 1);
    scheduler.finished(0, false, now + 60_000);
    // Both retries are used up; the next week begins with fresh ones.
    now = at("2026-11-29T02:00:00Z");
    assert_eq!(scheduler.next(), Some(now));
    scheduler.begin(now);
    scheduler.finished(0, false, now);
    assert_eq!(scheduler.next(), Some(at("2026-11-29T02:05:00Z")));
}

#[test]
fn a_retry_does_not_delay_the_next_regular_time() {
    let mut scheduler = Scheduler::new(
        [job("*/10 * * * *", "UTC", 3, 60 * MINUTE)],
        at("2026-11-21T00:00:00Z"),
    );
    scheduler.begin(at("2026-11-21T00:10:00Z"));
    scheduler.finished(0, false, at("2026-11-21T00:11:00Z"));
    assert_eq!(scheduler.next(), Some(at("2026-11-21T00:20:00Z")));
}

#[tokio::test]
async fn jobs_are_followed_by_the_clock_until_somebody_asks_to_stop() {
    // Each look at the clock is half an hour later.
    let start = at("2026-11-21T00:00:00Z");
    let clock = ManualClock::stepping(start * 1_000, 30 * 60 * 1_000_000);
    let scheduler = Scheduler::new([job("0 * * * *", "UTC", 0, MINUTE)], start);
    let (stop, runs) = (Stop::new(), AtomicUsize::new(0));
    follow(scheduler, &clock, &stop, |work| {
        assert_eq!(work, "work");
        let (stop, runs) = (&stop, &runs);
        async move {
            if runs.fetch_add(1, Ordering::SeqCst) == 4 {
                stop.ask();
            }
            true
        }
    })
    .await;
    assert_eq!(runs.load(Ordering::SeqCst), 5);
}
