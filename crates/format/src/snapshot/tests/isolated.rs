//! What others may do while an operation is prepared.

use iceberg::expr::Reference;
use iceberg::spec::Datum;

use super::*;

/// A data file with bounds of the column `id`.
fn ranged(name: &str, from: i64, to: i64) -> WrittenFile {
    let plain = file(name, 10);
    let file = rebuild(&plain.file, 0, |file| {
        file.lower_bounds([(1, Datum::long(from))].into())
            .upper_bounds([(1, Datum::long(to))].into())
            .value_counts([(1, 10)].into())
            .null_value_counts([(1, 0)].into());
    })
    .unwrap();
    WrittenFile { file, spec_id: 0 }
}

/// What another writer does after the rows were read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Other {
    Nothing,
    AppendInside,
    AppendOutside,
    DeleteFromTarget,
    DeleteFromAnother,
    RemoveTarget,
    RemoveAnother,
}

async fn other(committer: &dyn Committer, what: Other, vector: bool) {
    let head = async || committer.load(&ident()).await.unwrap();
    let deleted = async |from: &WrittenFile| RowDelta {
        base: head().await.metadata().current_snapshot_id(),
        delete_files: vec![deletes_of("other-deletes", from, vector)],
        ..RowDelta::default()
    };
    let removed = |least: i64| Overwrite {
        filter: Reference::new("id")
            .greater_than_or_equal_to(Datum::long(least))
            .and(Reference::new("id").less_than(Datum::long(least + 100))),
        files: Vec::new(),
        notes: CommitNotes::default(),
    };
    match what {
        Other::Nothing => return,
        Other::AppendInside => apply(committer, append(&[&ranged("new", 10, 20)])).await,
        Other::AppendOutside => apply(committer, append(&[&ranged("new", 500, 600)])).await,
        Other::DeleteFromTarget => apply(committer, deleted(&ranged("target", 0, 99)).await).await,
        Other::DeleteFromAnother => {
            apply(committer, deleted(&ranged("another", 200, 299)).await).await
        }
        Other::RemoveTarget => apply(committer, removed(0)).await,
        Other::RemoveAnother => apply(committer, removed(200)).await,
    }
    .unwrap();
}

/// Whether an operation that was prepared before is committed after.
async fn outcome(
    version: FormatVersion,
    what: Other,
    level: IsolationLevel,
    updates: bool,
) -> bool {
    let committer = table(version).await;
    let vector = version == FormatVersion::V3;
    let target = ranged("target", 0, 99);
    let files = [&target, &ranged("another", 200, 299)];
    apply(&*committer, append(&files)).await.unwrap();
    let base = committer.load(&ident()).await.unwrap();
    let delta = RowDelta {
        base: None,
        data_files: updates
            .then(|| ranged("updated", 0, 0))
            .into_iter()
            .collect(),
        delete_files: vec![deletes_of("deletes", &target, vector)],
        notes: CommitNotes::default(),
    };
    let isolated = Isolated {
        operation: delta,
        base: base.metadata().current_snapshot_id(),
        level,
        filter: Reference::new("id").less_than(Datum::long(100)),
    };
    other(&*committer, what, vector).await;
    match apply(&*committer, isolated).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            false
        }
    }
}

#[tokio::test]
async fn deletes_and_updates_are_kept_apart_by_level() {
    use IsolationLevel::{Serializable, Snapshot};
    use Other::*;
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let vector = version == FormatVersion::V3;
        // Whether a delete and an update are committed, by level.
        let cases = [
            (Nothing, Snapshot, true, true),
            (Nothing, Serializable, true, true),
            (AppendInside, Snapshot, true, true),
            (AppendInside, Serializable, false, false),
            (AppendOutside, Snapshot, true, true),
            (AppendOutside, Serializable, true, true),
            // Two deletes of one file add up, unless the one replaces the vector of the other.
            (DeleteFromTarget, Snapshot, !vector, false),
            (DeleteFromTarget, Serializable, false, false),
            (DeleteFromAnother, Snapshot, true, true),
            (RemoveTarget, Snapshot, false, false),
            (RemoveTarget, Serializable, false, false),
            (RemoveAnother, Snapshot, true, true),
            (RemoveAnother, Serializable, true, true),
        ];
        for (what, level, deletes, updates) in cases {
            let of = format!("{version} {what:?} {level:?}");
            assert_eq!(
                outcome(version, what, level, false).await,
                deletes,
                "delete: {of}"
            );
            assert_eq!(
                outcome(version, what, level, true).await,
                updates,
                "update: {of}"
            );
        }
    }
}

#[tokio::test]
async fn overwrites_are_kept_apart_by_level() {
    use IsolationLevel::{Serializable, Snapshot};
    use Other::*;
    for (what, level, committed) in [
        (Nothing, Serializable, true),
        (AppendInside, Snapshot, true),
        (AppendInside, Serializable, false),
        (AppendOutside, Serializable, true),
        (DeleteFromTarget, Snapshot, false),
        (RemoveTarget, Snapshot, false),
        (RemoveAnother, Serializable, true),
    ] {
        let committer = table(FormatVersion::V2).await;
        let files = [&ranged("target", 0, 99), &ranged("another", 200, 299)];
        apply(&*committer, append(&files)).await.unwrap();
        let base = committer.load(&ident()).await.unwrap();
        let filter = Reference::new("id").less_than(Datum::long(100));
        let isolated = Isolated {
            operation: Overwrite {
                filter: filter.clone(),
                files: vec![ranged("replacement", 0, 99)],
                notes: CommitNotes::default(),
            },
            base: base.metadata().current_snapshot_id(),
            level,
            filter,
        };
        let replacement = Isolated {
            operation: ReplacePartitions {
                files: vec![ranged("replacement", 0, 99)],
                notes: CommitNotes::default(),
            },
            base: isolated.base,
            level,
            filter: isolated.filter.clone(),
        };
        other(&*committer, what, false).await;
        let head = committer.load(&ident()).await.unwrap();
        let replaced = replacement.plan(&head).await;
        assert_eq!(
            replaced.is_ok(),
            committed,
            "{what:?} {level:?}: {replaced:?}"
        );
        let result = apply(&*committer, isolated).await;
        assert_eq!(result.is_ok(), committed, "{what:?} {level:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_no_ancestor_any_more_is_a_conflict() {
    let committer = table(FormatVersion::V2).await;
    let target = ranged("target", 0, 99);
    apply(&*committer, append(&[&target])).await.unwrap();
    let first = committer.load(&ident()).await.unwrap();
    apply(&*committer, append(&[&ranged("b", 0, 1)]))
        .await
        .unwrap();
    let read = committer.load(&ident()).await.unwrap();
    let back = RollbackTo::new(first.metadata().current_snapshot_id().unwrap());
    apply(&*committer, back).await.unwrap();
    let isolated = Isolated {
        operation: RowDelta {
            delete_files: vec![deletes_of("deletes", &target, false)],
            ..RowDelta::default()
        },
        base: read.metadata().current_snapshot_id(),
        level: IsolationLevel::Snapshot,
        filter: Predicate::AlwaysTrue,
    };
    let error = apply(&*committer, isolated).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}
