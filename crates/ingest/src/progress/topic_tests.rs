use std::collections::BTreeMap;

use super::record::{Cached, decode_cached, decode_delta, encode_cached, encode_delta};
use super::tests::{commit, empty, flow, rolled_back, step};
use super::*;

fn delta(ranges: &[(i32, Option<i64>, i64)]) -> TopicDelta {
    let range = |(partition, from, to): &(i32, Option<i64>, i64)| {
        let last = (*to > 0).then(|| Mark::of(to - 1, Some(5), None, Some(b"x")));
        let (from, to) = (*from, *to);
        (*partition, PartitionRange { from, to, last })
    };
    TopicDelta {
        cluster: Some("c".into()),
        topic: "films".into(),
        partitions: ranges.iter().map(range).collect(),
    }
}

fn take(from: Option<Position>, ranges: &[(i32, Option<i64>, i64)]) -> Step {
    Step {
        flow: flow(),
        from,
        delta: Delta::Topic(delta(ranges)),
        resume: None,
    }
}

fn at(table: &TableMetadata) -> BTreeMap<i32, i64> {
    match Progress::of(table, &flow()).unwrap() {
        Progress::At(Position::Topic(position)) => {
            let partitions = position.partitions.iter();
            partitions.map(|(p, place)| (*p, place.next)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn position(table: &TableMetadata) -> Option<Position> {
    Progress::of(table, &flow())
        .unwrap()
        .resume(&flow(), None)
        .unwrap()
}

#[test]
fn offsets_go_on_from_batch_to_batch_and_partitions_are_added() {
    let table = step(&empty(), 1, &take(None, &[(0, None, 5)])).unwrap();
    let next = take(position(&table), &[(0, Some(5), 7), (1, None, 3)]);
    let table = step(&table, 2, &next).unwrap();
    assert_eq!(at(&table), BTreeMap::from([(0, 7), (1, 3)]));
    // A batch that takes nothing stays there.
    let Some(Position::Topic(place)) = position(&table) else {
        panic!()
    };
    let nothing = Step {
        flow: flow(),
        from: Some(Position::Topic(place.clone())),
        delta: Delta::Topic(TopicDelta::nothing(&place)),
        resume: None,
    };
    let table = step(&table, 3, &nothing).unwrap();
    assert_eq!(position(&table), Some(Position::Topic(place)));
}

#[test]
fn a_batch_that_begins_elsewhere_is_refused() {
    let table = step(&empty(), 1, &take(None, &[(0, None, 5)])).unwrap();
    for (ranges, why) in [
        (vec![(0, Some(4), 7)], "Some(4)"),
        (vec![(0, None, 7)], "None"),
        (vec![(0, Some(5), 7), (1, Some(2), 3)], "partition 1"),
    ] {
        let error = step(&table, 2, &take(position(&table), &ranges)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut other = take(position(&table), &[(0, Some(5), 7)]);
    if let Delta::Topic(delta) = &mut other.delta {
        delta.topic = "series".into();
    }
    let error = step(&table, 2, &other).unwrap_err();
    assert!(error.to_string().contains("series"), "{error}");
}

#[test]
fn a_second_run_that_was_overtaken_is_fenced() {
    let table = step(&empty(), 1, &take(None, &[(0, None, 5)])).unwrap();
    let (first, second) = (
        take(position(&table), &[(0, Some(5), 7)]),
        take(position(&table), &[(0, Some(5), 8)]),
    );
    let table = step(&table, 2, &first).unwrap();
    let error = step(&table, 3, &second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn after_a_rollback_the_offsets_before_it_can_be_replayed() {
    let first = step(&empty(), 1, &take(None, &[(0, None, 5)])).unwrap();
    let next = take(position(&first), &[(0, Some(5), 7), (1, None, 3)]);
    let second = step(&first, 2, &next).unwrap();
    let back = rolled_back(&second, 1);
    let progress = Progress::of(&back, &flow()).unwrap();
    let Some(Position::Topic(place)) = progress.resume(&flow(), Some(Resume::Replay)).unwrap()
    else {
        panic!()
    };
    assert_eq!(place.partitions.len(), 1, "{place:?}");
    assert_eq!(place.partitions[&0].next, 5);
    let replay = Step {
        resume: Some(Resume::Replay),
        ..take(Some(Position::Topic(place)), &[(0, Some(5), 6)])
    };
    let table = step(&back, 3, &replay).unwrap();
    assert_eq!(at(&table), BTreeMap::from([(0, 6)]));
}

#[test]
fn the_newest_summary_alone_tells_the_offsets() {
    // Somebody has dropped the property.
    let record = encode_delta(&Delta::Topic(delta(&[(0, Some(5), 7), (1, Some(1), 3)]))).unwrap();
    let notes = CommitNotes {
        summary: BTreeMap::from([(flow().key(), record)]),
        ..CommitNotes::default()
    };
    let table = commit(&empty(), 1, &notes);
    assert_eq!(at(&table), BTreeMap::from([(0, 7), (1, 3)]));
}

#[test]
fn stored_records_of_topics_keep_their_form() {
    let mark = Mark {
        offset: 6,
        digest: 0xab,
    };
    let range = |from, to, last| PartitionRange { from, to, last };
    let delta = Delta::Topic(TopicDelta {
        cluster: Some("c".into()),
        topic: "films".into(),
        partitions: BTreeMap::from([
            (0, range(Some(5), 7, Some(mark))),
            (1, range(None, 0, None)),
        ]),
    });
    let text = concat!(
        r#"{"version":2,"topic":{"name":"films","cluster":"c","partitions":["#,
        r#"{"partition":0,"from":5,"to":7,"last":[6,"00000000000000ab"]},"#,
        r#"{"partition":1,"from":null,"to":0}]}}"#
    );
    assert_eq!(encode_delta(&delta).unwrap(), text);
    assert_eq!(decode_delta(text).unwrap(), delta);
    let cached = Cached {
        snapshot: 9,
        sequence: 3,
        position: Position::Topic(TopicPosition {
            cluster: None,
            topic: "films".into(),
            partitions: BTreeMap::from([(
                0,
                PartitionPosition {
                    next: 7,
                    last: Some(mark),
                },
            )]),
        }),
    };
    let text = concat!(
        r#"{"version":2,"snapshot-id":9,"sequence-number":3,"topic":{"name":"films","partitions":["#,
        r#"{"partition":0,"next":7,"last":[6,"00000000000000ab"]}]}}"#
    );
    assert_eq!(encode_cached(&cached).unwrap(), text);
    assert_eq!(decode_cached(text).unwrap(), cached);
    for broken in [
        r#"{"version":2,"topic":{"name":"f","partitions":[{"partition":0,"next":1,"last":[1,"x"]}]}}"#,
        r#"{"version":2,"topic":{"name":"f","partitions":[{"partition":0,"from":null,"to":1},{"partition":0,"from":null,"to":1}]}}"#,
    ] {
        assert!(decode_delta(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_message_is_known_again_by_all_that_it_is() {
    let mark = |time, key: Option<&str>, payload: Option<&str>| {
        Mark::of(3, time, key.map(str::as_bytes), payload.map(str::as_bytes))
    };
    let one = mark(Some(1), Some("k"), Some("v"));
    assert_eq!(one, mark(Some(1), Some("k"), Some("v")));
    for other in [
        mark(Some(2), Some("k"), Some("v")),
        mark(None, Some("k"), Some("v")),
        mark(Some(1), Some("kv"), Some("")),
        mark(Some(1), Some("k"), Some("w")),
    ] {
        assert_ne!(one.digest, other.digest);
    }
}
