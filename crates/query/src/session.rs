//! A session: the current namespace, settings, temporary tables, and the running of statements.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use berglake_format::plan::SnapshotSelector;
use berglake_format::{Error, NamespaceIdent, Result, Table};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, ScalarValue, SchemaError};
use datafusion::dataframe::DataFrame;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{ExplainStatement, Statement as EngineStatement};
use datafusion::sql::sqlparser::ast::{Expr, Query};
use futures::StreamExt;
use tracing::Instrument;

use crate::engine::Engine;
use crate::error::{IntoOurs, from_datafusion};
use crate::lake::Pinned;
use crate::metadata_table::MetadataTableProvider;
use crate::output::QueryOutput;
use crate::resolve::{Extra, Found, Resolver, split_dollar};
use crate::sql::{self, EngineName, Reference, References, Statement, Travel};
use crate::table::IcebergTable;
use crate::telemetry::Measured;

/// Columns whose case is put right in one statement, at most.
const MAX_RESPELLINGS: usize = 500;

/// Statements of one user, one after the other. What `USE` and `SET` say holds for the session.
pub struct Session {
    engine: Engine,
    extra: Extra,
    settings: Mutex<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) namespace: Vec<String>,
    /// Whether tables that pipelines own may be written.
    pub(crate) force_write: bool,
    /// Whether `INSERT OVERWRITE` replaces just the partitions that it has rows for.
    pub(crate) dynamic_overwrite: bool,
    config: SessionConfig,
}

/// A statement that was parsed and waits to be run.
#[derive(Debug)]
pub struct Prepared(Statement);

impl Prepared {
    /// Whether running it changes nothing that outlives the session.
    pub fn is_read_only(&self) -> bool {
        match &self.0 {
            Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowNamespaces { .. }
            | Statement::Describe { .. }
            | Statement::DescribeNamespace(_)
            | Statement::ShowCreateTable(_)
            | Statement::ShowProperties { .. }
            | Statement::Use(_)
            | Statement::Set { .. } => true,
            Statement::CreateNamespace { .. }
            | Statement::DropNamespace { .. }
            | Statement::CreateTable(_)
            | Statement::DropTable { .. }
            | Statement::AlterTable(_)
            | Statement::Insert(_)
            | Statement::Call(_) => false,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("catalog", &self.engine.catalog().name())
            .field("tables", &self.extra.keys())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(engine: Engine, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Self {
        let settings = Settings {
            namespace: engine.namespace().to_vec(),
            force_write: false,
            dynamic_overwrite: false,
            config: engine.state().config().clone(),
        };
        Self {
            extra: tables.into_iter().collect(),
            settings: Mutex::new(settings),
            engine,
        }
    }

    /// Parses statements that are separated by semicolons.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what does not parse, with line and column;
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for statements that this version does not run.
    pub fn prepare(text: &str) -> Result<Vec<Prepared>> {
        Ok(sql::parse(text)?.into_iter().map(Prepared).collect())
    }

    /// Runs one statement. Reading begins when the output's stream is polled; everything else is done
    /// when this returns.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare); [`NotFound`](berglake_format::ErrorKind::NotFound) for a table, snapshot or
    /// namespace that does not exist; [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a query that makes
    /// no sense, more than one statement, or a write to a table that a pipeline owns; those of commits
    /// and of the storage.
    pub async fn sql(&self, text: &str) -> Result<QueryOutput> {
        let mut statements = Self::prepare(text)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(only), true) => self.run(only).await,
            (None, _) => Err(Error::invalid("there is no statement")),
            _ => Err(Error::invalid("there is more than one statement")
                .help("run them one after the other")),
        }
    }

    /// Runs a statement that was parsed before.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub async fn run(&self, prepared: Prepared) -> Result<QueryOutput> {
        let measured = Measured::start(prepared.0.kind());
        let result = self.start(prepared.0).instrument(measured.span()).await;
        measured.follow(result)
    }

