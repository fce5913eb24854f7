//! Several operations in one commit.

use super::*;
use crate::commit::Sequence;
use crate::plan::SnapshotSelector;

fn both(version_of: &CommitNotes) -> Sequence {
    Sequence::new(vec![
        Arc::new(Append {
            files: vec![file("a", 3)],
            notes: version_of.clone(),
        }),
        Arc::new(CreateRef {
            name: "loaded".into(),
            kind: RefKind::Tag,
            snapshot_id: None,
            retention: RefRetention::default(),
            existing: Existing::Replace,
        }),
        Arc::new(Append {
            files: vec![file("b", 2)],
            notes: version_of.clone(),
        }),
    ])
}

#[tokio::test]
async fn each_operation_sees_what_the_ones_before_it_leave_and_all_are_one_commit() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let committer = table(version).await;
        let before = committer.load(&ident()).await.unwrap();
        let sequence = both(&CommitNotes::default());
        let applied = apply(&*committer, sequence).await.unwrap();
        let table = applied.table();
        assert_eq!(before.metadata().metadata_log().len(), 0);
        assert_eq!(table.metadata().metadata_log().len(), 1, "one commit");
        assert_eq!(table.metadata().snapshots().count(), 2);
        assert_eq!(live(table).await.len(), 2);
        let tagged = table
            .scan()
            .snapshot(SnapshotSelector::Ref("loaded".into()));
        assert_eq!(tagged.plan().await.unwrap().tasks.len(), 1);
        if version == FormatVersion::V3 {
            let rows: Vec<_> = live(table).await.iter().map(|f| f.3).collect();
            assert_eq!(rows, [Some(0), Some(3)]);
            assert_eq!(table.metadata().next_row_id(), 5);
        }
    }
}

#[tokio::test]
async fn a_sequence_is_found_after_a_lost_answer_and_planned_anew_after_a_conflict() {
    for fault in [
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late,
        Fault::Conflict,
    ] {
        let inner = table(FormatVersion::V2).await;
        let committer = FaultyCommitter::new(inner.clone(), [fault, fault]);
        let sequence = both(&CommitNotes::default());
        apply(&committer, sequence).await.unwrap();
        let table = inner.load(&ident()).await.unwrap();
        assert_eq!(table.metadata().snapshots().count(), 2, "{fault:?}");
        assert_eq!(live(&table).await.len(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn where_one_fails_nothing_is_changed_and_no_file_stays() {
    let committer = table(FormatVersion::V2).await;
    let folder = Location::parse("memory:///wh/db/t/metadata").unwrap();
    let before = committer.load(&ident()).await.unwrap();
    let files = async || {
        let mut listed: Vec<_> =
            futures::TryStreamExt::try_collect::<Vec<_>>(before.storage().list(&folder).unwrap())
                .await
                .unwrap()
                .into_iter()
                .map(|info| info.location.to_string())
                .collect();
        listed.sort();
        listed
    };
    let listed = files().await;
    let sequence = Sequence::new(vec![
        Arc::new(append(&[&file("a", 3)])),
        Arc::new(RollbackTo::new(42)),
    ]);
    let error = apply(&*committer, sequence).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let after = committer.load(&ident()).await.unwrap();
    assert_eq!(after.metadata_location(), before.metadata_location());
    assert_eq!(files().await, listed);
}

#[tokio::test]
async fn nothing_to_do_is_no_commit() {
    let committer = table(FormatVersion::V2).await;
    let applied = apply(&*committer, Sequence::new(Vec::new())).await.unwrap();
    assert!(matches!(applied, Applied::Unchanged(_)));
}
