use std::collections::BTreeMap;
use std::sync::Arc;

use berglake_format::{Error, ErrorKind};
use chrono::DateTime;
use proptest::prelude::*;

use super::super::pin::{Held, Seen, pin};
use super::super::{KafkaError, OnDataLoss, PinOptions, Pinned, Starting};
use crate::progress::{Mark, PartitionPosition, Resume, TopicPosition};

fn topic() -> Arc<str> {
    "films".into()
}

fn seen(partitions: &[(i32, i64, i64)]) -> Seen {
    Seen {
        cluster: Some("c".into()),
        partitions: partitions
            .iter()
            .map(|(partition, low, high)| {
                let held = Held {
                    low: *low,
                    high: *high,
                    start: *low,
                };
                (*partition, held)
            })
            .collect(),
    }
}

fn recorded(partitions: &[(i32, i64)]) -> TopicPosition {
    TopicPosition {
        cluster: Some("c".into()),
        topic: "films".into(),
        partitions: partitions
            .iter()
            .map(|(partition, next)| {
                let last = (*next > 0).then(|| Mark {
                    offset: next - 1,
                    digest: 9,
                });
                (*partition, PartitionPosition { next: *next, last })
            })
            .collect(),
    }
}

fn ranges(pinned: &Pinned) -> Vec<(i32, i64, i64)> {
    let ranges = pinned.ranges.iter();
    ranges
        .map(|(p, range)| (*p, range.start, range.end))
        .collect()
}

fn plain(at: Option<&TopicPosition>, seen: &Seen) -> Result<Pinned, KafkaError> {
    pin(&topic(), at, seen, &PinOptions::default())
}

