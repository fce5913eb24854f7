//! Commits that are refused, lost and late: what is in the tables afterwards is exact all the same.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::commit::{CommitOutcome, Committer, TableChange};
use berglake_format::storage::Location;
use berglake_format::{NamespaceIdent, Result, Table, TableIdent};
use berglake_pipeline::report::FlowStatus;
use proptest::prelude::*;

use crate::lake::{Lake, TABLES, events, lines, statuses};

/// A catalog whose commits meet faults.
#[derive(Debug)]
struct FaultyCatalog {
    inner: Arc<dyn Catalog>,
    commits: FaultyCommitter,
}

impl FaultyCatalog {
    fn new(inner: Arc<dyn Catalog>, faults: Vec<Fault>) -> Self {
        let commits = FaultyCommitter::new(inner.clone(), faults);
        Self { inner, commits }
    }
}

#[async_trait]
impl Committer for FaultyCatalog {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.commits.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.commits.commit(changes).await
    }
}

#[async_trait]
impl Catalog for FaultyCatalog {
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
        self.inner.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.inner.create_namespace(namespace, properties).await
    }

    async fn load_namespace(&self, namespace: &NamespaceIdent) -> Result<HashMap<String, String>> {
        self.inner.load_namespace(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.inner
            .update_namespace(namespace, updates, removals)
            .await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.inner.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.inner.list_tables(namespace).await
    }

    async fn create_table(&self, table: NewTable) -> Result<Table> {
        self.inner.create_table(table).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        self.inner.table_exists(ident).await
    }

    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        self.inner.drop_table(ident, purge).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename_table(from, to).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        self.inner.register_table(ident, metadata_location).await
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::Conflict),
        Just(Fault::LostAnswer),
        Just(Fault::LostRequest),
        Just(Fault::Late)
    ];
    proptest::collection::vec(fault, 0..16)
}

async fn exact_under(faults: Vec<Fault>, version: u8, retries: u32) {
    let mut lake = Lake::new(&events(version)).await;
    lake.write(
        "berglake.toml",
        &format!(
            "[project]\nname = \"test\"\n[defaults]\n\"commit.retry.num-retries\" = \"{retries}\"\n\
             \"commit.retry.min-wait-ms\" = \"1\"\n\"commit.retry.max-wait-ms\" = \"2\"\n\
             \"commit.status-check.total-timeout-ms\" = \"20\"\n"
        ),
    );
    lake.write(
        "data/1.ndjson",
        &(lines(&[("a", 1, 1), ("b", 1, 2)]) + "broken\n"),
    );
    lake.write("data/2.ndjson", &lines(&[("b", 2, 3), ("c", 1, 4)]));
    lake.catalog = Arc::new(FaultyCatalog::new(lake.catalog.clone(), faults.clone()));
    // A run that gave up is run again, as a person would do; a late commit can fail two of them.
    let mut runs = 0;
    while !lake.run_with(&Default::default()).await.succeeded() {
        runs += 1;
        assert!(runs <= 2 * faults.len(), "{faults:?}");
    }
    lake.write(
        "data/3.ndjson",
        &(lines(&[("a", 2, 5), ("c", 0, 9)]) + "broken\n"),
    );
    while !lake.run_with(&Default::default()).await.succeeded() {
        runs += 1;
        assert!(runs <= 2 * faults.len(), "{faults:?}");
    }
    let bronze = [
        "a 1 1 0", "a 2 5 0", "b 1 2 1", "b 2 3 0", "c 0 9 1", "c 1 4 1",
    ];
    let rows = lake
        .rows("SELECT k, seq, v, source_row FROM bronze.events")
        .await;
    assert_eq!(rows, bronze, "{faults:?}");
    assert_eq!(
        lake.rows("SELECT `row` FROM bronze.errors").await,
        ["2", "2"],
        "{faults:?}"
    );
    let silver = lake.rows("SELECT k, seq, v FROM silver.events").await;
    assert_eq!(silver, ["a 2 5", "b 2 3", "c 1 4"], "{faults:?}");
    assert_eq!(
        lake.rows("SELECT n, total FROM gold.total").await,
        ["3 12"],
        "{faults:?}"
    );
    let snapshots = lake.snapshots(&TABLES).await;
    assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
    assert_eq!(lake.snapshots(&TABLES).await, snapshots);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever becomes of the commits and however often they are tried: exactly once.
    #[test]
    fn runs_are_exact_under_faults(
        faults in faults(),
        version in 2u8..=3,
        retries in prop_oneof![Just(0u32), Just(20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(exact_under(faults, version, retries));
    }
}

/// The sequence that is worst for a writer that gives up: its commit lands after its successor has
/// planned the same rows.
#[tokio::test]
async fn a_commit_that_lands_after_its_writer_gave_up_is_counted() {
    exact_under(
        vec![Fault::Late, Fault::None, Fault::Late, Fault::Late],
        3,
        0,
    )
    .await;
}
