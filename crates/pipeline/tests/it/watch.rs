//! Flows that are followed: news flows on by itself, a flow that fails fails alone, and whoever was
//! away comes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::{CommitOutcome, Committer, TableChange};
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};
use berglake_pipeline::report::FlowReport;
use berglake_pipeline::watch::{FlowState, Heads, Selection, Stage, Watch, WatchObserver};
use berglake_pipeline::{Observer, Resume, RunOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lake::{Lake, events, lines};

const GOLD: &str = "SELECT n, total FROM gold.total";

/// Remembers what it hears.
#[derive(Default)]
struct Ears {
    states: Mutex<Vec<(String, FlowState)>>,
    reports: Mutex<Vec<FlowReport>>,
}

impl Observer for Ears {
    fn flow_finished(&self, report: &FlowReport) {
        self.reports.lock().unwrap().push(report.clone());
    }
}

impl WatchObserver for Ears {
    fn state_changed(&self, flow: &str, _target: &str, state: &FlowState) {
        let mut states = self.states.lock().unwrap();
        states.push((flow.to_owned(), state.clone()));
    }
}

impl Ears {
    /// The newest state of a flow.
    fn state(&self, flow: &str) -> Option<FlowState> {
        let states = self.states.lock().unwrap();
        let newest = states.iter().rev().find(|(of, _)| of == flow);
        newest.map(|(_, state)| state.clone())
    }
}

/// Flows that are followed in the background.
struct Following {
    ears: Arc<Ears>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    fn start(lake: &Lake, selection: &Selection) -> Self {
        Self::start_with(lake, selection, None)
    }

    fn start_with(lake: &Lake, selection: &Selection, heads: Option<Heads>) -> Self {
        let mut watch = Watch::new(Arc::new(lake.runner()), selection).unwrap();
        if let Some(heads) = heads {
            watch = watch.with_heads(heads);
        }
        let (ears, stop) = (Arc::new(Ears::default()), CancellationToken::new());
        let (observer, until) = (ears.clone(), stop.clone());
        let task = tokio::spawn(async move { watch.run(&until, observer).await });
        Self { ears, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.task).await;
        ended.expect("it ends when it is told to").unwrap();
    }
}

/// Waits until something holds.
#[track_caller]
fn until<F: Future<Output = bool>>(
    what: &str,
    condition: impl Fn() -> F,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..1_200 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{caller}: {what} did not come");
    }
}

async fn watched(sql: &str) -> Lake {
    let lake = Lake::new(sql).await;
    lake.write(
        "berglake.toml",
        "[project]\nname = \"test\"\n\
         [services.bronze]\ninterval = \"50ms\"\n\
         [services.silver]\ninterval = \"50ms\"\n\
         [services.gold]\ninterval = \"50ms\"\n\
         [defaults]\n\
         \"commit.retry.min-wait-ms\" = \"1\"\n\"commit.retry.max-wait-ms\" = \"2\"\n\
         \"commit.status-check.total-timeout-ms\" = \"20\"\n",
    );
    lake
}

async fn exists(lake: &Lake, table: &str) -> bool {
    let ident = TableIdent::from_strs(table.split('.')).unwrap();
    matches!(lake.catalog.table_exists(&ident).await, Ok(true))
}

