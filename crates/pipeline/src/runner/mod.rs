//! Brings the tables of a pipeline up to date.
//!
//! The runner walks the flows in the order of the graph. For each it learns what is new in the
//! flow's source since the progress recorded in the target table, pins that range, runs the flow's
//! query over it, and commits rows, progress and dead letters together. A flow that fails leaves
//! its table as it was; flows that need it are skipped.

mod append;
mod check;
mod dataflow;
mod dead_letters;
mod expectations;
mod files;
mod inputs;
mod kafka;
mod limits;
mod owner;
mod refresh;
mod schemas;
mod sink;
mod start;
mod streaming;
mod tables;
mod telemetry;
mod types;
mod upsert;

use std::collections::HashSet;
use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::storage::Storage;
use berglake_format::{Environment, Error, Result, failpoint};
use berglake_query::{Engine, EngineOptions};
use tokio_util::sync::CancellationToken;

use crate::Project;
use crate::config::Config;
use crate::language::{Flow, Pipeline, SourceRef, TableName, Write};
use crate::report::{
    FlowKind, FlowPlan, FlowReport, FlowStatus, PlannedAction, RunPlan, RunReport,
};

pub use crate::language::DEAD_LETTER_PROPERTY;
pub use check::{SourceName, TableCheck};
pub use owner::PIPELINE_PROPERTY;
pub(crate) use schemas::Schemas;
pub(crate) use tables::ident;

/// What to run and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Only flows into tables of this layer (namespace).
    pub layer: Option<String>,
    /// Tables to empty and fill anew from the start of their sources.
    pub full_refresh: Vec<String>,
    /// What to do with a flow whose table was rolled back, or holds rows of a flow that is defined no
    /// more: `None` stops and asks.
    pub resume: Option<Resume>,
}

/// What to do with source rows between a rolled-back head and the recorded progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Reads them again: the rollback undid their rows. A flow without progress begins beside the rows
    /// of one that is defined no more.
    Replay,
    /// Leaves them out: the rollback meant to be rid of them.
    Skip,
}

/// Hears of a run while it goes on, for progress bars and logs. All methods do nothing by default.
pub trait Observer: Send + Sync {
    /// A flow starts.
    fn flow_started(&self, flow: &str, target: &str) {
        let _ = (flow, target);
    }
    /// A flow has read this many rows so far.
    fn rows_read(&self, flow: &str, rows: u64) {
        let _ = (flow, rows);
    }
    /// A flow has committed a batch or a refresh.
    fn committed(&self, flow: &str, target: &str, snapshot_id: Option<i64>) {
        let _ = (flow, target, snapshot_id);
    }
    /// A flow has ended.
    fn flow_finished(&self, report: &FlowReport) {
        let _ = report;
    }
}

/// Plans and runs the pipeline of a project.
pub struct Runner {
    project: Project,
    pipeline: Pipeline,
    catalog: Arc<dyn Catalog>,
    storage: Storage,
    environment: Environment,
    engine: Engine,
    /// Keeps rows in the order of their source, which decides between rows of equal sequence.
    ordered: Engine,
    /// The topics that flows read stay connected between runs.
    topics: kafka::Topics,
}

impl Runner {
    /// A runner over these handles. Parses the project's SQL files.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with all diagnostics of the SQL files.
    pub fn new(
        project: &Project,
        catalog: Arc<dyn Catalog>,
        storage: Storage,
        environment: Environment,
        engine: Engine,
    ) -> Result<Self> {
        let pipeline = project.pipeline()?;
        let options = EngineOptions {
            partitions: Some(1),
            environment: environment.clone(),
            ..EngineOptions::default()
        };
        let ordered = Engine::new(catalog.clone(), options)?;
        Ok(Self {
            project: project.clone(),
            pipeline,
            catalog,
            storage,
            environment,
            engine,
            ordered,
            topics: kafka::Topics::default(),
        })
    }

    /// The parsed pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Checks everything that can be checked without running: SQL, references, types, sources, and
    /// whether tables that exist are as defined.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with what was found.
    pub async fn validate(&self) -> Result<()> {
        let schemas = Schemas::of(self, self.pipeline.flows().iter()).await;
        for table in self.pipeline.tables() {
            let wanted = schemas.wanted(table)?;
            tables::check(self.catalog.as_ref(), &self.project.config, &wanted).await?;
        }
        Ok(())
    }