    async fn start(&self, statement: Statement) -> Result<QueryOutput> {
        match statement {
            Statement::Query(query) => output(self.plan(query).await?).await,
            Statement::Explain {
                query,
                analyze,
                verbose,
                format,
            } => {
                let wrap = |inner| {
                    EngineStatement::Explain(ExplainStatement {
                        analyze,
                        verbose,
                        format: format.clone(),
                        statement: Box::new(inner),
                    })
                };
                output(self.plan_as(query, &wrap).await?).await
            }
            Statement::Set { key, value } => self.set(&key, &value),
            Statement::Use(name) => self.use_namespace(&name).await,
            other => crate::statements::run(self, other).await,
        }
    }

    /// Looks names without a namespace up in this one from now on, as `USE` does.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) if it does not exist.
    pub async fn enter(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.engine.catalog().load_namespace(namespace).await?;
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.config.options_mut().catalog.default_schema = namespace.join(".");
        settings.namespace = namespace.clone().inner();
        Ok(())
    }

    /// Plans a SELECT, without running it.
    ///
    /// # Errors
    /// As [`sql`](Self::sql); [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for another statement.
    pub async fn query(&self, text: &str) -> Result<DataFrame> {
        let mut statements = Self::prepare(text)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(Prepared(Statement::Query(query))), true) => self.plan(query).await,
            _ => Err(Error::invalid("a query is one SELECT")),
        }
    }

    /// The columns that a SELECT gives.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn schema_of(&self, text: &str) -> Result<SchemaRef> {
        let frame = self.query(text).await?;
        Ok(Arc::new(frame.schema().as_arrow().clone()))
    }

    /// The table of the catalog that a name stands for, as a statement would write it.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) with the nearest name there is;
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no name of a table.
    pub async fn table(&self, name: &str) -> Result<Table> {
        let name = sql::table_name(name)?;
        let settings = self.settings();
        self.resolver(&settings).find_table(&name).await
    }

    /// As [`table`](Self::table), for whoever wants to change the table.
    ///
    /// # Errors
    /// Those of [`table`](Self::table), and
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a table that a pipeline owns,
    /// unless the session forces writes.
    pub async fn writable_table(&self, name: &str) -> Result<Table> {
        let table = self.table(name).await?;
        crate::statements::may_write(&table, self.settings().force_write)?;
        Ok(table)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn resolver<'a>(&'a self, settings: &'a Settings) -> Resolver<'a> {
        Resolver::new(
            self.engine.catalog().as_ref(),
            &settings.namespace,
            &self.extra,
        )
    }

    fn state(&self, mut pinned: Pinned) -> SessionState {
        let settings = self.settings();
        for (name, provider) in &self.extra {
            let key = engine_key(name, &settings.namespace);
            pinned.entry(key).or_insert_with(|| Arc::clone(provider));
        }
        self.engine.state_with(settings.config, pinned)
    }

    /// Plans a query.
    pub(crate) async fn plan(&self, query: Box<Query>) -> Result<DataFrame> {
        self.plan_as(query, &|statement| statement).await
    }

    async fn plan_as(
        &self,
        mut query: Box<Query>,
        wrap: &(dyn Fn(EngineStatement) -> EngineStatement + Sync),
    ) -> Result<DataFrame> {
        let settings = self.settings();
        let references = References::of(&mut query)?;
        let mut resolver = self.resolver(&settings);
        let mut pinned = Pinned::new();
        let mut names = Vec::with_capacity(references.tables.len());
        for reference in references.tables {
            names.push(
                self.pin(&mut resolver, &settings, reference, &mut pinned)
                    .await?,
            );
        }
        References::replace(&mut query, &names)?;
        let state = self.state(pinned);
        for _ in 0..MAX_RESPELLINGS {
            let statement = wrap(sql::engine_statement(query.clone()));
            match state.statement_to_plan(statement).await {
                Ok(plan) => return Ok(DataFrame::new(state.clone(), analyzed(&state, plan)?)),
                Err(error) => {
                    if !put_case_right(&mut query, &error) {
                        return Err(from_datafusion(error));
                    }
                }
            }
        }
        Err(Error::invalid(
            "too many columns are written in another case than the table's",
        ))
    }

    /// Finds a table and keeps it for the statement, under a name that no other has.
    async fn pin(
        &self,
        resolver: &mut Resolver<'_>,
        settings: &Settings,
        reference: Reference,
        pinned: &mut Pinned,
    ) -> Result<EngineName> {
        let written = reference.name.last().map(sql::normal).unwrap_or_default();
        let found = resolver.find(&split_dollar(&reference.name)).await?;
        let (key, alias, provider) = match found {
            Found::Extra { name, provider } => {
                if reference.travel.is_some() {
                    return Err(
                        Error::invalid("a temporary table has no history").with("table", name)
                    );
                }
                let key = engine_key(&name, &settings.namespace);
                let alias = (key.1 != written).then_some(written);
                (key, alias, provider)
            }
            Found::Table {
                table,
                metadata,
                reference: named,
            } => {
                let selector = match (named, &reference.travel) {
                    (None, None) => SnapshotSelector::Head,
                    (None, Some(travel)) => self.selector(&table, travel).await?,
                    (Some(named), None) => SnapshotSelector::Ref(named.name),
                    (Some(named), Some(_)) => {
                        return Err(Error::invalid(
                            "the name names a branch or tag, and AS OF another version",
                        )
                        .with("table", table.ident())
                        .with("ref", named.name));
                    }
                };
                let mut name = table.ident().name().to_string();
                if let Some(kind) = metadata {
                    name.push('$');
                    name.push_str(kind.name());
                }
                match &selector {
                    SnapshotSelector::Head => {}
                    SnapshotSelector::Id(id) => name.push_str(&format!("@{id}")),
                    SnapshotSelector::AsOf(time) => name.push_str(&format!("@{time}ms")),
                    SnapshotSelector::Ref(reference) => name.push_str(&format!("@{reference}")),
                }
                let schema = table.ident().namespace().join(".");
                let alias = (name != written).then_some(written);
                let provider: Arc<dyn TableProvider> = match metadata {
                    Some(kind) => Arc::new(MetadataTableProvider::new(kind, table, selector)?),
                    None => Arc::new(IcebergTable::new(table, selector)?),
                };
                ((schema, name), alias, provider)
            }
        };
        pinned.entry(key.clone()).or_insert(provider);
        let catalog = self.engine.catalog().name().to_string();
        Ok(EngineName {
            parts: [catalog, key.0, key.1],
            alias,
        })
    }

    async fn selector(&self, table: &Table, travel: &Travel) -> Result<SnapshotSelector> {
        match travel {
            Travel::Version(version) => {
                // A branch may be called like a number; its name then comes first.
                let is_ref = table.metadata().snapshot_for_ref(version).is_some();
                Ok(match version.parse() {
                    Ok(id) if !is_ref => SnapshotSelector::Id(id),
                    _ => SnapshotSelector::Ref(version.clone()),
                })
            }
            Travel::Time(expr) => Ok(SnapshotSelector::AsOf(self.time(expr).await?)),
        }
    }

    /// The value of a constant expression in milliseconds since 1970 UTC.
    async fn time(&self, expr: &Expr) -> Result<i64> {
        let wrong = |cause: &str| {
            Error::invalid(format!("{expr} is no time: {cause}")).help(
                "write a timestamp such as '2026-01-31 12:00:00', in UTC unless it names a zone, \
                 or an expression such as current_timestamp() - INTERVAL 1 DAY",
            )
        };
        let value = self
            .constant(expr)
            .await?
            .ok_or_else(|| wrong("it has no value"))?;
        if let ScalarValue::Int64(Some(seconds)) = value {
            // Spark takes a number for seconds.
            return seconds
                .checked_mul(1_000)
                .ok_or_else(|| wrong("it is too large"));
        }
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        match value.cast_to(&micros) {
            Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(micros.div_euclid(1_000)),
            Ok(_) => Err(wrong("it is NULL")),
            Err(error) => Err(wrong(from_datafusion(error).message())),
        }
    }

    /// The value of a constant expression; none if it has no single value.
    pub(crate) async fn constant(&self, expr: &Expr) -> Result<Option<ScalarValue>> {
        if sql::has_query(expr) {
            return Err(Error::invalid(format!(
                "a constant is needed here, and {expr} is a query"
            ))
            .help("run the query first, and write the value that it gives"));
        }
        let Some(Statement::Query(query)) = sql::parse(&format!("SELECT {expr}"))?.pop() else {
            return Ok(None);
        };
        let state = self.state(Pinned::new());
        let plan = state
            .statement_to_plan(sql::engine_statement(query))
            .await
            .ours()?;
        let batches = DataFrame::new(state, plan).collect().await.ours()?;
        match batches.first().filter(|batch| batch.num_rows() == 1) {
            Some(batch) => ScalarValue::try_from_array(batch.column(0), 0)
                .ours()
                .map(Some),
            None => Ok(None),
        }
    }

    fn set(&self, key: &str, value: &str) -> Result<QueryOutput> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match key.to_lowercase().as_str() {
            "berglake.force_write" => {
                settings.force_write = match value.to_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => {
                        return Err(Error::invalid("the setting is true or false")
                            .with("setting", key)
                            .with("value", value));
                    }
                };
            }
            "berglake.partition_overwrite_mode" | "spark.sql.sources.partitionoverwritemode" => {
                settings.dynamic_overwrite = match value.to_lowercase().as_str() {
                    "dynamic" => true,
                    "static" => false,
                    _ => {
                        return Err(Error::invalid("the setting is static or dynamic")
                            .with("setting", key)
                            .with("value", value));
                    }
                };
            }
            key if key.starts_with("datafusion.") => {
                let mut config = settings.config.clone();
                config.options_mut().set(key, value).ours()?;
                settings.config = config;
            }
            _ => {
                return Err(Error::invalid("there is no such setting")
                    .with("setting", key)
                    .help(
                        "settings are berglake.force_write, berglake.partition_overwrite_mode and \
                         those of DataFusion (datafusion.…)",
                    ));
            }
        }
        Ok(QueryOutput::nothing())
    }

    async fn use_namespace(
        &self,
        name: &datafusion::sql::sqlparser::ast::ObjectName,
    ) -> Result<QueryOutput> {
        let settings = self.settings();
        let namespace = self
            .resolver(&settings)
            .find_namespace(&sql::parts(name)?)
            .await?;
        self.enter(&namespace).await?;
        Ok(QueryOutput::nothing())
    }
}

