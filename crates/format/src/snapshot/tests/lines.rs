//! Branches and tags, and moving between them.

use super::*;
use crate::plan::SnapshotSelector;
use crate::{Clock, SystemClock};

fn on(branch: &str, files: &[&WrittenFile]) -> Append {
    let mut append = append(files);
    append.notes.branch = Some(branch.to_string());
    append
}

fn create(name: &str, kind: RefKind, snapshot_id: Option<i64>) -> CreateRef {
    CreateRef {
        name: name.to_string(),
        kind,
        snapshot_id,
        retention: RefRetention::default(),
        existing: Existing::Fail,
    }
}

async fn names(table: &Table, at: SnapshotSelector) -> Vec<String> {
    let plan = table.scan().snapshot(at).plan().await.unwrap();
    let name = |task: &crate::plan::ScanTask| {
        let location = Location::parse(task.file.file_path()).unwrap();
        location.name().to_string()
    };
    let mut names: Vec<_> = plan.tasks.iter().map(name).collect();
    names.sort();
    names
}

async fn of_branch(committer: &dyn Committer, branch: &str) -> Vec<String> {
    let table = committer.load(&ident()).await.unwrap();
    names(&table, SnapshotSelector::Ref(branch.to_string())).await
}

async fn head_id(committer: &dyn Committer) -> Option<i64> {
    let table = committer.load(&ident()).await.unwrap();
    table.metadata().current_snapshot_id()
}

fn kind(result: Result<Applied>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_branch_is_written_to_beside_main_and_moved_forward_to() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let committer = table(version).await;
        apply(&*committer, append(&[&file("a", 3)])).await.unwrap();
        let branch = create("audit", RefKind::Branch, None);
        apply(&*committer, branch).await.unwrap();
        apply(&*committer, on("audit", &[&file("b", 1)]))
            .await
            .unwrap();
        let applied = apply(&*committer, on("audit", &[&file("c", 1)]))
            .await
            .unwrap();
        assert_eq!(summary(applied.table())["total-records"], "3");
        assert_eq!(of_branch(&*committer, "audit").await, ["a", "b", "c"]);
        assert_eq!(of_branch(&*committer, "main").await, ["a"]);

        // A row delta and an overwrite see the branch that they are for, not main.
        let head = applied.snapshot_id();
        let mut delta = RowDelta {
            base: head,
            delete_files: vec![deletes_of("d", &file("b", 1), version == FormatVersion::V3)],
            ..RowDelta::default()
        };
        assert_eq!(
            kind(apply(&*committer, delta.clone()).await),
            ErrorKind::Conflict
        );
        delta.notes.branch = Some("audit".into());
        apply(&*committer, delta).await.unwrap();
        assert_eq!(of_branch(&*committer, "main").await, ["a"]);

        let forward = FastForward {
            branch: "main".into(),
            to: "audit".into(),
        };
        apply(&*committer, forward.clone()).await.unwrap();
        assert_eq!(of_branch(&*committer, "main").await, ["a", "b", "c"]);
        let again = apply(&*committer, forward.clone()).await.unwrap();
        assert!(matches!(again, Applied::Unchanged(_)));

        // From now on the two go apart.
        apply(&*committer, append(&[&file("e", 1)])).await.unwrap();
        apply(&*committer, on("audit", &[&file("f", 1)]))
            .await
            .unwrap();
        let error = apply(&*committer, forward).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("no ancestor"), "{error}");
    }
}

