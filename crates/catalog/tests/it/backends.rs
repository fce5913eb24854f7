//! The suites on each store.

use std::path::Path;

use berglake_catalog::{SqlCatalog, SqlCatalogConfig};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, ErrorKind};

use crate::served::Served;
use crate::support::{open, sqlite};
use crate::{conformance, races, server};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_a_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::suite(&sqlite(folder.path()).await).await;
}

async fn in_memory() -> SqlCatalog {
    let warehouse = Location::parse("memory:///warehouse").unwrap();
    let config = SqlCatalogConfig::new("lake", "sqlite::memory:", warehouse);
    let catalog = SqlCatalog::open(config, Storage::default(), Environment::default());
    catalog.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_memory_conforms() {
    conformance::suite(&in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_sqlite_file_answers_as_specified() {
    let folder = tempfile::tempdir().unwrap();
    server::suite(&sqlite(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_sqlite_in_memory_answers_as_specified() {
    server::suite(&in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_over_a_sqlite_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::new(sqlite(folder.path()).await).await;
    conformance::suite(&served.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_over_sqlite_in_memory_conforms() {
    let served = Served::new(in_memory().await).await;
    conformance::suite(&served.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rest_servers_over_a_sqlite_file_survive_races() {
    let folder = tempfile::tempdir().unwrap();
    let first = Served::new(sqlite(folder.path()).await).await;
    let second = Served::new(sqlite(folder.path()).await).await;
    races::suite([first.client().await, second.client().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_open_twice_survives_races() {
    let folder = tempfile::tempdir().unwrap();
    let twice = [sqlite(folder.path()).await, sqlite(folder.path()).await];
    races::suite(twice).await;
}

/// The server to test on: without it these tests fail, they never pass unseen.
fn postgres() -> String {
    std::env::var("BERGLAKE_TEST_POSTGRES")
        .expect("set BERGLAKE_TEST_POSTGRES to the URI of a PostgreSQL database")
}

/// A handle on a catalog of this name. Each test has a name of its own in the one database.
async fn on_postgres(name: &str, folder: &Path) -> SqlCatalog {
    let warehouse = Location::from_path(&folder.join("warehouse")).unwrap();
    let config = SqlCatalogConfig::new(name, postgres(), warehouse);
    SqlCatalog::open(config, Storage::default(), Environment::default())
        .await
        .unwrap()
}

fn unique() -> String {
    format!("test-{}", Environment::default().ids().uuid())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn postgres_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::suite(&on_postgres(&unique(), folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn rest_over_postgres_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::new(on_postgres(&unique(), folder.path()).await).await;
    conformance::suite(&served.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn two_rest_servers_over_postgres_survive_races() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique();
    let first = Served::new(on_postgres(&name, folder.path()).await).await;
    let second = Served::new(on_postgres(&name, folder.path()).await).await;
    races::suite([first.client().await, second.client().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn a_server_on_postgres_answers_as_specified() {
    let folder = tempfile::tempdir().unwrap();
    server::suite(&on_postgres(&unique(), folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn postgres_open_twice_survives_races() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique();
    let first = on_postgres(&name, folder.path()).await;
    races::suite([first, on_postgres(&name, folder.path()).await]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn postgres_refusals_say_what_is_wrong_and_never_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let good = url::Url::parse(&postgres()).unwrap();
    let mut wrong_password = good.clone();
    wrong_password.set_password(Some("hunter2")).unwrap();
    let mut no_database = good.clone();
    no_database.set_path("/there_is_no_such_database");
    for (uri, kind) in [
        (wrong_password, ErrorKind::Denied),
        (no_database, ErrorKind::NotFound),
    ] {
        let error = open(uri.as_str(), folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
        if let Some(password) = good.password() {
            assert!(!text.contains(password), "{text}");
        }
        assert!(error.advice().is_some());
    }
}