/// The plan with the types that its columns will have: until it is analyzed, a `CASE` has the type of
/// its first branch and a union that of its first part. An explanation analyzes what it explains.
fn analyzed(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Ok(plan);
    }
    state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .ours()
}

/// Where the engine finds a temporary table: a name with dots lies in a schema.
fn engine_key(name: &str, namespace: &[String]) -> (String, String) {
    match name.rsplit_once('.') {
        Some((schema, table)) => (schema.to_string(), table.to_string()),
        None => (namespace.join("."), name.to_string()),
    }
}

/// Columns are found without regard to case, as in Spark: where the engine did not find one and there
/// is exactly one that differs in case alone, the query is given that spelling.
fn put_case_right(query: &mut Query, error: &DataFusionError) -> bool {
    let DataFusionError::SchemaError(schema, _) = error.find_root() else {
        return false;
    };
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = schema.as_ref()
    else {
        return false;
    };
    let wrong = field.name.to_lowercase();
    let mut candidates: Vec<&str> = valid_fields
        .iter()
        .map(|field| field.name.as_str())
        .filter(|name| *name != field.name && name.to_lowercase() == wrong)
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    let [right] = candidates.as_slice() else {
        return false;
    };
    let place = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .or_else(|| field.spans.first())
        .map(|span| (span.start.line, span.start.column));
    sql::respell(query, &field.name, right, place)
        || (place.is_some() && sql::respell(query, &field.name, right, None))
}

/// Starts a query.
pub(crate) async fn output(frame: DataFrame) -> Result<QueryOutput> {
    let stream = frame.execute_stream().await.ours()?;
    Ok(QueryOutput {
        schema: stream.schema(),
        stream: stream.map(|batch| batch.ours()).boxed(),
    })
}