/// Waits until the gold table has these rows.
async fn gold_is(lake: &Lake, rows: &[&str]) {
    until("the row of gold", || async {
        exists(lake, "gold.total").await && lake.rows(GOLD).await == rows
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_flows_to_gold_by_itself() {
    let lake = watched(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 10), ("b", 1, 20)]));
    let following = Following::start(&lake, &Selection::All);
    gold_is(&lake, &["2 30"]).await;
    lake.write("data/2.ndjson", &lines(&[("a", 2, 15), ("c", 1, 1)]));
    gold_is(&lake, &["3 36"]).await;
    let ears = following.ears.clone();
    following.stop().await;

    // What was read and written is reported, and nothing is done twice.
    let read: u64 = {
        let reports = ears.reports.lock().unwrap();
        let bronze = reports.iter().filter(|r| r.target == "bronze.events");
        bronze.map(|report| report.rows_read).sum()
    };
    assert_eq!(read, 4);
    let before = lake.snapshots(&crate::lake::TABLES).await;
    lake.run().await;
    assert_eq!(lake.snapshots(&crate::lake::TABLES).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_can_be_started_in_any_order() {
    let lake = watched(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 10)]));
    let gold = Following::start(&lake, &Selection::Stage(Stage::Gold));
    let silver = Following::start(&lake, &Selection::Stage(Stage::Silver));
    until("a flow that waits for its source", || async {
        matches!(silver.ears.state("upsert"), Some(FlowState::Waiting { .. }))
    })
    .await;
    let bronze = Following::start(&lake, &Selection::Stage(Stage::Bronze));
    gold_is(&lake, &["1 10"]).await;
    for following in [gold, silver, bronze] {
        following.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_cannot_go_on_holds_up_no_other() {
    let sql = format!(
        "{}
         CREATE OR REFRESH STREAMING TABLE silver.strict (
           CONSTRAINT small EXPECT (v < 100) ON VIOLATION FAIL UPDATE)
           AS SELECT k, v FROM STREAM(bronze.events);",
        events(2)
    );
    let lake = watched(&sql).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 10), ("b", 1, 200)]));
    let following = Following::start(&lake, &Selection::All);
    gold_is(&lake, &["2 210"]).await;
    let ears = following.ears.clone();
    until("a flow that has stopped", || async {
        matches!(ears.state("silver.strict"), Some(FlowState::Stopped { .. }))
    })
    .await;
    let reason = ears.state("silver.strict").unwrap();
    assert!(reason.reason().unwrap().contains("small"), "{reason:?}");
    lake.write("data/2.ndjson", &lines(&[("c", 1, 1)]));
    gold_is(&lake, &["3 211"]).await;
    assert_eq!(lake.rows("SELECT * FROM silver.strict").await.len(), 0);
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_table_stops_its_flow_until_somebody_decides() {
    let lake = watched(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 10)]));
    lake.run().await;
    lake.write("data/2.ndjson", &lines(&[("b", 1, 20)]));
    lake.run().await;
    lake.roll_back("silver.events").await;

    let following = Following::start(&lake, &Selection::All);
    let ears = following.ears.clone();
    until("a flow that has stopped", || async {
        matches!(
            ears.state("upsert"),
            Some(FlowState::Stopped {
                kind: "conflict",
                ..
            })
        )
    })
    .await;
    lake.write("data/3.ndjson", &lines(&[("c", 1, 5)]));
    until("the flow before it", || async {
        lake.rows("SELECT k FROM bronze.events").await.len() == 3
    })
    .await;

    // Somebody decides, in another process; the flow goes on without being started again.
    let options = RunOptions {
        layer: Some("silver".into()),
        resume: Some(Resume::Replay),
        ..RunOptions::default()
    };
    lake.run_with(&options).await;
    lake.write("data/4.ndjson", &lines(&[("d", 1, 7)]));
    gold_is(&lake, &["4 42"]).await;
    assert!(!matches!(
        ears.state("upsert"),
        Some(FlowState::Stopped { .. })
    ));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_follow_the_same_flows_take_nothing_twice() {
    let lake = watched(&events(2)).await;
    let one = Following::start(&lake, &Selection::All);
    let two = Following::start(&lake, &Selection::All);
    let mut keys = 0;
    for round in 0..6 {
        let batch: Vec<(String, i64, i64)> =
            (0..3).map(|n| (format!("k{}", keys + n), 1, 1)).collect();
        keys += 3;
        let batch: Vec<_> = batch.iter().map(|(k, s, v)| (k.as_str(), *s, *v)).collect();
        lake.write(&format!("data/{round}.ndjson"), &lines(&batch));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    gold_is(&lake, &["18 18"]).await;
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await.len(), 18);
    one.stop().await;
    two.stop().await;
    lake.run().await;
    assert_eq!(lake.rows(GOLD).await, ["18 18"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_goes_away_is_waited_for() {
    let mut lake = watched(&events(2)).await;
    let away = Arc::new(AtomicBool::new(false));
    lake.catalog = Arc::new(AwayCatalog {
        inner: lake.catalog.clone(),
        away: away.clone(),
    });
    lake.write("data/1.ndjson", &lines(&[("a", 1, 10)]));
    let heads = Heads::new(lake.catalog.clone());
    let following = Following::start_with(&lake, &Selection::All, Some(heads));
    gold_is(&lake, &["1 10"]).await;
    away.store(true, Ordering::SeqCst);
    lake.write("data/2.ndjson", &lines(&[("b", 1, 5)]));
    let ears = following.ears.clone();
    until("flows that try again", || async {
        ["bronze.events", "upsert", "gold.total"]
            .iter()
            .all(|flow| {
                matches!(
                    ears.state(flow),
                    Some(FlowState::Retrying {
                        kind: "unavailable",
                        ..
                    })
                )
            })
    })
    .await;
    away.store(false, Ordering::SeqCst);
    gold_is(&lake, &["2 15"]).await;
    following.stop().await;
}

#[tokio::test]
async fn an_unknown_layer_is_named_and_every_flow_has_one_stage() {
    let sql = format!(
        "{}
         CREATE OR REFRESH STREAMING TABLE lake.copies AS SELECT k FROM STREAM(bronze.events);
         CREATE OR REFRESH MATERIALIZED VIEW lake.counts AS SELECT count(*) AS n FROM lake.copies;
         CREATE OR REFRESH STREAMING TABLE lake.raw AS SELECT * FROM STREAM read_files('raw/*.json',
           schema => 'k STRING');",
        events(2)
    );
    let lake = watched(&sql).await;
    let runner = Arc::new(lake.runner());
    let unknown = Selection::Layer("platinum".into());
    let Err(error) = Watch::new(runner.clone(), &unknown) else {
        panic!("there is no such layer");
    };
    assert!(error.advice().unwrap().contains("gold"), "{error}");
    let mut all = Vec::new();
    for (stage, expected) in [
        (Stage::Bronze, vec!["bronze.events", "lake.raw"]),
        (Stage::Silver, vec!["lake.copies", "silver.events"]),
        (Stage::Gold, vec!["gold.total", "lake.counts"]),
    ] {
        let watch = Watch::new(runner.clone(), &Selection::Stage(stage)).unwrap();
        let mut targets: Vec<String> = watch.flows().map(|(_, target)| target).collect();
        targets.sort();
        assert_eq!(targets, expected);
        all.extend(targets);
    }
    assert_eq!(all.len(), runner.pipeline().flows().len());
}

/// A catalog that can be away.
#[derive(Debug)]
struct AwayCatalog {
    inner: Arc<dyn Catalog>,
    away: Arc<AtomicBool>,
}

impl AwayCatalog {
    fn reach(&self) -> Result<&dyn Catalog> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the catalog is away"));
        }
        Ok(self.inner.as_ref())
    }
}

#[async_trait]
impl Committer for AwayCatalog {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.reach()?.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.reach()?.commit(changes).await
    }
}

#[async_trait]
impl Catalog for AwayCatalog {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn warehouse(&self) -> &Location {
        self.inner.warehouse()
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        self.reach()?.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.reach()?.create_namespace(namespace, properties).await
    }

    async fn load_namespace(&self, namespace: &NamespaceIdent) -> Result<HashMap<String, String>> {
        self.reach()?.load_namespace(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.reach()?
            .update_namespace(namespace, updates, removals)
            .await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.reach()?.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.reach()?.list_tables(namespace).await
    }

    async fn create_table(&self, table: NewTable) -> Result<Table> {
        self.reach()?.create_table(table).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        self.reach()?.table_exists(ident).await
    }

    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        self.reach()?.drop_table(ident, purge).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.reach()?.rename_table(from, to).await
    }

    async fn register_table(&self, ident: &TableIdent, location: &str) -> Result<Table> {
        self.reach()?.register_table(ident, location).await
    }
}