#[tokio::test]
async fn tags_stay_and_refs_are_made_once() {
    let committer = table(FormatVersion::V2).await;
    let tag = create("t", RefKind::Tag, None);
    let error = apply(&*committer, tag.clone()).await.unwrap_err();
    assert!(error.to_string().contains("no snapshot yet"), "{error}");
    apply(&*committer, append(&[&file("a", 3)])).await.unwrap();
    let first = head_id(&*committer).await;
    apply(&*committer, tag.clone()).await.unwrap();
    apply(&*committer, append(&[&file("b", 3)])).await.unwrap();
    assert_eq!(of_branch(&*committer, "t").await, ["a"]);

    let to_tag = apply(&*committer, on("t", &[&file("c", 1)])).await;
    assert_eq!(kind(to_tag), ErrorKind::InvalidInput);
    let to_none = apply(&*committer, on("nope", &[&file("c", 1)])).await;
    assert_eq!(kind(to_none), ErrorKind::NotFound);
    assert_eq!(
        kind(apply(&*committer, tag.clone()).await),
        ErrorKind::AlreadyExists
    );
    let as_branch = create("t", RefKind::Branch, None);
    assert_eq!(
        kind(apply(&*committer, as_branch).await),
        ErrorKind::InvalidInput
    );
    let kept = CreateRef {
        existing: Existing::Keep,
        ..tag.clone()
    };
    let kept = apply(&*committer, kept).await.unwrap();
    assert!(matches!(kept, Applied::Unchanged(_)));
    let replaced = CreateRef {
        existing: Existing::Replace,
        retention: RefRetention {
            max_ref_age_ms: Some(1_000),
            ..RefRetention::default()
        },
        ..tag.clone()
    };
    let table = apply(&*committer, replaced).await.unwrap().table().clone();
    let reference = &table.refs().unwrap()["t"];
    assert_ne!(Some(reference.snapshot_id), first);
    assert_eq!(
        reference.retention,
        iceberg::spec::SnapshotRetention::Tag {
            max_ref_age_ms: Some(1_000)
        }
    );
    let with_count = CreateRef {
        name: "u".into(),
        retention: RefRetention {
            min_snapshots_to_keep: Some(1),
            ..RefRetention::default()
        },
        ..tag.clone()
    };
    assert_eq!(
        kind(apply(&*committer, with_count).await),
        ErrorKind::InvalidInput
    );
    let unknown = create("v", RefKind::Branch, Some(42));
    assert_eq!(kind(apply(&*committer, unknown).await), ErrorKind::NotFound);

    let drop = |name: &str, kind, if_exists| DropRef {
        name: name.to_string(),
        kind,
        if_exists,
    };
    let main = apply(&*committer, drop("main", RefKind::Branch, false)).await;
    assert_eq!(kind(main), ErrorKind::InvalidInput);
    let wrong = apply(&*committer, drop("t", RefKind::Branch, true)).await;
    assert_eq!(kind(wrong), ErrorKind::InvalidInput);
    apply(&*committer, drop("t", RefKind::Tag, false))
        .await
        .unwrap();
    let gone = apply(&*committer, drop("t", RefKind::Tag, false)).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
    let gone = apply(&*committer, drop("t", RefKind::Tag, true))
        .await
        .unwrap();
    assert!(matches!(gone, Applied::Unchanged(_)));
}

#[tokio::test]
async fn a_branch_is_rolled_back_to_its_ancestors_only() {
    // The table is created at the time of the machine, and snapshots are never older than it.
    let environment = Environment::new(
        Arc::new(ManualClock::stepping(SystemClock.now_micros(), 5_000)),
        Arc::new(SeededIds::new(1)),
        Identity {
            application: "test".into(),
            principal: "tester".into(),
        },
    );
    let committer = table_in(FormatVersion::V2, environment).await;
    let mut snapshots = Vec::new();
    for name in ["a", "b", "c"] {
        let applied = apply(&*committer, append(&[&file(name, 1)])).await.unwrap();
        let snapshot = applied.table().current_snapshot().unwrap();
        snapshots.push((snapshot.snapshot_id(), snapshot.timestamp_ms()));
    }
    apply(&*committer, RollbackTo::new(snapshots[1].0))
        .await
        .unwrap();
    assert_eq!(of_branch(&*committer, "main").await, ["a", "b"]);
    let error = apply(&*committer, RollbackTo::new(snapshots[2].0))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("none of its ancestors"),
        "{error}"
    );
    let unknown = apply(&*committer, RollbackTo::new(7)).await;
    assert_eq!(kind(unknown), ErrorKind::NotFound);
    let same = apply(&*committer, RollbackTo::new(snapshots[1].0))
        .await
        .unwrap();
    assert!(matches!(same, Applied::Unchanged(_)));

    let forward = SetCurrentSnapshot::new(SnapshotSelector::Id(snapshots[2].0));
    apply(&*committer, forward).await.unwrap();
    assert_eq!(of_branch(&*committer, "main").await, ["a", "b", "c"]);
    // The time is exclusive, as Spark's procedure has it.
    let back = RollbackToTimestamp::new(snapshots[1].1);
    apply(&*committer, back).await.unwrap();
    assert_eq!(of_branch(&*committer, "main").await, ["a"]);
    let too_early = RollbackToTimestamp::new(snapshots[0].1);
    assert_eq!(
        kind(apply(&*committer, too_early).await),
        ErrorKind::NotFound
    );
    // What is appended now follows on what was rolled back to, and sequence numbers go on.
    let applied = apply(&*committer, append(&[&file("d", 1)])).await.unwrap();
    assert_eq!(of_branch(&*committer, "main").await, ["a", "d"]);
    let snapshot = applied.table().current_snapshot().unwrap();
    assert_eq!(snapshot.parent_snapshot_id(), Some(snapshots[0].0));
    assert_eq!(snapshot.sequence_number(), 4);
    assert_eq!(summary(applied.table())["total-records"], "2");
}

/// A committer beside which another writer appends just before the first commit.
#[tokio::test]
async fn a_rollback_takes_back_no_commit_that_it_did_not_see() {
    let committer = table(FormatVersion::V2).await;
    apply(&*committer, append(&[&file("a", 1)])).await.unwrap();
    let first = head_id(&*committer).await.unwrap();
    apply(&*committer, append(&[&file("b", 1)])).await.unwrap();
    let rollback = RollbackTo::new(first);
    let head = committer.load(&ident()).await.unwrap();
    assert!(rollback.plan(&head).await.unwrap().is_some());
    apply(&*committer, append(&[&file("c", 1)])).await.unwrap();
    let moved = committer.load(&ident()).await.unwrap();
    let error = rollback.plan(&moved).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(
        error.to_string().contains("moved by another commit"),
        "{error}"
    );
}

