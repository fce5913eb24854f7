//! A lakehouse in a temporary folder, with a clock and identifiers that are the same in each run.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{Operation, Transaction};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Identity, ManualClock, Result, SeededIds, Table, TableIdent};
use berglake_query::{Engine, EngineOptions, Session};
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z in microseconds.
pub const START: i64 = 1_767_225_600_000_000;

pub struct Lake {
    pub folder: TempDir,
    pub catalog: Arc<SqlCatalog>,
    pub clock: Arc<ManualClock>,
    pub session: Session,
}

impl Lake {
    /// A lakehouse with the namespace `default` and nothing in it.
    pub async fn new() -> Self {
        Self::with(EngineOptions {
            partitions: Some(2),
            ..EngineOptions::default()
        })
        .await
    }

    pub async fn with(options: EngineOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let environment = Environment::new(
            clock.clone(),
            Arc::new(SeededIds::new(7)),
            Identity::default(),
        );
        let uri = format!("sqlite://{}", folder.path().join("catalog.db").display());
        let warehouse = Location::from_path(&folder.path().join("warehouse")).unwrap();
        let config = SqlCatalogConfig::new("lake", uri, warehouse);
        let catalog = SqlCatalog::open(config, Storage::default(), environment)
            .await
            .unwrap();
        let catalog = Arc::new(catalog);
        let engine = Engine::new(catalog.clone(), options).unwrap();
        let lake = Self {
            folder,
            catalog,
            clock,
            session: engine.connect(),
        };
        lake.run("CREATE NAMESPACE default").await;
        lake
    }

    pub async fn try_sql(&self, text: &str) -> Result<Vec<RecordBatch>> {
        self.session.sql(text).await?.collect().await
    }

    /// Runs statements that must succeed; time passes with each.
    pub async fn run(&self, text: &str) {
        for prepared in Session::prepare(text).unwrap() {
            self.clock.advance(60_000_000);
            let output = self.session.run(prepared).await;
            output
                .unwrap_or_else(|error| panic!("{text}: {error}"))
                .collect()
                .await
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    /// The rows of a query as text, `|` between columns.
    pub async fn rows(&self, text: &str) -> Vec<String> {
        let batches = self.try_sql(text).await;
        rows(&batches.unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    pub async fn error(&self, text: &str) -> String {
        match self.try_sql(text).await {
            Ok(batches) => panic!("{text} gave {:?}", rows(&batches)),
            Err(error) => error.to_string(),
        }
    }

    pub async fn table(&self, name: &str) -> Table {
        let ident = TableIdent::from_strs(["default", name]).unwrap();
        use berglake_format::commit::Committer;
        self.catalog.load(&ident).await.unwrap()
    }

    pub async fn commit(&self, table: &Table, operation: impl Operation) {
        self.clock.advance(60_000_000);
        Transaction::new(self.catalog.as_ref())
            .step(table.ident().clone(), operation)
            .commit()
            .await
            .unwrap();
    }

    pub fn catalog(&self) -> &dyn Catalog {
        self.catalog.as_ref()
    }
}

/// Each row as text, `|` between columns.
pub fn rows(batches: &[RecordBatch]) -> Vec<String> {
    cells(batches)
        .into_iter()
        .map(|row| row.join("|"))
        .collect()
}

/// Each value as text.
pub fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    rows
}
