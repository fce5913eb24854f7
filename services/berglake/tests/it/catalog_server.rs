//! The catalog server as a process: it is killed while clients commit, and started again.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berglake_catalog::rest::{RestCatalog, RestCatalogConfig};
use berglake_catalog::{SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{Committer, RetryPolicy, Transaction};
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};

use crate::support::{Project, client, ran_without_proxies};

const WRITERS: usize = 4;
const COMMITS: usize = 10;
const KILLS: u64 = 8;
/// What the server has said since it was started last.
const LOG: &str = "server.log";

/// A catalog server of its own process, killed when it is dropped.
struct Served {
    child: Child,
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    async fn start(project: &Project, port: u16) -> Self {
        let client = client();
        let url = format!("http://127.0.0.1:{port}/health/ready");
        let mut served = Self::spawn(project, port);
        for _ in 0..1_200 {
            let answer = client.get(&url).timeout(Duration::from_secs(5)).send();
            if answer
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return served;
            }
            if let Some(ended) = served.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(project.path(LOG)).unwrap_or_default();
                // While no server listens, another process may be given its port for a while.
                assert_eq!(ended.code(), Some(3), "the catalog server ended: {said}");
                served = Self::spawn(project, port);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = std::fs::read_to_string(project.path(LOG)).unwrap_or_default();
        panic!("the catalog server did not become ready: {said}");
    }

    fn spawn(project: &Project, port: u16) -> Self {
        let child = project
            .command(&["serve", "catalog"])
            .env(
                "BERGLAKE_CATALOG__SERVER__LISTEN",
                format!("127.0.0.1:{port}"),
            )
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(project.path(LOG)).unwrap())
            .spawn()
            .unwrap();
        Self { child }
    }
}

fn table() -> TableIdent {
    TableIdent::new(NamespaceIdent::new("n".into()), "t".into())
}

fn tokens(table: &Table) -> Vec<String> {
    let mut tokens: Vec<String> = table
        .metadata()
        .snapshots()
        .filter_map(|snapshot| snapshot.summary().additional_properties.get("token"))
        .cloned()
        .collect();
    tokens.sort_unstable();
    tokens
}

/// The same until the server is there: loading changes nothing.
async fn load(catalog: &RestCatalog) -> Table {
    let mut last = None;
    for _ in 0..3_000 {
        match catalog.load(&table()).await {
            Ok(table) => return table,
            Err(error) => {
                assert!(is_away(&error), "{error}");
                last = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the table cannot be loaded: {last:?}");
}

/// Whether the server was away: only then may anything fail here.
fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::UnknownOutcome
    )
}

/// Commits an append with this token, and makes sure that it is there.
async fn append(catalog: &RestCatalog, token: &str) {
    // There are fewer kills than this, and nothing else is a reason to try again.
    for _ in 0..100 {
        let append = Append {
            files: Vec::new(),
            notes: CommitNotes {
                summary: [("token".to_string(), token.to_string())].into(),
                ..CommitNotes::default()
            },
        };
        let patient = RetryPolicy {
            retries: 200,
            min_wait: Duration::from_millis(2),
            max_wait: Duration::from_millis(100),
            ..RetryPolicy::default()
        };
        let committed = Transaction::new(catalog)
            .step(table(), append)
            .retry(patient)
            .commit()
            .await;
        match committed {
            Ok(_) => return,
            Err(error) => {
                assert!(is_away(&error), "{error}");
                // Unknown stays unknown only until somebody looks.
                let there = tokens(&load(catalog).await);
                if there.iter().any(|other| other == token) {
                    return;
                }
            }
        }
    }
    panic!("{token} cannot be committed");
}

async fn embedded(project: &Project) -> Result<SqlCatalog> {
    let uri = format!("sqlite:{}", project.path(".berglake/catalog.db").display());
    let warehouse = Location::from_path(&project.path(".berglake/warehouse"))?;
    let config = SqlCatalogConfig::new("berglake", uri, warehouse);
    SqlCatalog::open(config, Storage::default(), Environment::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_over_rest_is_made_once_although_the_server_is_killed() {
    if ran_without_proxies(
        "catalog_server::every_commit_over_rest_is_made_once_although_the_server_is_killed",
    ) {
        return;
    }
    let project = Project::with_config("[project]\nname = \"test\"\n");
    project.run(&["sql", "-c", "CREATE NAMESPACE n"]).ok();
    project
        .run(&["sql", "-c", "CREATE TABLE n.t (id BIGINT)"])
        .ok();
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let mut served = Served::start(&project, port).await;
    let warehouse = Location::from_path(&project.path(".berglake/warehouse")).unwrap();
    let uri = format!("http://127.0.0.1:{port}");
    let config = RestCatalogConfig::new("berglake", uri, warehouse);
    let catalog = RestCatalog::connect(config, Storage::default(), Environment::default())
        .await
        .unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (catalog, done) = (catalog.clone(), done.clone());
        writers.spawn(async move {
            let mut commits = 0;
            // At least as many as are asked for, and as long as there are kills to come.
            while commits < COMMITS || !done.load(Ordering::Relaxed) {
                append(&catalog, &format!("{writer}.{commits}")).await;
                commits += 1;
            }
            (writer, commits)
        });
    }
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(60 + kill * 83 % 240)).await;
        drop(served);
        served = Served::start(&project, port).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    while let Some(joined) = writers.join_next().await {
        let (writer, commits) = joined.unwrap();
        expected.extend((0..commits).map(|commit| format!("{writer}.{commit}")));
    }
    expected.sort_unstable();
    drop(served);

    // What the store has is what was committed, looked at without any server.
    let table = embedded(&project)
        .await
        .unwrap()
        .load(&table())
        .await
        .unwrap();
    assert_eq!(tokens(&table), expected);
    let head = table.metadata().current_snapshot_id();
    assert_eq!(table.ancestors(head).count(), expected.len());
}
