//! berglake, as a program that embeds its crates uses it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use berglake_benches::{Error, Watch, as_text};
use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{Committer, Transaction};
use berglake_format::schema::from_arrow;
use berglake_format::snapshot::Append;
use berglake_format::storage::{Location, Storage};
use berglake_format::write::DataWriter;
use berglake_format::{Environment, NamespaceIdent, TableIdent};
use berglake_query::{Engine, EngineOptions};
use iceberg::spec::{Transform, UnboundPartitionSpec};

use crate::input;
use crate::protocol::{Answer, Outcome, Query, Setup, Table};

/// The catalog's name; engines that read the same catalog file give the same.
const CATALOG: &str = "berglake";
const NAMESPACE: &str = "bench";
const TABLE: &str = "flights";

pub struct Berglake {
    setup: Setup,
    /// The input, decoded once: reading it is not what is measured.
    input: Option<Vec<RecordBatch>>,
    /// An engine for each folder: opening a catalog is not what is measured in process. Each query
    /// asks the catalog for the table's head and plans its files anew.
    engines: HashMap<PathBuf, Engine>,
}

impl Berglake {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            input: None,
            engines: HashMap::new(),
        }
    }

    /// Makes a table partitioned by month, writes the rows and commits them.
    pub async fn append(&mut self, folder: &Path) -> Result<Answer, Error> {
        let input = match self.input.take() {
            Some(input) => input,
            None => input::read(&self.setup.input)?,
        };
        let catalog = catalog(folder).await?;
        let ident = self.create(&catalog, &input).await?;

        let watch = Watch::start();
        let table = catalog.load(&ident).await?;
        let mut writer = DataWriter::new(&table)?;
        for _ in 0..self.setup.replication {
            for batch in &input {
                writer.write(batch).await?;
            }
        }
        let rows = usize::try_from(writer.rows())?;
        let append = Append {
            files: writer.finish().await?,
            ..Append::default()
        };
        Transaction::new(&catalog)
            .step(ident, append)
            .commit()
            .await?;
        let answer = Answer::after(&watch, Outcome::Written(rows));
        self.input = Some(input);
        Ok(answer)
    }

    async fn create(
        &self,
        catalog: &SqlCatalog,
        input: &[RecordBatch],
    ) -> Result<TableIdent, Error> {
        let namespace = NamespaceIdent::new(NAMESPACE.to_string());
        catalog.create_namespace(&namespace, HashMap::new()).await?;
        let first = input.first().ok_or("the input has no rows")?;
        let schema = from_arrow(&first.schema())?;
        let date = schema
            .field_id_by_name("date")
            .ok_or("the input has no column `date`")?;
        let by_month = UnboundPartitionSpec::builder()
            .add_partition_field(date, "date_month", Transform::Month)?
            .build();
        let ident = TableIdent::new(namespace, TABLE.to_string());
        let mut table = NewTable::new(ident.clone(), schema);
        table.partition_spec = Some(by_month);
        table.properties = [
            ("write.parquet.compression-codec", "zstd".to_string()),
            (
                "write.parquet.compression-level",
                self.setup.zstd_level.to_string(),
            ),
            (
                "write.parquet.dict-size-bytes",
                self.setup.dictionary_bytes.to_string(),
            ),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        catalog.create_table(table).await?;
        Ok(ident)
    }

    /// Where other engines find the table.
    pub async fn describe(&mut self, folder: &Path) -> Result<Table, Error> {
        let ident = TableIdent::new(
            NamespaceIdent::new(NAMESPACE.to_string()),
            TABLE.to_string(),
        );
        let table = catalog(folder).await?.load(&ident).await?;
        let plan = table.scan().plan().await?;
        let files = plan
            .tasks
            .iter()
            .map(|task| {
                let path = task.file.file_path();
                path.strip_prefix("file://").unwrap_or(path).to_string()
            })
            .collect();
        Ok(Table {
            folder: folder.to_path_buf(),
            metadata: table.metadata_location().to_string(),
            files,
        })
    }

    /// The lines of a query's physical plan.
    pub async fn explain(&mut self, query: &Query) -> Result<Vec<String>, Error> {
        let engine = self.engine(&query.table.folder).await?;
        let output = engine
            .sql(&format!("EXPLAIN FORMAT INDENT {}", query.sql))
            .await?;
        let mut lines = Vec::new();
        for batch in output.collect().await? {
            let plans = batch
                .column_by_name("plan")
                .and_then(|column| column.as_string_opt::<i32>())
                .ok_or("EXPLAIN gave no column `plan`")?;
            for plan in plans.iter().flatten() {
                lines.extend(plan.lines().map(str::to_string));
            }
        }
        Ok(lines)
    }

    /// Runs a query.
    pub async fn query(&mut self, query: &Query) -> Result<Answer, Error> {
        let engine = self.engine(&query.table.folder).await?;
        let watch = Watch::start();
        let batches = engine.sql(&query.sql).await?.collect().await?;
        Ok(Answer::after(&watch, Outcome::Rows(as_text(&batches)?)))
    }

    async fn engine(&mut self, folder: &Path) -> Result<Engine, Error> {
        if let Some(engine) = self.engines.get(folder) {
            return Ok(engine.clone());
        }
        let options = EngineOptions {
            partitions: Some(self.setup.threads),
            namespace: vec![NAMESPACE.to_string()],
            ..EngineOptions::default()
        };
        let engine = Engine::new(Arc::new(catalog(folder).await?), options)?;
        self.engines.insert(folder.to_path_buf(), engine.clone());
        Ok(engine)
    }
}

/// The catalog of a folder; it is made where it does not exist.
async fn catalog(folder: &Path) -> Result<SqlCatalog, Error> {
    let config = SqlCatalogConfig::new(
        CATALOG,
        format!("sqlite:{}", folder.join("catalog.db").display()),
        Location::from_path(&folder.join("warehouse"))?,
    );
    Ok(SqlCatalog::open(config, Storage::default(), Environment::default()).await?)
}