#[test]
fn a_new_flow_takes_all_and_the_next_run_what_came_since() {
    let first = plain(None, &seen(&[(0, 3, 10), (1, 0, 0)])).unwrap();
    assert_eq!(ranges(&first), [(0, 3, 10), (1, 0, 0)]);
    assert!(!first.is_empty());
    assert_eq!(first.messages(), 7);
    let at = recorded(&[(0, 10), (1, 0)]);
    let next = plain(Some(&at), &seen(&[(0, 3, 12), (1, 0, 2)])).unwrap();
    assert_eq!(ranges(&next), [(0, 10, 12), (1, 0, 2)]);
    assert!(
        plain(Some(&at), &seen(&[(0, 3, 10), (1, 0, 0)]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn partitions_that_are_added_are_read_from_their_start() {
    let at = recorded(&[(0, 10)]);
    for starting in [Starting::Earliest, Starting::Latest] {
        let options = PinOptions {
            starting,
            ..PinOptions::default()
        };
        let mut seen = seen(&[(0, 0, 10), (1, 2, 5)]);
        // Where a new flow would begin does not matter to one that has begun.
        for held in seen.partitions.values_mut() {
            held.start = held.high;
        }
        let pinned = pin(&topic(), Some(&at), &seen, &options).unwrap();
        assert_eq!(ranges(&pinned), [(0, 10, 10), (1, 2, 5)]);
        assert!(pinned.ranges[&1].known.is_none());
        assert_eq!(pinned.begin().partitions[&1].from, None);
    }
}

#[test]
fn a_start_that_is_not_the_earliest_is_recorded_even_if_nothing_is_there() {
    let mut held = seen(&[(0, 0, 7)]);
    for place in held.partitions.values_mut() {
        place.start = 7;
    }
    let options = PinOptions {
        starting: Starting::Latest,
        ..PinOptions::default()
    };
    let pinned = pin(&topic(), None, &held, &options).unwrap();
    assert_eq!(ranges(&pinned), [(0, 7, 7)]);
    assert!(!pinned.is_empty());
    assert_eq!(pinned.begin().partitions[&0].to, 7);
}

#[test]
fn a_topic_that_was_made_anew_is_an_error_that_says_how_it_is_known() {
    let at = recorded(&[(0, 10), (1, 5)]);
    let mut other_cluster = seen(&[(0, 0, 20), (1, 0, 20)]);
    other_cluster.cluster = Some("d".into());
    for (now, why) in [
        (
            seen(&[(0, 0, 4), (1, 0, 5)]),
            "partition 0 ends at offset 4, and was read up to offset 10",
        ),
        (seen(&[(0, 0, 10)]), "partition 1 was read up to offset 5"),
        (other_cluster, "the cluster c"),
    ] {
        let error = Error::from(plain(Some(&at), &now).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
        for remedy in ["films", "--full-refresh", "--resume"] {
            assert!(text.contains(remedy), "{text}");
        }
    }
    // A cluster that does not tell its id is no other one.
    let mut silent = seen(&[(0, 0, 10), (1, 0, 5)]);
    silent.cluster = None;
    assert!(plain(Some(&at), &silent).unwrap().is_empty());
}

#[test]
fn a_topic_that_was_made_anew_is_read_as_it_was_decided() {
    let at = recorded(&[(0, 10), (1, 5)]);
    let now = seen(&[(0, 0, 4)]);
    for (resume, expected) in [(Resume::Replay, (0, 0, 4)), (Resume::Skip, (0, 4, 4))] {
        let options = PinOptions {
            resume: Some(resume),
            ..PinOptions::default()
        };
        let pinned = pin(&topic(), Some(&at), &now, &options).unwrap();
        assert_eq!(ranges(&pinned), [expected]);
        // Or the next run would ask again.
        assert!(!pinned.is_empty());
        assert_eq!(pinned.warnings().len(), 1);
        let delta = pinned.begin();
        assert_eq!(delta.partitions[&0].from, Some(10));
        assert_eq!(delta.partitions[&0].last, None);
    }
    // Where nothing was made anew there is nothing to decide.
    let same = seen(&[(0, 0, 12), (1, 0, 5)]);
    let options = PinOptions {
        resume: Some(Resume::Skip),
        ..PinOptions::default()
    };
    let pinned = pin(&topic(), Some(&at), &same, &options).unwrap();
    assert_eq!(ranges(&pinned), [(0, 10, 12), (1, 5, 5)]);
}

#[test]
fn deleted_messages_are_an_error_unless_the_flow_goes_on_without_them() {
    let at = recorded(&[(0, 10)]);
    let now = seen(&[(0, 15, 20)]);
    let error = Error::from(plain(Some(&at), &now).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    for part in ["films", "partition 0", "10 to 14", "on_data_loss"] {
        assert!(text.contains(part), "{text}");
    }
    let options = PinOptions {
        on_data_loss: OnDataLoss::Continue,
        ..PinOptions::default()
    };
    let pinned = pin(&topic(), Some(&at), &now, &options).unwrap();
    assert_eq!(ranges(&pinned), [(0, 15, 20)]);
    assert!(pinned.warnings()[0].contains("10 to 14"));
    // The message by which the log was known is gone with the others.
    assert_eq!(pinned.ranges[&0].expect, None);
    assert_eq!(pinned.begin().partitions[&0].last, None);
    // All of them gone: the gap is recorded, or the next run would warn again.
    let pinned = pin(&topic(), Some(&at), &seen(&[(0, 15, 15)]), &options).unwrap();
    assert!(!pinned.is_empty());
}

#[test]
fn the_last_message_is_compared_if_it_is_still_there() {
    let at = recorded(&[(0, 10)]);
    let pinned = plain(Some(&at), &seen(&[(0, 9, 12)])).unwrap();
    assert_eq!(pinned.ranges[&0].read_from(), 9);
    let pinned = plain(Some(&at), &seen(&[(0, 10, 12)])).unwrap();
    assert_eq!(pinned.ranges[&0].read_from(), 10);
}

#[test]
fn a_partition_that_ends_where_it_ended_before_does_not_keep_the_old_message_to_compare() {
    // Partition 1 was refilled up to the very offset that is recorded; partition 0 tells that the
    // topic is another one.
    let at = recorded(&[(0, 10), (1, 10)]);
    let now = seen(&[(0, 0, 3), (1, 0, 10)]);
    for resume in [Resume::Skip, Resume::Replay] {
        let options = PinOptions {
            resume: Some(resume),
            ..PinOptions::default()
        };
        let begun = pin(&topic(), Some(&at), &now, &options).unwrap().begin();
        assert_eq!(begun.partitions[&1].from, Some(10));
        assert!(begun.partitions.values().all(|range| range.last.is_none()));
    }
}

#[test]
fn another_topic_is_an_error_that_names_both() {
    let at = recorded(&[(0, 10)]);
    let other: Arc<str> = "series".into();
    let error = pin(
        &other,
        Some(&at),
        &seen(&[(0, 0, 10)]),
        &PinOptions::default(),
    );
    let text = Error::from(error.unwrap_err()).to_string();
    assert!(text.contains("films") && text.contains("series"), "{text}");
}

#[test]
fn options_are_read_and_wrong_ones_named() {
    assert_eq!("Earliest".parse::<Starting>().unwrap(), Starting::Earliest);
    assert_eq!("latest".parse::<Starting>().unwrap(), Starting::Latest);
    let time = DateTime::parse_from_rfc3339("2026-01-31T01:00:00+01:00").unwrap();
    assert_eq!(
        "2026-01-31T00:00:00Z".parse::<Starting>().unwrap(),
        Starting::At(time.to_utc())
    );
    for wrong in ["", "now", "2026-01-31"] {
        let error = wrong.parse::<Starting>().unwrap_err().to_string();
        assert!(error.contains("earliest"), "{error}");
    }
    assert_eq!(
        "continue".parse::<OnDataLoss>().unwrap(),
        OnDataLoss::Continue
    );
    assert!("maybe".parse::<OnDataLoss>().is_err());
}

/// What happens between two commits.
#[derive(Debug, Clone)]
enum Event {
    /// So many messages are appended to a partition.
    Append(usize, i64),
    /// One more partition.
    Add,
    /// A run takes at most so many offsets of each partition, and commits.
    Take(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_usize..4, 0_i64..6).prop_map(|(p, n)| Event::Append(p, n)),
        1 => Just(Event::Add),
        3 => (0_i64..5).prop_map(Event::Take),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    /// However runs are cut, each offset is taken exactly once and in order.
    #[test]
    fn each_offset_is_taken_once(events in events()) {
        let mut high: Vec<i64> = vec![0];
        let mut taken: Vec<Vec<i64>> = vec![Vec::new()];
        let mut at: Option<TopicPosition> = None;
        let end = [Event::Take(i64::MAX)];
        for event in events.iter().chain(&end) {
            match event {
                Event::Append(partition, count) => {
                    let partition = partition % high.len();
                    high[partition] += count;
                }
                Event::Add => {
                    high.push(0);
                    taken.push(Vec::new());
                }
                Event::Take(most) => {
                    let now: Vec<(i32, i64, i64)> =
                        high.iter().enumerate().map(|(p, high)| (p as i32, 0, *high)).collect();
                    let pinned = plain(at.as_ref(), &seen(&now)).unwrap();
                    if pinned.is_empty() {
                        continue;
                    }
                    let mut delta = pinned.begin();
                    for (partition, range) in &pinned.ranges {
                        let to = range.end.min(range.start.saturating_add(*most));
                        taken[*partition as usize].extend(range.start..to);
                        delta.partitions.get_mut(partition).unwrap().to = to;
                    }
                    let partitions: BTreeMap<i32, PartitionPosition> = delta
                        .partitions
                        .iter()
                        .map(|(p, range)| (*p, PartitionPosition { next: range.to, last: range.last }))
                        .collect();
                    at = Some(TopicPosition { cluster: delta.cluster, topic: delta.topic, partitions });
                }
            }
        }
        for (partition, high) in high.iter().enumerate() {
            prop_assert_eq!(&taken[partition], &(0..*high).collect::<Vec<_>>());
        }
    }
}
