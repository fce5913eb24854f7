//! Stores that others made, broke, locked or protect.

use std::path::Path;
use std::time::Duration;

use berglake_catalog::{Catalog, Journal, MetricsReport, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::Committer;
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Error, ErrorKind};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::support::*;

async fn raw(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("catalog.db"))
        .create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(connection).await.unwrap();
}

/// The tables as PyIceberg before 0.12 and Java without `jdbc.schema-version=V1` make them.
async fn make_v0(connection: &mut SqliteConnection) {
    run(
        connection,
        "CREATE TABLE iceberg_tables (
            catalog_name VARCHAR(255) NOT NULL,
            table_namespace VARCHAR(255) NOT NULL,
            table_name VARCHAR(255) NOT NULL,
            metadata_location VARCHAR(1000),
            previous_metadata_location VARCHAR(1000),
            PRIMARY KEY (catalog_name, table_namespace, table_name))",
    )
    .await;
    run(
        connection,
        "CREATE TABLE iceberg_namespace_properties (
            catalog_name VARCHAR(255) NOT NULL,
            namespace VARCHAR(255) NOT NULL,
            property_key VARCHAR(255) NOT NULL,
            property_value VARCHAR(1000) NOT NULL,
            PRIMARY KEY (catalog_name, namespace, property_key))",
    )
    .await;
}

/// The error says what it is and where, what to do, and gives the kind.
fn expect(error: &Error, kind: ErrorKind, place: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(place), "{error}");
    assert!(error.advice().is_some(), "{error}");
}

