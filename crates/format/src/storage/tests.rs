use futures::TryStreamExt;

use super::*;

async fn names(storage: &Storage, folder: &Location) -> Vec<String> {
    let mut names: Vec<String> = storage
        .list(folder)
        .unwrap()
        .map_ok(|file| file.location.to_string())
        .try_collect()
        .await
        .unwrap();
    names.sort();
    names
}

/// One conformance suite for every kind of store.
async fn conforms(root: Location) {
    let storage = Storage::default();
    let file = root.join("t/name=a%20b/f 1.parquet");
    assert!(!storage.exists(&file).await.unwrap());
    assert_eq!(
        storage.read(&file).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    storage
        .create(&file, Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    let again = storage
        .create(&file, Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(storage.read(&file).await.unwrap().as_ref(), b"0123456789");
    assert_eq!(
        storage.read_range(&file, 2..5).await.unwrap().as_ref(),
        b"234"
    );
    assert_eq!(storage.head(&file).await.unwrap().size, 10);
    storage
        .write(&file, Bytes::from_static(b"new"))
        .await
        .unwrap();
    storage
        .write(&root.join("t2/other"), Bytes::from_static(b"o"))
        .await
        .unwrap();
    assert_eq!(
        names(&storage, &root.join("t")).await,
        vec![file.to_string()]
    );
    assert_eq!(
        names(&storage, &root.join("nothing")).await,
        Vec::<String>::new()
    );

    let io = storage.file_io();
    assert_eq!(
        io.new_input(file.to_string())
            .unwrap()
            .read()
            .await
            .unwrap()
            .as_ref(),
        b"new"
    );
    io.delete_prefix(root.join("t").to_string()).await.unwrap();
    assert!(!storage.exists(&file).await.unwrap());
    assert!(storage.exists(&root.join("t2/other")).await.unwrap());
    storage.delete(&file).await.unwrap();
}

#[tokio::test]
async fn local_files_conform() {
    let folder = tempfile::tempdir().unwrap();
    conforms(
        Location::from_path(folder.path())
            .unwrap()
            .join("with space/100%"),
    )
    .await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(Location::parse("memory:///wh").unwrap()).await;
}

/// Of many who create one file at once, one does, and it is as that one wrote it. Who looks first and writes
/// then lets the last one win.
async fn one_creates(root: Location) {
    let storage = Storage::default();
    for round in 0..20 {
        let file = root.join(&format!("race/{round}"));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8_u8 {
            let (storage, file) = (storage.clone(), file.clone());
            writers.spawn(async move {
                let bytes = Bytes::from(vec![writer; 10_000]);
                (writer, storage.create(&file, bytes).await)
            });
        }
        let mut winners = Vec::new();
        for (writer, outcome) in writers.join_all().await {
            match outcome {
                Ok(_) => winners.push(writer),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let found = storage.read(&file).await.unwrap();
        assert!(found.len() == 10_000 && found.iter().all(|byte| *byte == winners[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_create_a_file_at_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    one_creates(Location::from_path(folder.path()).unwrap()).await;
    one_creates(Location::parse("memory:///wh").unwrap()).await;
}

#[test]
fn credentials_are_not_printed() {
    let config: StorageConfig = serde_json::from_str(
        r#"{"s3": {"endpoint": "http://h:1", "access-key-id": "AKIA-id", "secret-access-key": "hunter2"}}"#,
    )
    .unwrap();
    let printed = format!("{config:?} {:?}", Storage::new(config.clone()));
    assert!(
        !printed.contains("hunter2") && !printed.contains("AKIA-id"),
        "{printed}"
    );
}