    /// What a run would do.
    ///
    /// # Errors
    /// Only what concerns no flow alone: an unknown layer or table.
    pub async fn plan(&self, options: &RunOptions) -> Result<RunPlan> {
        self.check(options)?;
        let schemas = Schemas::of(self, self.selected(options)).await;
        let mut flows = Vec::new();
        let mut moving: HashSet<&TableName> = HashSet::new();
        for flow in self.selected(options) {
            let action = match self.plan_flow(flow, &schemas, options).await {
                Ok(PlannedAction::UpToDate) => match self.behind(flow, &moving) {
                    Some(source) => PlannedAction::Update {
                        reads: format!("what {source} has after its update"),
                    },
                    None => PlannedAction::UpToDate,
                },
                Ok(action) => action,
                Err(error) => PlannedAction::Blocked {
                    reason: error.to_string(),
                },
            };
            if matches!(
                action,
                PlannedAction::Create { .. } | PlannedAction::Update { .. }
            ) {
                moving.insert(&flow.target);
            }
            flows.push(FlowPlan {
                flow: flow.name.clone(),
                target: flow.target.to_string(),
                kind: kind_of(flow),
                reason: reason_of(flow),
                action,
            });
        }
        Ok(RunPlan {
            pipeline: self.project.config.name.clone(),
            flows,
        })
    }

    /// Runs the flows in order. A flow that fails is in the report, and those that need it are skipped.
    ///
    /// # Errors
    /// Only what concerns no flow alone: an unknown layer or table.
    pub async fn run(&self, options: &RunOptions, observer: &dyn Observer) -> Result<RunReport> {
        self.check(options)?;
        let started = self.environment.clock().now_millis();
        let schemas = Schemas::of(self, self.selected(options)).await;
        let mut failed: HashSet<TableName> = HashSet::new();
        let mut reports = Vec::new();
        let stop = CancellationToken::new();
        for flow in self.selected(options) {
            failpoint::hit(failpoint::BETWEEN_FLOWS);
            let blocked_by = self.upstream(flow).find(|name| failed.contains(name));
            let report = if let Some(needs) = blocked_by {
                observer.flow_started(&flow.name, &flow.target.to_string());
                let mut report = empty_report(flow);
                report.status = FlowStatus::Skipped;
                report.error = Some(format!("{needs} could not be brought up to date"));
                telemetry::ended(self, flow, &report).await;
                observer.flow_finished(&report);
                report
            } else {
                let run = FlowRun {
                    runner: self,
                    flow,
                    schemas: &schemas,
                    options,
                    observer,
                    stop: &stop,
                };
                run.to_the_end().await.0
            };
            if matches!(report.status, FlowStatus::Failed | FlowStatus::Skipped) {
                failed.insert(flow.target.clone());
            }
            reports.push(report);
        }
        Ok(RunReport {
            pipeline: self.project.config.name.clone(),
            flows: reports,
            elapsed_ms: self.since(started),
        })
    }

    /// The catalog through which everything is committed.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The project's configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.project.config
    }

    /// Clock, ids, and who writes.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Brings the table of one flow up to date, and ends early, after the batch in flight, when it is
    /// told to. What the flow needs must have been planned.
    pub(crate) async fn bring_up(
        &self,
        flow: &Flow,
        schemas: &Schemas,
        observer: &dyn Observer,
        stop: &CancellationToken,
    ) -> (FlowReport, Option<Error>) {
        let run = FlowRun {
            runner: self,
            flow,
            schemas,
            options: &RunOptions::default(),
            observer,
            stop,
        };
        run.to_the_end().await
    }

    fn since(&self, started: i64) -> u64 {
        u64::try_from(self.environment.clock().now_millis() - started).unwrap_or(0)
    }

    async fn plan_flow(
        &self,
        flow: &Flow,
        schemas: &Schemas,
        options: &RunOptions,
    ) -> Result<PlannedAction> {
        let wanted = schemas.wanted(self.definition(flow)?)?;
        let target = tables::check(self.catalog.as_ref(), &self.project.config, &wanted).await?;
        inputs::describe(self, flow, target.as_ref(), options).await
    }

    /// The table among these, which are about to change, whose change makes a flow due.
    fn behind<'a>(&self, flow: &'a Flow, moving: &HashSet<&TableName>) -> Option<&'a TableName> {
        let stream = flow.stream.as_ref().map(|stream| &stream.from);
        // What is joined to a stream is read as it stands, and makes nothing due.
        let mut inputs = flow.inputs().filter(|input| match stream {
            Some(stream) => input.from == *stream,
            None => true,
        });
        inputs.find_map(|input| match &input.from {
            SourceRef::Table(name) => moving.contains(name).then_some(name),
            SourceRef::Function(_) => None,
        })
    }

    fn definition(&self, flow: &Flow) -> Result<&crate::language::Table> {
        self.pipeline.table(&flow.target).ok_or_else(|| {
            Error::internal("a flow writes a table that is not defined").with("flow", &flow.name)
        })
    }

    fn selected<'a>(&'a self, options: &'a RunOptions) -> impl Iterator<Item = &'a Flow> {
        self.pipeline.flows().iter().filter(move |flow| {
            options
                .layer
                .as_ref()
                .is_none_or(|layer| flow.target.namespace().join(".") == *layer)
        })
    }

    fn upstream<'a>(&'a self, flow: &'a Flow) -> impl Iterator<Item = &'a TableName> {
        self.pipeline
            .table(&flow.target)
            .into_iter()
            .flat_map(|table| &table.upstream)
            .chain([&flow.target])
    }

    fn check(&self, options: &RunOptions) -> Result<()> {
        if let Some(layer) = &options.layer {
            let layers = self.pipeline.layers();
            if !layers.contains(layer) {
                return Err(
                    Error::invalid(format!("the pipeline has no layer {layer:?}"))
                        .help(format!("it has {}", layers.join(", "))),
                );
            }
        }
        for table in &options.full_refresh {
            if !self
                .pipeline
                .tables()
                .iter()
                .any(|known| known.name().to_string() == *table)
            {
                let known: Vec<_> = self
                    .pipeline
                    .tables()
                    .iter()
                    .map(|table| table.name().to_string())
                    .collect();
                return Err(
                    Error::invalid(format!("the pipeline has no table {table:?}"))
                        .help(format!("it has {}", known.join(", "))),
                );
            }
            if !self
                .selected(options)
                .any(|flow| flow.target.to_string() == *table)
            {
                return Err(Error::invalid(format!(
                    "{table} is to be refreshed, and is not in the layer that is run"
                ))
                .with("layer", options.layer.as_deref().unwrap_or_default())
                .help("name its layer, or leave --layer out"));
            }
        }
        Ok(())
    }
}

