//! A project in a temporary folder, with what the tests do to it.

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{CommitOutcome, Operation, TableChange, Transaction};
use berglake_format::snapshot::{Append, CommitNotes, Overwrite};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::{DataWriter, WrittenFile};
use berglake_format::{Environment, Table, TableIdent};
use berglake_pipeline::report::{FlowReport, FlowStatus, PlannedAction};
use berglake_pipeline::{Observer, Project, RunOptions, RunReport, Runner};
use berglake_query::{Engine, EngineOptions};
use iceberg::expr::Predicate;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use iceberg::{TableRequirement, TableUpdate};
use tempfile::TempDir;

/// Nobody listens.
struct Quiet;

impl Observer for Quiet {}

/// A project with its catalog.
pub struct Lake {
    folder: TempDir,
    /// What the runner commits through.
    pub catalog: Arc<dyn Catalog>,
}

impl Lake {
    /// A project of these statements.
    pub async fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Self::open(&folder).await;
        let lake = Self {
            folder,
            catalog: Arc::new(catalog),
        };
        lake.write(
            "berglake.toml",
            "[project]\nname = \"test\"\n[defaults]\n\
             \"commit.retry.min-wait-ms\" = \"1\"\n\"commit.retry.max-wait-ms\" = \"2\"\n\
             \"commit.status-check.total-timeout-ms\" = \"20\"\n",
        );
        lake.sql(sql);
        lake
    }

    async fn open(folder: &TempDir) -> SqlCatalog {
        let uri = format!("sqlite:{}", folder.path().join("catalog.db").display());
        let warehouse = Location::from_path(&folder.path().join("warehouse")).unwrap();
        let config = SqlCatalogConfig::new("lake", uri, warehouse);
        SqlCatalog::open(config, Storage::default(), Environment::default())
            .await
            .unwrap()
    }

    /// Replaces the pipeline's statements.
    pub fn sql(&self, sql: &str) {
        self.write("pipelines/all.sql", sql);
    }

    /// Writes a file of the project. It appears whole: whoever follows files reads each of them once.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let hidden = path.with_extension("part");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, path).unwrap();
    }

    fn engine(&self) -> Engine {
        Engine::new(self.catalog.clone(), EngineOptions::default()).unwrap()
    }

    /// A runner of the pipeline as it is written now.
    pub fn runner(&self) -> Runner {
        let project = Project::load(self.folder.path(), []).unwrap();
        let (storage, environment) = (Storage::default(), Environment::default());
        let catalog = self.catalog.clone();
        Runner::new(&project, catalog, storage, environment, self.engine()).unwrap()
    }

    /// Runs, whatever becomes of it.
    pub async fn run_with(&self, options: &RunOptions) -> RunReport {
        self.runner().run(options, &Quiet).await.unwrap()
    }

    /// Runs; nothing may fail.
    #[track_caller]
    pub fn run(&self) -> impl Future<Output = RunReport> {
        let caller = std::panic::Location::caller();
        async move {
            let report = self.run_with(&RunOptions::default()).await;
            assert!(report.succeeded(), "{caller}: {report:#?}");
            report
        }
    }

    /// Runs; the flow into this table must fail. Gives its error.
    pub async fn fails(&self, table: &str) -> String {
        let report = self.run_with(&RunOptions::default()).await;
        let flow = flow(&report, table);
        assert_eq!(flow.status, FlowStatus::Failed, "{flow:#?}");
        flow.error.clone().unwrap()
    }

    /// Empties and fills these tables; nothing may fail.
    pub async fn refresh(&self, tables: &[&str]) -> RunReport {
        let options = RunOptions {
            full_refresh: tables.iter().map(|table| (*table).to_owned()).collect(),
            ..RunOptions::default()
        };
        let report = self.run_with(&options).await;
        assert!(report.succeeded(), "{report:#?}");
        report
    }

    /// What a run would do to this table.
    pub async fn plan(&self, table: &str) -> PlannedAction {
        let plan = self.runner().plan(&RunOptions::default()).await.unwrap();
        let flow = plan.flows.into_iter().find(|flow| flow.target == table);
        flow.unwrap().action
    }

    /// The rows of a query, sorted, as text.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let frame = self.engine().connect().query(sql).await.unwrap();
        let batches = frame.collect().await.unwrap();
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.push(cells.join(" "));
            }
        }
        rows.sort();
        rows
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.engine().connect().sql(sql).await.unwrap();
    }

    /// The table as it stands now.
    pub async fn table(&self, name: &str) -> Table {
        let ident = TableIdent::from_strs(name.split('.')).unwrap();
        self.catalog.load(&ident).await.unwrap()
    }

    /// How many snapshots these tables have.
    pub async fn snapshots(&self, names: &[&str]) -> Vec<usize> {
        let mut counts = Vec::new();
        for name in names {
            counts.push(self.table(name).await.metadata().snapshots().len());
        }
        counts
    }

    /// Appends the rows of a query, as an engine that knows nothing of pipelines would.
    pub async fn append(&self, name: &str, rows: &str) {
        let append = Append {
            files: self.written(name, rows).await,
            notes: CommitNotes::default(),
        };
        self.commit(name, append).await;
    }

    /// Puts the rows of a query in the place of all rows, as such an engine would.
    pub async fn overwrite(&self, name: &str, rows: &str) {
        let overwrite = Overwrite {
            filter: Predicate::AlwaysTrue,
            files: self.written(name, rows).await,
            notes: CommitNotes::default(),
        };
        self.commit(name, overwrite).await;
    }

    async fn written(&self, name: &str, rows: &str) -> Vec<WrittenFile> {
        let frame = self.engine().connect().query(rows).await.unwrap();
        let mut writer = DataWriter::new(&self.table(name).await).unwrap();
        for batch in frame.collect().await.unwrap() {
            writer.write(&batch).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    async fn commit(&self, name: &str, operation: impl Operation) {
        Transaction::new(self.catalog.as_ref())
            .step(self.table(name).await.ident().clone(), operation)
            .commit()
            .await
            .unwrap();
    }

    /// Makes the parent of the head the head.
    pub async fn roll_back(&self, name: &str) {
        let table = self.table(name).await;
        let parent = table.current_snapshot().unwrap().parent_snapshot_id();
        let retention = SnapshotRetention::branch(None, None, None);
        let change = TableChange {
            ident: table.ident().clone(),
            requirements: vec![TableRequirement::UuidMatch {
                uuid: table.metadata().uuid(),
            }],
            updates: vec![TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_owned(),
                reference: SnapshotReference::new(parent.unwrap(), retention),
            }],
        };
        let outcome = self.catalog.commit(vec![change]).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }
}

