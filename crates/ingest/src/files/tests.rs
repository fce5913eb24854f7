use object_store::memory::InMemory;
use object_store::{PutPayload, path::Path};

use super::*;

fn names(listing: &Listing) -> Vec<&str> {
    listing
        .files
        .iter()
        .map(|file| file.location.rsplit_once('/').unwrap().1)
        .collect()
}

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "b.json",
        "a.json",
        "c d%20é.json",
        "x.csv",
        ".hidden.json",
        "_SUCCESS",
        "sub/d.json",
        "sub/deep/e.json",
        "sub/_tmp/f.json",
        "other/g.json",
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    let root = folder.path().to_str().unwrap().to_owned();
    (folder, root)
}

#[tokio::test]
async fn paths_and_patterns_list_files_by_location() {
    let (_folder, root) = folder();
    let store = FileStore::local();
    for (pattern, expected) in [
        ("/a.json", vec!["a.json"]),
        ("/./sub/../a.json", vec!["a.json"]),
        ("/c d%20é.json", vec!["c d%20é.json"]),
        ("/*.json", vec!["a.json", "b.json", "c d%20é.json"]),
        ("//*.json", vec!["a.json", "b.json", "c d%20é.json"]),
        ("/c*%20*", vec!["c d%20é.json"]),
        ("/[ab].{json,csv}", vec!["a.json", "b.json"]),
        ("/", vec!["a.json", "b.json", "c d%20é.json", "x.csv"]),
        ("", vec!["a.json", "b.json", "c d%20é.json", "x.csv"]),
        ("/.hidden.json", vec![".hidden.json"]),
        ("/*/*.json", vec!["g.json", "d.json"]),
        ("/*/deep/e.json", vec!["e.json"]),
        (
            "/**/*.json",
            vec![
                "a.json",
                "b.json",
                "c d%20é.json",
                "g.json",
                "d.json",
                "e.json",
            ],
        ),
        ("/sub/**", vec!["d.json", "e.json"]),
    ] {
        let listing = store.list(&format!("{root}{pattern}")).await.unwrap();
        assert_eq!(names(&listing), expected, "{pattern}");
        assert_eq!(listing.warning, None);
    }
    let listing = store.list(&format!("file://{root}/a.json")).await.unwrap();
    let file = &listing.files[0];
    assert_eq!(*file.location, format!("file://{root}/a.json"));
    assert_eq!(file.size, 6);
    assert!(file.e_tag.is_some());
    assert_eq!(store.read(file, 0..file.size).await.unwrap(), "a.json");
    let spaced = store.list(&format!("{root}/c*")).await.unwrap();
    assert_eq!(store.read(&spaced.files[0], 0..3).await.unwrap(), "c d");
}

#[tokio::test]
async fn a_missing_path_is_an_error_and_a_pattern_without_match_a_warning() {
    let (_folder, root) = folder();
    let store = FileStore::local();
    for missing in ["/nothing.json", "/nothing/", "/sub/deep/none/x.json"] {
        let error = store.list(&format!("{root}{missing}")).await.unwrap_err();
        assert!(matches!(error, IngestError::FileNotFound { .. }), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    for empty in ["/*.parquet", "/none/*.json", "/**/none.json"] {
        let listing = store.list(&format!("{root}{empty}")).await.unwrap();
        assert!(listing.files.is_empty());
        assert!(listing.warning.unwrap().contains(empty));
    }
    for bad in [
        "relative/*.json",
        "/a/[x.json",
        "s3://bucket/x",
        "s3://bucket/a/../b.json",
        "file://host/x.json",
    ] {
        let error = store.list(bad).await.unwrap_err();
        assert!(
            matches!(error, IngestError::BadPattern { .. }),
            "{bad}: {error}"
        );
    }
}

#[tokio::test]
async fn buckets_are_listed_like_folders() {
    let memory = Arc::new(InMemory::new());
    for key in [
        "in/b.json",
        "in/a%20 b.json",
        "in/deep/c.json",
        "out/d.json",
    ] {
        let path = Path::parse(key).unwrap();
        memory
            .put(&path, PutPayload::from_static(b"{}"))
            .await
            .unwrap();
    }
    let root = StoreRoot::S3 {
        bucket: "bucket".to_owned(),
    };
    let storage = Storage::default();
    storage.register(root.clone(), memory);
    let store = FileStore::of(&storage, "s3a://bucket/in/*.json").unwrap();
    for (pattern, expected) in [
        ("s3://bucket/in/*.json", vec!["a%20 b.json", "b.json"]),
        ("s3a://bucket//in", vec!["a%20 b.json", "b.json"]),
        ("s3://bucket/**/?.json", vec!["b.json", "c.json", "d.json"]),
        ("s3://bucket/in/a%20 b.json", vec!["a%20 b.json"]),
    ] {
        let listing = store.list(pattern).await.unwrap();
        assert_eq!(names(&listing), expected, "{pattern}");
        assert!(listing.files[0].location.starts_with("s3://bucket/"));
    }
    let error = store.list("s3://other/in/*.json").await.unwrap_err();
    assert!(matches!(error, IngestError::BadPattern { .. }), "{error}");
}
