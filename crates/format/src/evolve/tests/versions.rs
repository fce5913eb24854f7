use arrow::array::{ArrayRef, Int64Array};
use iceberg::expr::Reference;
use iceberg::spec::{Datum, ManifestFile, Operation as SnapshotOperation, Struct};

use super::*;
use crate::plan::manifest_list;
use crate::snapshot::Overwrite;

async fn upgraded(fixture: &mut Fixture, to: FormatVersion) {
    assert!(apply(fixture, &UpgradeFormat { to }).await.unwrap());
    assert_eq!(fixture.metadata.format_version(), to);
    let again = apply(fixture, &UpgradeFormat { to }).await.unwrap();
    assert!(!again, "it is of that version already");
}

async fn write(fixture: &mut Fixture, id: i64) {
    let table = fixture.table();
    let files = written(&table, &format!(r#"{{"id":{id}}}"#)).await;
    apply(fixture, &append(files)).await.unwrap();
}

async fn ids(fixture: &Fixture) -> Vec<String> {
    rows(&fixture.table(), SnapshotSelector::Head).await
}

/// A table of format version 1 with one row in each of two snapshots.
async fn version_1() -> Fixture {
    let mut fixture = Fixture::new(FormatVersion::V1, vec![required("id", LONG)]);
    for id in [1, 2] {
        let batch = fixture.batch(vec![Arc::new(Int64Array::from(vec![id])) as ArrayRef]);
        let file = fixture.data_in(&batch, Struct::empty()).await;
        fixture
            .commit(SnapshotOperation::Append, vec![(0, file)])
            .await;
    }
    fixture
}

#[tokio::test]
async fn a_table_goes_from_version_1_to_2_to_3_and_is_read_and_written_at_each() {
    let mut fixture = version_1().await;
    let first = fixture.metadata.current_snapshot_id().unwrap();
    assert_eq!(ids(&fixture).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
    upgraded(&mut fixture, FormatVersion::V2).await;
    assert_eq!(ids(&fixture).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
    write(&mut fixture, 3).await;
    upgraded(&mut fixture, FormatVersion::V3).await;
    assert_eq!(ids(&fixture).await.len(), 3);
    write(&mut fixture, 4).await;
    assert_eq!(
        ids(&fixture).await,
        [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#, r#"{"id":4}"#]
    );
    let then = rows(&fixture.table(), SnapshotSelector::Id(first)).await;
    assert_eq!(then, [r#"{"id":1}"#, r#"{"id":2}"#]);
    // Rows of all versions have ids from the first snapshot of version 3 on, each its own.
    let table = fixture.table();
    let plan = table.scan().plan().await.unwrap();
    let mut row_ids: Vec<_> = plan.tasks.iter().map(|t| t.file.first_row_id()).collect();
    row_ids.sort();
    assert_eq!(row_ids, [Some(0), Some(1), Some(2), Some(3)]);
    // A manifest of version 1 is written again where one of its files goes.
    let removal = Overwrite {
        filter: Reference::new("id").less_than_or_equal_to(Datum::long(2)),
        files: Vec::new(),
        notes: CommitNotes::default(),
    };
    apply(&mut fixture, &removal).await.unwrap();
    assert_eq!(ids(&fixture).await, [r#"{"id":3}"#, r#"{"id":4}"#]);
}

#[tokio::test]
async fn a_table_goes_from_version_1_to_3_at_once() {
    let mut fixture = version_1().await;
    upgraded(&mut fixture, FormatVersion::V3).await;
    assert_eq!(ids(&fixture).await.len(), 2);
    write(&mut fixture, 3).await;
    assert_eq!(ids(&fixture).await.len(), 3);
}

#[tokio::test]
async fn lists_of_version_1_without_counts_are_read_and_carried_on_after_an_upgrade() {
    for to in [FormatVersion::V2, FormatVersion::V3] {
        let mut fixture = version_1().await;
        let without = |manifest: ManifestFile| ManifestFile {
            added_files_count: None,
            existing_files_count: None,
            deleted_files_count: None,
            added_rows_count: None,
            existing_rows_count: None,
            deleted_rows_count: None,
            ..manifest
        };
        let manifests = fixture.manifests().await.into_iter().map(without).collect();
        fixture
            .commit_manifests(SnapshotOperation::Append, manifests)
            .await;
        assert_eq!(ids(&fixture).await.len(), 2);
        upgraded(&mut fixture, to).await;
        assert_eq!(ids(&fixture).await.len(), 2);
        let table = fixture.table();
        let list = manifest_list(&table, table.current_snapshot().unwrap());
        let counts = list.await.unwrap();
        let counts = counts
            .iter()
            .map(|m| (m.added_files_count, m.added_rows_count));
        assert_eq!(counts.collect::<Vec<_>>(), [(Some(1), Some(1)); 2]);
        write(&mut fixture, 3).await;
        assert_eq!(ids(&fixture).await.len(), 3, "{to}");
    }
}

#[tokio::test]
async fn a_table_never_goes_back() {
    let fixture = Fixture::new(FormatVersion::V3, vec![required("id", LONG)]);
    let to = FormatVersion::V2;
    let text = refused(&fixture, &UpgradeFormat { to }).await;
    assert!(text.contains("never goes back"), "{text}");
}