/// What a run did with this table.
#[track_caller]
pub fn flow<'a>(report: &'a RunReport, table: &str) -> &'a FlowReport {
    let found = report.flows.iter().find(|flow| flow.target == table);
    found.unwrap_or_else(|| panic!("no flow into {table}: {report:#?}"))
}

/// The status of each flow, in order.
pub fn statuses(report: &RunReport) -> Vec<FlowStatus> {
    report.flows.iter().map(|flow| flow.status).collect()
}

/// Events into bronze, their newest state into silver, groups into gold, in this format version.
pub fn events(version: u8) -> String {
    format!(
        "CREATE OR REFRESH STREAMING TABLE bronze.events
           TBLPROPERTIES ('format-version' = '{version}', 'berglake.batch.max-files' = '1',
             'berglake.dead-letter' = 'bronze.errors')
           AS SELECT k, seq, v, source_row FROM STREAM read_files('data/*.ndjson',
             schema => 'k STRING, seq BIGINT, v BIGINT', row_number => 'source_row');
         CREATE OR REFRESH STREAMING TABLE silver.events
           TBLPROPERTIES ('format-version' = '{version}');
         CREATE FLOW upsert AS AUTO CDC INTO silver.events FROM STREAM(bronze.events)
           KEYS (k) SEQUENCE BY seq COLUMNS (k, seq, v) STORED AS SCD TYPE 1;
         CREATE OR REFRESH MATERIALIZED VIEW gold.total
           TBLPROPERTIES ('format-version' = '{version}')
           AS SELECT count(*) AS n, sum(v) AS total FROM silver.events;"
    )
}

/// Lines of events: key, sequence, value.
pub fn lines(events: &[(&str, i64, i64)]) -> String {
    events
        .iter()
        .map(|(k, seq, v)| format!("{{\"k\": \"{k}\", \"seq\": {seq}, \"v\": {v}}}\n"))
        .collect()
}

/// The tables of [`events`].
pub const TABLES: [&str; 3] = ["bronze.events", "silver.events", "gold.total"];
