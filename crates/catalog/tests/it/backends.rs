//! The suites on each store.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{CommitOutcome, Committer};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, ErrorKind};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::served::Served;
use crate::support::*;
use crate::{conformance, races, recovery, server};

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

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_sqlite_file_are_recovered() {
    let folder = tempfile::tempdir().unwrap();
    recovery::suite([sqlite(folder.path()).await, sqlite(folder.path()).await]).await;
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
async fn tables_of_postgres_are_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique();
    let first = on_postgres(&name, folder.path()).await;
    recovery::suite([first, on_postgres(&name, folder.path()).await]).await;
}

/// A wire to PostgreSQL that falls silent when it has carried a COMMIT: the server hears it, and its
/// answer never comes.
async fn silent_after_commit(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let answers = tokio::spawn(async move {
                    tokio::io::copy(&mut from_server, &mut to_client).await.ok();
                });
                let mut bytes = vec![0; 1 << 16];
                loop {
                    let read = from_client.read(&mut bytes).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    let silent = bytes[..read].windows(7).any(|word| word == b"COMMIT\0");
                    if silent {
                        answers.abort();
                    }
                    to_server.write_all(&bytes[..read]).await.unwrap();
                }
            });
        }
    });
    address
}

/// The same catalog, with little patience, at another address.
async fn impatient_on_postgres(
    name: &str,
    folder: &Path,
    address: Option<SocketAddr>,
) -> SqlCatalog {
    let mut uri = url::Url::parse(&postgres()).unwrap();
    if let Some(address) = address {
        uri.set_host(Some(&address.ip().to_string())).unwrap();
        uri.set_port(Some(address.port())).unwrap();
    }
    let warehouse = Location::from_path(&folder.join("warehouse")).unwrap();
    let config = SqlCatalogConfig {
        answer_timeout: Duration::from_secs(3),
        ..SqlCatalogConfig::new(name, uri.as_str(), warehouse)
    };
    SqlCatalog::open(config, Storage::default(), Environment::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn a_commit_that_postgres_never_answers_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique();
    let direct = on_postgres(&name, folder.path()).await;
    with_tables(&direct).await;
    let uri = url::Url::parse(&postgres()).unwrap();
    let server = uri.socket_addrs(|| Some(5432)).unwrap()[0];
    let wire = silent_after_commit(server).await;
    let catalog = impatient_on_postgres(&name, folder.path(), Some(wire)).await;
    let base = catalog.load(&ident("n", "a")).await.unwrap();
    let change = set(base.ident(), &base, &[("x", "1")]);
    let outcome = catalog.commit(vec![change]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
    // The connection that fell silent is not used again.
    let there = catalog.load(base.ident()).await.unwrap();
    assert_eq!(there.metadata().properties()["x"], "1");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL server: set BERGLAKE_TEST_POSTGRES and run with --include-ignored"]
async fn a_lock_that_somebody_keeps_in_postgres_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique();
    let catalog = impatient_on_postgres(&name, folder.path(), None).await;
    with_tables(&catalog).await;
    let mut other = PgConnection::connect(&postgres()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(hashtext('berglake'), hashtext($1))")
        .bind(name)
        .execute(&mut other)
        .await
        .unwrap();
    let error = catalog.create_table(table("n", "c")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("holds a lock"), "{error}");
    other.close().await.unwrap();
    catalog.create_table(table("n", "c")).await.unwrap();
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
