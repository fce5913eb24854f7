use std::collections::HashMap;

use iceberg::TableCreation;
use iceberg::spec::{
    NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference, SnapshotRetention,
    Summary, TableMetadataBuilder, Type,
};
use proptest::prelude::*;

use super::*;

pub(super) fn flow() -> FlowId {
    FlowId::new("f").unwrap()
}

fn source() -> Uuid {
    Uuid::from_u128(7)
}

pub(super) fn empty() -> TableMetadata {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder()
        .with_fields(vec![id.into()])
        .build()
        .unwrap();
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///t".into())
        .schema(schema)
        .build();
    TableMetadataBuilder::from_table_creation(creation)
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

/// Metadata with one more snapshot on top of the head, carrying these notes.
pub(super) fn commit(base: &TableMetadata, id: i64, notes: &CommitNotes) -> TableMetadata {
    let summary = Summary {
        operation: Operation::Append,
        additional_properties: notes.summary.clone().into_iter().collect(),
    };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(base.current_snapshot_id())
        .with_sequence_number(base.next_sequence_number())
        .with_timestamp_ms(base.last_updated_ms() + 1)
        .with_manifest_list(format!("memory:///t/{id}.avro"))
        .with_schema_id(0)
        .with_summary(summary)
        .build();
    let builder = base
        .clone()
        .into_builder(Some("memory:///t/m.json".into()))
        .set_branch_snapshot(snapshot, "main")
        .unwrap();
    builder
        .set_properties(notes.properties.clone())
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

pub(super) fn step(base: &TableMetadata, id: i64, step: &Step) -> Result<TableMetadata> {
    let mut notes = CommitNotes::default();
    let next = NextSnapshot {
        id,
        sequence_number: base.next_sequence_number(),
    };
    step.record(base, next, &mut notes)?;
    Ok(commit(base, id, &notes))
}

pub(super) fn rolled_back(base: &TableMetadata, to: i64) -> TableMetadata {
    let retention = SnapshotRetention::Branch {
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
        max_ref_age_ms: None,
    };
    base.clone()
        .into_builder(Some("memory:///t/m.json".into()))
        .set_ref("main", SnapshotReference::new(to, retention))
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

fn expired(base: &TableMetadata, ids: &[i64]) -> TableMetadata {
    base.clone()
        .into_builder(Some("memory:///t/m.json".into()))
        .remove_snapshots(ids)
        .build()
        .unwrap()
        .metadata
}

fn without_property(base: &TableMetadata) -> TableMetadata {
    base.clone()
        .into_builder(Some("memory:///t/m.json".into()))
        .remove_properties(&[flow().key()])
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

fn table_step(from: Option<i64>, to: i64) -> Step {
    Step {
        flow: flow(),
        from: from.map(|at| Position::Table {
            source: source(),
            at,
        }),
        delta: Delta::Table {
            source: source(),
            from,
            to,
        },
        resume: None,
    }
}

fn files(names: &[&str]) -> FileSet {
    let mark = |name: &&str| {
        let version = Version::ETag(format!("tag of {name}"));
        (
            (*name).to_owned(),
            FileMark {
                size: name.len() as u64,
                version,
            },
        )
    };
    names.iter().map(mark).collect()
}

fn file_step(before: &[&str], names: &[&str]) -> Step {
    Step {
        flow: flow(),
        from: (!before.is_empty()).then(|| Position::Files(files(before))),
        delta: Delta::Files(files(names)),
        resume: None,
    }
}

fn at_files(names: &[&str]) -> Progress {
    Progress::At(Position::Files(files(names)))
}

fn at(snapshot: i64) -> Progress {
    Progress::At(Position::Table {
        source: source(),
        at: snapshot,
    })
}

#[test]
fn a_flow_without_records_is_fresh() {
    let table = commit(&empty(), 1, &CommitNotes::default());
    assert_eq!(Progress::of(&empty(), &flow()).unwrap(), Progress::Fresh);
    assert_eq!(Progress::of(&table, &flow()).unwrap(), Progress::Fresh);
}

#[test]
fn snapshots_of_others_are_walked_past() {
    let table = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    let table = commit(&table, 2, &CommitNotes::default());
    assert_eq!(Progress::of(&table, &flow()).unwrap(), at_files(&["a"]));
    let table = step(&table, 3, &file_step(&["a"], &["b", "c"])).unwrap();
    assert_eq!(
        Progress::of(&table, &flow()).unwrap(),
        at_files(&["a", "b", "c"])
    );
    let other = FlowId::new("g").unwrap();
    assert_eq!(Progress::of(&table, &other).unwrap(), Progress::Fresh);
}

#[test]
fn records_newer_than_the_property_count() {
    let first = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    let second = step(&first, 2, &file_step(&["a"], &["b"])).unwrap();
    // The property of the first commit over the history of the second.
    let stale = HashMap::from([(flow().key(), first.properties()[&flow().key()].clone())]);
    let table = commit(
        &second,
        3,
        &CommitNotes {
            properties: stale,
            ..CommitNotes::default()
        },
    );
    assert_eq!(
        Progress::of(&table, &flow()).unwrap(),
        at_files(&["a", "b"])
    );
}

#[test]
fn the_property_stands_for_expired_ancestors() {
    let table = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    let table = commit(&table, 2, &CommitNotes::default());
    let table = expired(&table, &[1]);
    assert_eq!(Progress::of(&table, &flow()).unwrap(), at_files(&["a"]));
    let table = step(&table, 3, &file_step(&["a"], &["b"])).unwrap();
    assert_eq!(
        Progress::of(&table, &flow()).unwrap(),
        at_files(&["a", "b"])
    );
    let error = Progress::of(&without_property(&table), &flow()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn the_whole_ancestry_stands_for_a_lost_property() {
    let table = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    let table = step(&table, 2, &file_step(&["a"], &["b"])).unwrap();
    assert_eq!(
        Progress::of(&without_property(&table), &flow()).unwrap(),
        at_files(&["a", "b"])
    );
}

#[test]
fn a_rollback_stops_the_flow_until_somebody_decides() {
    let table = step(&empty(), 1, &table_step(None, 10)).unwrap();
    let table = step(&table, 2, &table_step(Some(10), 20)).unwrap();
    let table = rolled_back(&table, 1);
    let progress = Progress::of(&table, &flow()).unwrap();
    let error = progress.clone().resume(&flow(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("--resume replay"), "{error}");
    assert!(error.to_string().contains("--resume skip"), "{error}");
    let replay = progress
        .clone()
        .resume(&flow(), Some(Resume::Replay))
        .unwrap();
    assert_eq!(
        replay,
        Some(Position::Table {
            source: source(),
            at: 10
        })
    );
    let skip = progress.resume(&flow(), Some(Resume::Skip)).unwrap();
    assert_eq!(
        skip,
        Some(Position::Table {
            source: source(),
            at: 20
        })
    );

    assert_eq!(
        step(&table, 3, &table_step(Some(10), 20))
            .unwrap_err()
            .kind(),
        ErrorKind::Conflict
    );
    let replayed = Step {
        resume: Some(Resume::Replay),
        ..table_step(Some(10), 20)
    };
    let table = step(&table, 3, &replayed).unwrap();
    assert_eq!(
        Progress::of(&table, &flow()).unwrap(),
        at(20),
        "the two agree again"
    );
}

#[test]
fn files_of_a_rolled_back_commit_are_known_even_if_older_snapshots_have_expired() {
    let table = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    let table = step(&table, 2, &file_step(&["a"], &["b"])).unwrap();
    let table = step(&table, 3, &file_step(&["a", "b"], &["c"])).unwrap();
    let table = expired(&rolled_back(&table, 2), &[1]);
    let Progress::RolledBack(rolled) = Progress::of(&table, &flow()).unwrap() else {
        panic!()
    };
    assert_eq!(rolled.recorded_at, 3);
    assert_eq!(rolled.recorded, Position::Files(files(&["a", "b", "c"])));
    assert_eq!(
        rolled.head,
        HeadPosition::At(Position::Files(files(&["a", "b"])))
    );
    // When the rolled-back snapshot has expired as well, nothing says what to replay.
    let table = expired(&table, &[3]);
    let progress = Progress::of(&table, &flow()).unwrap();
    let Progress::RolledBack(rolled) = &progress else {
        panic!("{progress:?}")
    };
    assert_eq!(rolled.head, HeadPosition::Expired);
    assert!(
        progress
            .clone()
            .resume(&flow(), Some(Resume::Replay))
            .is_err()
    );
    assert!(progress.resume(&flow(), Some(Resume::Skip)).is_ok());
}

#[test]
fn a_batch_that_was_overtaken_is_fenced() {
    let table = step(&empty(), 1, &table_step(None, 10)).unwrap();
    let table = step(&table, 2, &table_step(Some(10), 20)).unwrap();
    let error = step(&table, 3, &table_step(Some(10), 30)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        step(&table, 3, &table_step(None, 30)).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert!(step(&table, 3, &table_step(Some(20), 30)).is_ok());
    let again = file_step(&["a"], &["a"]);
    let table = step(&empty(), 1, &file_step(&[], &["a"])).unwrap();
    assert_eq!(
        step(&table, 2, &again).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let other = Step {
        delta: Delta::Table {
            source: source(),
            from: None,
            to: 1,
        },
        ..again
    };
    assert_eq!(
        step(&table, 2, &other).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn records_that_cannot_be_read_are_errors_that_name_the_flow() {
    for (text, kind) in [
        ("nonsense", ErrorKind::Corrupt),
        ("{\"version\":1}", ErrorKind::Corrupt),
        ("{\"version\":3,\"push\":{}}", ErrorKind::Unsupported),
    ] {
        let summary = BTreeMap::from([(flow().key(), text.to_owned())]);
        let table = commit(
            &empty(),
            1,
            &CommitNotes {
                summary,
                ..CommitNotes::default()
            },
        );
        let error = Progress::of(&table, &flow()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("flow: f"), "{error}");
    }
    assert!(FlowId::new(" ").is_err());
    assert!("later".parse::<Resume>().is_err());
}

#[test]
fn stored_records_keep_their_form() {
    let time = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
    let mut set = files(&["a"]);
    set.insert(
        "b".to_owned(),
        FileMark {
            size: 2,
            version: Version::Modified(time),
        },
    );
    let delta = Delta::Files(set.clone());
    let text = concat!(
        r#"{"version":1,"files":[{"location":"a","size":1,"e-tag":"tag of a"},"#,
        r#"{"location":"b","size":2,"modified":1700000000000001}]}"#
    );
    assert_eq!(encode_delta(&delta).unwrap(), text);
    assert_eq!(decode_delta(text).unwrap(), delta);
    let delta = Delta::Table {
        source: source(),
        from: None,
        to: -5,
    };
    let text = concat!(
        r#"{"version":1,"table":{"uuid":"00000000-0000-0000-0000-000000000007","#,
        r#""from":null,"to":-5}}"#
    );
    assert_eq!(encode_delta(&delta).unwrap(), text);
    assert_eq!(decode_delta(text).unwrap(), delta);
    let cached = Cached {
        snapshot: 9,
        sequence: 3,
        position: Position::Files(set),
    };
    assert_eq!(
        decode_cached(&encode_cached(&cached).unwrap()).unwrap(),
        cached
    );
    let cached = Cached {
        position: Position::Table {
            source: source(),
            at: 4,
        },
        ..cached
    };
    let text = concat!(
        r#"{"version":1,"snapshot-id":9,"sequence-number":3,"#,
        r#""table":{"uuid":"00000000-0000-0000-0000-000000000007","at":4}}"#
    );
    assert_eq!(encode_cached(&cached).unwrap(), text);
    assert_eq!(decode_cached(text).unwrap(), cached);
}

/// What happens to a table, one after the other.
#[derive(Debug, Clone)]
enum Event {
    /// The flow takes this many files.
    Take(usize),
    /// Another engine appends.
    Foreign,
    /// The oldest snapshots that are no head expire, up to this many.
    Expire(usize),
    /// The head goes back this many snapshots.
    RollBack(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_usize..3).prop_map(Event::Take),
        2 => Just(Event::Foreign),
        1 => (1_usize..3).prop_map(Event::Expire),
        1 => (1_usize..3).prop_map(Event::RollBack),
    ];
    prop::collection::vec(event, 0..16)
}

proptest! {
    /// A model keeps, for each snapshot, the files whose rows are in it.
    #[test]
    fn progress_is_what_the_head_holds_or_a_rollback(events in events(), replay in any::<bool>()) {
        let resume = if replay { Resume::Replay } else { Resume::Skip };
        let mut table = empty();
        let mut held: HashMap<i64, FileSet> = HashMap::new();
        // What counts as taken: rows that are held, and rows that were skipped for good.
        let mut taken: FileSet = FileSet::new();
        let mut started = false;
        let mut next_id = 1;
        let mut next_file = 0;
        for event in events {
            let head = table.current_snapshot_id();
            let before = head.map(|id| held[&id].clone()).unwrap_or_default();
            match event {
                Event::Take(count) => {
                    let progress = Progress::of(&table, &flow()).unwrap();
                    let was_rolled_back = matches!(progress, Progress::RolledBack(_));
                    let position = match progress.resume(&flow(), Some(resume)) {
                        Ok(position) => position,
                        // Nothing is guessed when the snapshots that tell are gone.
                        Err(error) => {
                            prop_assert!(was_rolled_back && replay, "{}", error);
                            break;
                        }
                    };
                    let new: FileSet = (0..count)
                        .map(|_| {
                            next_file += 1;
                            let mark = FileMark { size: 1, version: Version::ETag("x".into()) };
                            (format!("f{next_file}"), mark)
                        })
                        .collect();
                    if was_rolled_back && replay {
                        taken = before.clone();
                    }
                    match &position {
                        Some(Position::Files(files)) => prop_assert_eq!(files, &taken),
                        None => prop_assert!(taken.is_empty()),
                        other => prop_assert!(false, "{:?}", other),
                    }
                    let batch = Step {
                        flow: flow(),
                        from: position,
                        delta: Delta::Files(new.clone()),
                        resume: Some(resume),
                    };
                    table = step(&table, next_id, &batch).unwrap();
                    let mut after = before;
                    after.extend(new.clone());
                    taken.extend(new);
                    held.insert(next_id, after);
                    started = true;
                    next_id += 1;
                }
                Event::Foreign => {
                    table = commit(&table, next_id, &CommitNotes::default());
                    held.insert(next_id, before);
                    next_id += 1;
                }
                Event::Expire(count) => {
                    let mut ids: Vec<(i64, i64)> = table
                        .snapshots()
                        .map(|s| (s.sequence_number(), s.snapshot_id()))
                        .filter(|(_, id)| Some(*id) != head)
                        .collect();
                    ids.sort_unstable();
                    let oldest: Vec<i64> = ids.into_iter().take(count).map(|(_, id)| id).collect();
                    table = expired(&table, &oldest);
                }
                Event::RollBack(count) => {
                    let walk = Walk::from(&table, head, |_| false);
                    if let Some(target) = walk.passed.get(count) {
                        let target = target.snapshot_id();
                        table = rolled_back(&table, target);
                    }
                }
            }
            // Whatever happened, progress is readable, and where it is no rollback it is what counts
            // as taken.
            match Progress::of(&table, &flow()).unwrap() {
                Progress::Fresh => prop_assert!(!started),
                Progress::At(Position::Files(files)) => prop_assert_eq!(&files, &taken),
                Progress::At(other) => prop_assert!(false, "{:?}", other),
                Progress::RolledBack(rolled) => prop_assert_eq!(rolled.recorded, Position::Files(taken.clone())),
            }
        }
    }
}
