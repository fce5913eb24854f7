//! A lakehouse in a temporary folder, with a clock and identifiers that are the same in each run.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use berglake_catalog::{SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{CommitOutcome, Committer, Operation, TableChange, Transaction};
use berglake_format::deletes::DeleteLoader;
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{Append, CommitNotes, RowDelta};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::{DeletedRows, WrittenFile, write_deletes};
use berglake_format::{
    Clock, Environment, Identity, ManualClock, Result, SeededIds, SystemClock, Table, TableIdent,
};
use berglake_query::{Engine, EngineOptions, Session};
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, NestedField, Schema, Struct,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use roaring::RoaringTreemap;
use tempfile::TempDir;

/// The time that passes with each statement, in microseconds.
pub const TICK: i64 = 100_000;

pub struct Lake {
    _folder: TempDir,
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
        // Metadata has the system's time in it, whatever the clock says, and a minute of difference
        // is an error; so the clock begins there, and a little time passes with each statement.
        let clock = Arc::new(ManualClock::at(SystemClock.now_micros()));
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
            _folder: folder,
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
            self.clock.advance(TICK);
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
        self.catalog.load(&ident).await.unwrap()
    }

    pub async fn commit(&self, table: &Table, operation: impl Operation) {
        self.clock.advance(TICK);
        Transaction::new(self.catalog.as_ref())
            .step(table.ident().clone(), operation)
            .commit()
            .await
            .unwrap();
    }

    /// Adds the rows of a query, in their order, as one data file with so many rows in each row group but
    /// the last. Our own writer cuts groups by bytes, none so small.
    pub async fn add_in_groups(&self, name: &str, query: &str, rows: usize) {
        self.add_written(name, query, rows, WriterProperties::builder())
            .await;
    }

    /// As [`add_in_groups`](Self::add_in_groups), and with so many rows in each page.
    pub async fn add_in_pages(&self, name: &str, query: &str, rows: usize, in_page: usize) {
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(in_page)
            .set_write_batch_size(in_page);
        self.add_written(name, query, rows, properties).await;
    }

    /// As [`add_in_groups`](Self::add_in_groups), written in this way.
    pub async fn add_written(
        &self,
        name: &str,
        query: &str,
        rows: usize,
        properties: WriterPropertiesBuilder,
    ) {
        let table = self.table(name).await;
        let schema = to_arrow(table.schema()).unwrap();
        let batches = self.try_sql(query).await.unwrap();
        let batch = concat_batches(&batches[0].schema(), &batches).unwrap();
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
        let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        let properties = properties.set_max_row_group_row_count(Some(rows));
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, schema, Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.close().unwrap();
        assert_eq!(footer.num_row_groups(), batch.num_rows().div_ceil(rows));
        self.add_bytes(name, bytes, batch.num_rows()).await;
    }

    /// Adds a data file of which nothing is known but its bytes and the number of its rows.
    pub async fn add_bytes(&self, name: &str, bytes: Vec<u8>, rows: usize) {
        let table = self.table(name).await;
        let file = self
            .put(&table, DataContentType::Data, bytes, rows, None)
            .await;
        let append = Append {
            files: vec![file],
            notes: CommitNotes::default(),
        };
        self.commit(&table, append).await;
    }

    /// Stores a file that is none of our writer's, for a table without partitions.
    async fn put(
        &self,
        table: &Table,
        content: DataContentType,
        bytes: Vec<u8>,
        rows: usize,
        keys: Option<Vec<i32>>,
    ) -> WrittenFile {
        let name = format!("foreign-{}.parquet", table.environment().ids().uuid());
        let location = table.data_location().unwrap().join(&name);
        let size = bytes.len() as u64;
        table
            .storage()
            .write(&location, bytes.into())
            .await
            .unwrap();
        let file = DataFileBuilder::default()
            .content(content)
            .file_path(location.to_string())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .partition_spec_id(0)
            .record_count(rows as u64)
            .file_size_in_bytes(size)
            .equality_ids(keys)
            .build()
            .unwrap();
        WrittenFile { file, spec_id: 0 }
    }

    /// Deletes rows by their positions in the files of a table, which are taken in the order of the
    /// scan.
    pub async fn delete(&self, name: &str, positions: &[&[u64]]) {
        let table = self.table(name).await;
        let plan = table.scan().plan().await.unwrap();
        let loader = DeleteLoader::new(table.storage().clone());
        let mut deletes = Vec::new();
        for (task, positions) in plan.tasks.iter().zip(positions) {
            if positions.is_empty() {
                continue;
            }
            let mut all = RoaringTreemap::from_iter(positions.iter().copied());
            if table.metadata().format_version() == FormatVersion::V3
                && let Some(old) = loader.positions(task).await.unwrap()
            {
                all |= old.as_ref();
            }
            deletes.push(DeletedRows {
                data_file: task.file.as_ref().clone(),
                spec_id: task.spec_id,
                positions: all,
            });
        }
        let delete_files = write_deletes(&table, &deletes).await.unwrap();
        let delta = RowDelta {
            base: table.metadata().current_snapshot_id(),
            data_files: Vec::new(),
            delete_files,
            notes: CommitNotes::default(),
        };
        self.commit(&table, delta).await;
    }

    /// Deletes rows by the value of the column `id`, the table's first, as streaming engines do.
    pub async fn delete_by_equality(&self, name: &str, ids: &[Option<i64>]) {
        let ids = Arc::new(Int64Array::from(ids.to_vec()));
        let key: (&str, i32, ArrayRef) = ("id", 1, ids);
        self.add_deletes(name, DataContentType::EqualityDeletes, &[key])
            .await;
    }

    /// Deletes rows by one file of paths and positions, as engines write it that have one for several
    /// data files. Nothing keeps it from naming a row twice.
    pub async fn delete_by_shared_file(&self, name: &str, rows: &[(&str, i64)]) {
        let paths = StringArray::from_iter_values(rows.iter().map(|row| row.0));
        let positions = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let columns: [(&str, i32, ArrayRef); 2] = [
            ("file_path", 2_147_483_546, Arc::new(paths)),
            ("pos", 2_147_483_545, Arc::new(positions)),
        ];
        self.add_deletes(name, DataContentType::PositionDeletes, &columns)
            .await;
    }

    /// Adds a delete file with these columns (name, field id, values) to a table without partitions.
    async fn add_deletes(
        &self,
        name: &str,
        content: DataContentType,
        columns: &[(&str, i32, ArrayRef)],
    ) {
        let table = self.table(name).await;
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, id, values)| {
                let id = ("PARQUET:field_id".to_string(), id.to_string());
                Field::new(*name, values.data_type().clone(), true)
                    .with_metadata(HashMap::from([id]))
            })
            .collect();
        let schema = Arc::new(ArrowSchema::new(fields));
        let values = columns.iter().map(|column| Arc::clone(&column.2)).collect();
        let batch = RecordBatch::try_new(schema.clone(), values).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let keys = (content == DataContentType::EqualityDeletes)
            .then(|| columns.iter().map(|column| column.1).collect());
        let file = self
            .put(&table, content, bytes, batch.num_rows(), keys)
            .await;
        let delta = RowDelta {
            base: table.metadata().current_snapshot_id(),
            data_files: Vec::new(),
            delete_files: vec![file],
            notes: CommitNotes::default(),
        };
        self.commit(&table, delta).await;
    }

    /// Gives a table other columns; ids say which is which.
    pub async fn set_columns(&self, name: &str, fields: Vec<NestedField>) {
        let table = self.table(name).await;
        let schema = Schema::builder()
            .with_fields(fields.into_iter().map(Arc::new))
            .build()
            .unwrap();
        let change = TableChange {
            ident: table.ident().clone(),
            requirements: Vec::new(),
            updates: vec![
                TableUpdate::AddSchema { schema },
                TableUpdate::SetCurrentSchema { schema_id: -1 },
            ],
        };
        let outcome = self.catalog.commit(vec![change]).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
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