#[tokio::test]
async fn a_rollback_whose_answer_was_lost_is_found() {
    for fault in [
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late,
        Fault::Conflict,
    ] {
        let inner = table(FormatVersion::V2).await;
        apply(&*inner, append(&[&file("a", 1)])).await.unwrap();
        let first = head_id(&*inner).await.unwrap();
        apply(&*inner, append(&[&file("b", 1)])).await.unwrap();
        let committer = FaultyCommitter::new(inner.clone(), [fault]);
        let applied = apply(&committer, RollbackTo::new(first)).await.unwrap();
        assert_eq!(
            applied.table().metadata().current_snapshot_id(),
            Some(first)
        );
        assert_eq!(head_id(&*inner).await, Some(first), "{fault:?}");
        let log = applied.table().metadata().history().len();
        assert_eq!(log, 3, "{fault:?}: it was made once");
    }
}

#[tokio::test]
async fn an_append_of_another_line_is_taken_over_once() {
    let committer = table(FormatVersion::V3).await;
    apply(&*committer, append(&[&file("a", 3)])).await.unwrap();
    apply(&*committer, create("side", RefKind::Branch, None))
        .await
        .unwrap();
    let mut staged = on("side", &[&file("b", 2)]);
    staged.notes.summary.insert("wap.id".into(), "w1".into());
    let staged = apply(&*committer, staged)
        .await
        .unwrap()
        .snapshot_id()
        .unwrap();
    let more = apply(&*committer, on("side", &[&file("c", 5)]))
        .await
        .unwrap();
    let more = more.snapshot_id().unwrap();
    let pick = |snapshot_id| CherryPick {
        snapshot_id,
        branch: None,
    };
    // The side line still starts at the head of main: main moves there, and no snapshot is made.
    let applied = apply(&*committer, pick(staged)).await.unwrap();
    assert_eq!(applied.snapshot_id(), None);
    assert_eq!(head_id(&*committer).await, Some(staged));
    apply(&*committer, append(&[&file("d", 1)])).await.unwrap();
    let applied = apply(&*committer, pick(more)).await.unwrap();
    assert!(applied.snapshot_id().is_some_and(|id| id != more));
    assert_eq!(of_branch(&*committer, "main").await, ["a", "b", "c", "d"]);
    assert_eq!(
        summary(applied.table())["source-snapshot-id"],
        more.to_string()
    );
    // Rows of the two lines have ids of their own.
    let ids: Vec<_> = live(applied.table())
        .await
        .into_iter()
        .map(|f| (f.0, f.3))
        .collect();
    let id = |name: &str| ids.iter().find(|(n, _)| n == name).unwrap().1.unwrap();
    let side = applied.table().clone();
    let plan = side
        .scan()
        .snapshot(SnapshotSelector::Id(more))
        .plan()
        .await
        .unwrap();
    let theirs = plan
        .tasks
        .iter()
        .find(|t| t.file.file_path().ends_with("/c"))
        .unwrap();
    assert_ne!(Some(id("c")), theirs.file.first_row_id());

    for again in [more, staged] {
        let error = apply(&*committer, pick(again)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("already"), "{error}");
    }
}

#[tokio::test]
async fn a_staged_write_is_published_once_and_deletes_are_not_taken_over() {
    let committer = table(FormatVersion::V2).await;
    let a = file("a", 3);
    apply(&*committer, append(&[&a])).await.unwrap();
    for branch in ["one", "two", "three"] {
        apply(&*committer, create(branch, RefKind::Branch, None))
            .await
            .unwrap();
    }
    let mut picks = Vec::new();
    for branch in ["one", "two"] {
        let mut staged = on(branch, &[&file(branch, 2)]);
        staged.notes.summary.insert("wap.id".into(), "same".into());
        let staged = apply(&*committer, staged).await.unwrap();
        picks.push(staged.snapshot_id().unwrap());
    }
    let base = head_id(&*committer).await;
    let mut delta = RowDelta {
        base,
        delete_files: vec![deletes_of("d", &a, false)],
        ..RowDelta::default()
    };
    delta.notes.branch = Some("three".into());
    let deleted = apply(&*committer, delta)
        .await
        .unwrap()
        .snapshot_id()
        .unwrap();
    apply(&*committer, append(&[&file("b", 1)])).await.unwrap();
    let pick = |snapshot_id| CherryPick {
        snapshot_id,
        branch: None,
    };
    let applied = apply(&*committer, pick(picks[0])).await.unwrap();
    assert_eq!(summary(applied.table())["published-wap-id"], "same");
    let error = apply(&*committer, pick(picks[1])).await.unwrap_err();
    assert!(error.to_string().contains("taken over already"), "{error}");
    let error = apply(&*committer, pick(deleted)).await.unwrap_err();
    assert!(error.to_string().contains("only appends"), "{error}");
    assert_eq!(of_branch(&*committer, "main").await, ["a", "b", "one"]);
}