#[tokio::test]
async fn a_store_without_types_is_brought_up_to_date_and_its_tables_are_found() {
    let folder = tempfile::tempdir().unwrap();
    // A table made here gives a metadata file for the row that is moved to the old schema.
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    drop(catalog);
    let mut connection = raw(folder.path()).await;
    run(
        &mut connection,
        "ALTER TABLE iceberg_tables DROP COLUMN iceberg_type",
    )
    .await;

    // One that cannot be written is read as it is.
    let uri = format!(
        "sqlite:{}?mode=ro",
        folder.path().join("catalog.db").display()
    );
    let read_only = open(&uri, folder.path()).await.unwrap();
    assert_eq!(
        read_only.list_tables(&namespace("n")).await.unwrap().len(),
        2
    );
    read_only.load(&ident("n", "a")).await.unwrap();

    let catalog = sqlite(folder.path()).await;
    catalog.load(&ident("n", "a")).await.unwrap();
    catalog.create_table(table("n", "c")).await.unwrap();
    assert_eq!(catalog.list_tables(&namespace("n")).await.unwrap().len(), 3);
    let rows = sqlx::query("SELECT table_name, iceberg_type FROM iceberg_tables ORDER BY 1")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let types: Vec<(String, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [("a", None), ("b", None), ("c", Some("TABLE"))]
        .map(|(name, ty)| (name.to_string(), ty.map(str::to_string)));
    assert_eq!(types, expected);
}

#[tokio::test]
async fn an_empty_store_of_the_old_schema_is_used() {
    let folder = tempfile::tempdir().unwrap();
    make_v0(&mut raw(folder.path()).await).await;
    with_tables(&sqlite(folder.path()).await).await;
}

#[tokio::test]
async fn views_and_other_catalogs_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let mut connection = raw(folder.path()).await;
    run(
        &mut connection,
        "INSERT INTO iceberg_tables VALUES
            ('lake', 'n', 'view', 'file:///v.json', NULL, 'VIEW'),
            ('other', 'm', 'theirs', 'file:///t.json', NULL, 'TABLE')",
    )
    .await;
    let view = ident("n", "view");
    assert_eq!(catalog.list_tables(&namespace("n")).await.unwrap().len(), 2);
    assert!(!catalog.table_exists(&view).await.unwrap());
    let error = catalog.load(&view).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for purge in [false, true] {
        let error = catalog.drop_table(&view, purge).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    // The name is taken nevertheless.
    let error = catalog.create_table(table("n", "view")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let error = catalog
        .rename_table(&ident("n", "a"), &view)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let namespaces = catalog.list_namespaces(None).await.unwrap();
    assert_eq!(namespaces, [namespace("n")]);
}

#[tokio::test]
async fn the_rows_are_what_other_engines_expect() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let base = catalog.load(&ident("n", "a")).await.unwrap();
    let change = set(base.ident(), &base, &[("x", "1")]);
    let tables = committed(catalog.commit(vec![change]).await.unwrap());
    let mut connection = raw(folder.path()).await;
    let row = sqlx::query("SELECT * FROM iceberg_tables WHERE table_name = 'a'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    for (column, value) in [
        ("catalog_name", "lake"),
        ("table_namespace", "n"),
        ("table_name", "a"),
        ("metadata_location", tables[0].metadata_location()),
        ("previous_metadata_location", base.metadata_location()),
        ("iceberg_type", "TABLE"),
    ] {
        assert_eq!(row.get::<String, _>(column), value, "{column}");
    }
    let row = sqlx::query("SELECT * FROM iceberg_namespace_properties")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    for (column, value) in [
        ("namespace", "n"),
        ("property_key", "exists"),
        ("property_value", "true"),
    ] {
        assert_eq!(row.get::<String, _>(column), value, "{column}");
    }
}

#[tokio::test]
async fn files_that_are_no_catalog_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database at all\n".repeat(100)).unwrap();
    let at = |path: &Path| {
        let uri = format!("sqlite:{}", path.display());
        let folder = folder.path().to_path_buf();
        async move { open(&uri, &folder).await.unwrap_err() }
    };
    let error = at(&path).await;
    expect(&error, ErrorKind::Corrupt, "notes.txt");
    assert!(error.message().contains("no SQLite database"), "{error}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("not a database"), "the file is untouched");

    let error = at(folder.path()).await;
    expect(
        &error,
        ErrorKind::InvalidInput,
        &folder.path().display().to_string(),
    );
    // A file where a folder would have to be.
    let error = at(&path.join("below/catalog.db")).await;
    expect(&error, ErrorKind::Denied, "notes.txt");
}

#[tokio::test]
async fn a_read_only_store_can_be_read_and_refuses_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!(
        "sqlite:{}?mode=ro",
        folder.path().join("catalog.db").display()
    );
    let error = open(&uri, folder.path()).await.unwrap_err();
    expect(&error, ErrorKind::NotFound, "catalog.db");

    with_tables(&sqlite(folder.path()).await).await;
    let catalog = open(&uri, folder.path()).await.unwrap();
    let base = catalog.load(&ident("n", "a")).await.unwrap();
    let before = files(&base).await;
    let change = set(base.ident(), &base, &[("x", "1")]);
    let error = catalog.commit(vec![change]).await.unwrap_err();
    expect(&error, ErrorKind::Denied, "catalog.db");
    let error = catalog.create_table(table("n", "c")).await.unwrap_err();
    expect(&error, ErrorKind::Denied, "catalog.db");
    assert_eq!(files(&base).await, before, "no file of the failed commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_program_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    with_tables(&sqlite(folder.path()).await).await;
    let warehouse = Location::from_path(&folder.path().join("warehouse")).unwrap();
    let uri = format!("sqlite:{}", folder.path().join("catalog.db").display());
    let open = |busy_timeout| {
        let config = SqlCatalogConfig {
            busy_timeout,
            ..SqlCatalogConfig::new("lake", uri.clone(), warehouse.clone())
        };
        SqlCatalog::open(config, Storage::default(), Environment::default())
    };
    let hasty = open(Duration::from_millis(50)).await.unwrap();
    let patient = open(Duration::from_secs(60)).await.unwrap();
    let base = hasty.load(&ident("n", "a")).await.unwrap();
    let change = set(base.ident(), &base, &[("x", "1")]);

    let mut other = raw(folder.path()).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let error = hasty.commit(vec![change.clone()]).await.unwrap_err();
    expect(&error, ErrorKind::Unavailable, "catalog.db");
    let waiting = tokio::spawn(async move { patient.commit(vec![change]).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    run(&mut other, "ROLLBACK").await;
    committed(waiting.await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_wait_for_the_store_have_a_bound_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let journal = Journal::open(&catalog, Duration::from_secs(3600))
        .await
        .unwrap();
    // While another program holds the file nothing can be written.
    let mut other = raw(folder.path()).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let report = MetricsReport {
        table: ident("n", "a"),
        reported_at_ms: Environment::default().clock().now_millis(),
        principal: "ann".to_string(),
        report_type: "scan-report".to_string(),
        report: "x".repeat(4 << 20),
    };
    for _ in 0..6 {
        journal.report(report.clone());
    }
    run(&mut other, "ROLLBACK").await;
    journal.flush().await;
    let kept = journal.reports(&report.table, 10).await.unwrap();
    assert_eq!(kept.len(), 4, "16 MiB");
    // What was written makes room.
    journal.report(report.clone());
    journal.flush().await;
    let kept = journal.reports(&report.table, 10).await.unwrap();
    assert_eq!(kept.len(), 5);
}

#[tokio::test]
async fn a_metadata_file_that_is_gone_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let base = catalog.load(&ident("n", "a")).await.unwrap();
    let at = Location::parse(base.metadata_location()).unwrap();
    base.storage().delete(&at).await.unwrap();
    let fresh = sqlite(folder.path()).await;
    let error = fresh.load(&ident("n", "a")).await.unwrap_err();
    expect(&error, ErrorKind::Corrupt, base.metadata_location());
    // A broken table can be dropped, and does not stand in the way of others.
    fresh.load(&ident("n", "b")).await.unwrap();
    fresh.drop_table(&ident("n", "a"), false).await.unwrap();
}

#[tokio::test]
async fn credentials_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    for (uri, kind) in [
        (
            "postgres://ann:hunter2@127.0.0.1:1/lake",
            ErrorKind::Unavailable,
        ),
        (
            "postgres://ann:hunter2@127.0.0.1:port/lake",
            ErrorKind::InvalidInput,
        ),
        (
            "mysql://ann:hunter2@127.0.0.1/lake",
            ErrorKind::InvalidInput,
        ),
    ] {
        let error = open(uri, folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.advice().is_some(), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let warehouse = Location::parse("memory:///w").unwrap();
    let config = SqlCatalogConfig::new("lake", "postgres://ann:hunter2@h/lake", warehouse);
    assert!(!format!("{config:?}").contains("hunter2"));
    let catalog = sqlite(folder.path()).await;
    assert!(format!("{catalog:?}").contains("catalog.db"));
}

#[tokio::test]
async fn the_folder_of_the_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/catalog.db");
    let uri = format!("sqlite://{}", path.display());
    let catalog = open(&uri, folder.path()).await.unwrap();
    with_tables(&catalog).await;
    assert!(path.is_file());
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["catalog.db"], "the catalog is one file");
}
