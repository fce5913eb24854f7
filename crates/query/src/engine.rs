//! The engine: a catalog, DataFusion, and what both need.

use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::properties::TableDefaults;
use berglake_format::{Environment, Error, Result};
use chrono::DateTime;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::TableReference;

use crate::coercion;
use crate::error::IntoOurs;
use crate::functions;
use crate::lake::{Lake, Pinned};
use crate::options::EngineOptions;
use crate::output::QueryOutput;
use crate::procedures::Procedures;
use crate::session::Session;
use crate::yielding::YieldingJoins;

/// Runs SQL over the tables of a catalog. Cheap to clone; all clones share memory bounds and caches.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Arc<dyn Catalog>,
    state: SessionState,
    namespace: Vec<String>,
    table_defaults: TableDefaults,
    environment: Environment,
    procedures: Procedures,
}

impl Engine {
    /// An engine over a catalog.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for options that make no sense, two
    /// procedures of one name among them.
    pub fn new(catalog: Arc<dyn Catalog>, options: EngineOptions) -> Result<Self> {
        if options.batch_size == 0 || options.partitions == Some(0) {
            return Err(Error::invalid(
                "batch size and partitions must be at least 1",
            ));
        }
        let mut runtime = RuntimeEnvBuilder::new().with_metadata_cache_limit(options.footer_cache);
        if let Some(bytes) = options.memory_limit {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
        }
        if let Some(folder) = options.spill_folder {
            runtime = runtime.with_temp_file_path(folder);
        }
        let mut config = SessionConfig::new()
            .with_batch_size(options.batch_size)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(catalog.name(), options.namespace.join("."));
        if let Some(partitions) = options.partitions {
            config = config.with_target_partitions(partitions);
        }
        let settings = config.options_mut();
        settings.execution.time_zone = Some("+00:00".to_string());
        settings.sql_parser.collect_spans = true;
        // `0.1` is exact; what has an exponent is a double (`sql::literals`).
        settings.sql_parser.parse_float_as_decimal = true;
        if let Some(bytes) = options.memory_limit {
            // Each part of a sort puts memory aside for the time when it must merge what it spilled.
            // The engine's default is made for gigabytes, and a small limit would leave nothing.
            let parts = settings.execution.target_partitions.max(1);
            let reserve = &mut settings.execution.sort_spill_reservation_bytes;
            *reserve = (*reserve).min(bytes / (parts * 8));
        }
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc().ours()?)
            .with_default_features()
            .with_analyzer_rules(coercion::rules())
            .with_type_planner(Arc::new(coercion::Types))
            .with_physical_optimizer_rule(Arc::new(YieldingJoins))
            .with_catalog_list(Arc::new(Lake::new(Arc::clone(&catalog), Pinned::new())))
            .build();
        functions::register(&mut state).ours()?;
        let procedures = Procedures::with(options.procedures)?;
        Ok(Self(Arc::new(Inner {
            catalog,
            state,
            namespace: options.namespace,
            table_defaults: options.table_defaults,
            environment: options.environment,
            procedures,
        })))
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.0.catalog
    }

    /// A connection for statements in the engine's own dialect: time travel, metadata tables, DDL.
    pub fn connect(&self) -> Session {
        Session::new(self.clone(), Vec::new())
    }

    /// A connection that has these tables beside those of the catalog. They hide tables of the
    /// catalog of the same name; a name may have dots.
    pub fn connect_with(&self, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Session {
        Session::new(self.clone(), tables)
    }

    /// DataFusion's own context over the catalog, with the engine's functions and bounds. Tables can
    /// be registered in it, for it alone; names in it are plain DataFusion: no time travel, no
    /// metadata tables, case matters.
    pub fn session(&self) -> SessionContext {
        let config = self.0.state.config().clone();
        SessionContext::new_with_state(self.state_with(config, Pinned::new()))
    }

    /// As [`session`](Self::session), and plans in it keep the order of the rows that they read,
    /// unless they sort, join or aggregate: they run in one part.
    pub fn ordered_session(&self) -> SessionContext {
        let config = self.0.state.config().clone().with_target_partitions(1);
        SessionContext::new_with_state(self.state_with(config, Pinned::new()))
    }

    /// As [`session`](Self::session), with these tables registered.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for two tables of one name.
    pub fn session_with(
        &self,
        tables: Vec<(String, Arc<dyn TableProvider>)>,
    ) -> Result<SessionContext> {
        let context = self.session();
        for (name, table) in tables {
            let reference = TableReference::parse_str_normalized(&name, true);
            context.register_table(reference, table).ours()?;
        }
        Ok(context)
    }

    /// Runs one statement on a connection of its own.
    ///
    /// # Errors
    /// As [`Session::sql`].
    pub async fn sql(&self, text: &str) -> Result<QueryOutput> {
        self.connect().sql(text).await
    }

    /// A state of DataFusion's with these settings and tables.
    pub(crate) fn state_with(&self, config: SessionConfig, pinned: Pinned) -> SessionState {
        let lake = Lake::new(Arc::clone(&self.0.catalog), pinned);
        let mut state = SessionStateBuilder::new_from_existing(self.0.state.clone())
            .with_config(config)
            .with_catalog_list(Arc::new(lake))
            .build();
        state.mark_start_execution();
        // All calls of `current_timestamp()` in a statement show one time, that of this clock.
        let now = DateTime::from_timestamp_micros(self.0.environment.clock().now_micros());
        state.execution_props_mut().query_execution_start_time = now;
        state
    }

    pub(crate) fn state(&self) -> &SessionState {
        &self.0.state
    }

    pub(crate) fn table_defaults(&self) -> &TableDefaults {
        &self.0.table_defaults
    }

    pub(crate) fn procedures(&self) -> &Procedures {
        &self.0.procedures
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn namespace(&self) -> &[String] {
        &self.0.namespace
    }
}
