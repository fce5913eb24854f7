//! Manifest lists and manifests that are missing or damaged.

use iceberg::spec::{Snapshot, Summary};

use super::*;

#[tokio::test]
async fn missing_and_corrupt_metadata_files_are_errors_with_their_path() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let data = rows(&mut fixture, 0..5, "a").await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let manifest = fixture.manifests().await[0].manifest_path.clone();
    let list = fixture
        .metadata
        .current_snapshot()
        .unwrap()
        .manifest_list()
        .to_string();
    for path in [manifest, list] {
        let location = Location::parse(&path).unwrap();
        let bytes = fixture.storage.read(&location).await.unwrap();
        fixture.storage.delete(&location).await.unwrap();
        let error = fixture.table().scan().plan().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(&path), "{error}");
        for damaged in [bytes.slice(..bytes.len() / 2), vec![7u8; 100].into()] {
            fixture.storage.write(&location, damaged).await.unwrap();
            let error = fixture.table().scan().plan().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&path), "{error}");
        }
        for at in (0..bytes.len()).step_by(11) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x55;
            fixture
                .storage
                .write(&location, damaged.into())
                .await
                .unwrap();
            // An error or a plan, but no panic.
            let _ = fixture.table().scan().plan().await;
        }
        fixture.storage.write(&location, bytes).await.unwrap();
    }
    assert_eq!(plan(&fixture, Predicate::AlwaysTrue).await.tasks.len(), 1);
}

/// Commits the manifests of the head again, with changes that the list then claims of them.
async fn claimed(change: impl Fn(&mut ManifestFile)) -> Error {
    let mut fixture = by_kind();
    let data = rows(&mut fixture, 0..5, "a").await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let mut manifests = fixture.manifests().await;
    manifests.iter_mut().for_each(change);
    fixture
        .commit_manifests(Operation::Replace, manifests)
        .await;
    let error = fixture.table().scan().plan().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error.to_string().contains("path: memory:///wh/t/metadata/"),
        "{error}"
    );
    error
}

#[tokio::test]
async fn what_a_list_says_of_a_manifest_must_be_so() {
    let error = claimed(|manifest| manifest.added_files_count = Some(2)).await;
    assert!(error.message().contains("another number of files"));
    let error = claimed(|manifest| manifest.existing_files_count = Some(1)).await;
    assert!(error.message().contains("another number of files"));
    let error = claimed(|manifest| manifest.added_files_count = Some(0)).await;
    assert!(error.message().contains("rows in no files"));
    let error = claimed(|manifest| manifest.partition_spec_id = 7).await;
    assert!(error.message().contains("partition spec"));
    let error = claimed(|manifest| manifest.sequence_number = 99).await;
    assert!(error.message().contains("sequence number"));
    let error = claimed(|manifest| manifest.min_sequence_number = 2).await;
    assert!(error.message().contains("sequence number"));
}

#[tokio::test]
async fn a_list_that_lacks_what_its_snapshot_added_is_corrupt() {
    for (key, content) in [
        ("added-data-files", ManifestContentType::Data),
        ("added-delete-files", ManifestContentType::Deletes),
        ("total-data-files", ManifestContentType::Data),
    ] {
        let mut fixture = Fixture::new(FormatVersion::V2, fields());
        let data = rows(&mut fixture, 0..5, "a").await;
        let deletes = fixture
            .position_deletes(&[(data.file_path(), 0)], true)
            .await;
        let deletes = deletes.build().unwrap();
        let added = vec![(0, data), (0, deletes)];
        fixture.commit(Operation::Overwrite, added).await;
        let mut manifests = fixture.manifests().await;
        // The total is only looked at where there is no manifest at all.
        manifests.retain(|manifest| key != "total-data-files" && manifest.content != content);
        let table = fixture.table();
        let snapshot = fixture.metadata.current_snapshot().unwrap();
        check::list(table.metadata(), snapshot, &manifests).unwrap();
        let counts = HashMap::from([(key.to_string(), "1".to_string())]);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(snapshot.snapshot_id())
            .with_sequence_number(snapshot.sequence_number())
            .with_timestamp_ms(snapshot.timestamp_ms())
            .with_manifest_list(snapshot.manifest_list())
            .with_summary(Summary {
                operation: Operation::Overwrite,
                additional_properties: counts,
            })
            .build();
        let error = check::list(table.metadata(), &snapshot, &manifests).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let message = error.to_string();
        assert!(
            message.contains(key) && message.contains(snapshot.manifest_list()),
            "{message}"
        );
    }
}