/// One flow in one run.
struct FlowRun<'a> {
    runner: &'a Runner,
    flow: &'a Flow,
    schemas: &'a Schemas,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    /// Cancelled when the run is to end after the batch in flight.
    stop: &'a CancellationToken,
}

impl FlowRun<'_> {
    /// Brings the flow's table up to date; a failure is in the report too.
    async fn to_the_end(&self) -> (FlowReport, Option<Error>) {
        let (runner, flow) = (self.runner, self.flow);
        let started = runner.environment.clock().now_millis();
        let mut report = empty_report(flow);
        self.observer
            .flow_started(&flow.name, &flow.target.to_string());
        let failure = self.write(&mut report).await.err();
        if let Some(error) = &failure {
            tracing::debug!(flow = flow.name, %error, "flow failed");
            report.status = FlowStatus::Failed;
            report.error = Some(error.to_string());
            report.error_kind = Some(error.kind().as_str());
        }
        report.elapsed_ms = runner.since(started);
        telemetry::ended(runner, flow, &report).await;
        self.observer.flow_finished(&report);
        (report, failure)
    }

    async fn write(&self, report: &mut FlowReport) -> Result<()> {
        let runner = self.runner;
        let wanted = self.schemas.wanted(runner.definition(self.flow)?)?;
        tables::ensure(runner.catalog.as_ref(), &runner.project.config, &wanted).await?;
        match &self.flow.write {
            Write::Append | Write::Upsert { .. } => {
                // Another flow may read them, whether there are any or not.
                dead_letters::table_of(self).await?;
                streaming::run(self, report).await
            }
            Write::Replace => refresh::run(self, report).await,
        }
    }

    /// Whether the run is to end before the next batch.
    fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Says that something was committed.
    fn committed(&self, report: &FlowReport) {
        let target = self.flow.target.to_string();
        self.observer
            .committed(&self.flow.name, &target, report.snapshot_id);
    }

    fn full_refresh(&self) -> bool {
        self.options
            .full_refresh
            .contains(&self.flow.target.to_string())
    }

    /// The name under which the flow's progress is recorded: it outlives a change of the definition.
    fn progress_key(&self) -> String {
        progress_key(&self.runner.project, self.flow)
    }
}

fn progress_key(project: &Project, flow: &Flow) -> String {
    format!("{}.{}", project.config.name, flow.name)
}

fn kind_of(flow: &Flow) -> FlowKind {
    match flow.write {
        Write::Append => FlowKind::Append,
        Write::Upsert { .. } => FlowKind::Upsert,
        Write::Replace => FlowKind::FullRefresh,
    }
}

fn reason_of(flow: &Flow) -> String {
    match &flow.write {
        Write::Append => "a streaming table processes each source row once".into(),
        Write::Upsert { keys, .. } => format!(
            "AUTO CDC keeps the newest row of each ({})",
            keys.join(", ")
        ),
        Write::Replace => {
            "a materialized view is computed in full when a table that it reads has changed".into()
        }
    }
}

fn empty_report(flow: &Flow) -> FlowReport {
    FlowReport {
        flow: flow.name.clone(),
        target: flow.target.to_string(),
        kind: kind_of(flow),
        status: FlowStatus::UpToDate,
        rows_read: 0,
        rows_inserted: 0,
        rows_updated: 0,
        rows_deleted: 0,
        rows_superseded: 0,
        dead_letters: 0,
        expectations: Vec::new(),
        snapshot_id: None,
        warnings: Vec::new(),
        error: None,
        error_kind: None,
        elapsed_ms: 0,
    }
}

/// An error of the engine as one of ours; ours that travelled through it come back as they were.
pub(crate) fn engine_error(error: datafusion::error::DataFusionError) -> Error {
    berglake_query::from_datafusion(error)
}
