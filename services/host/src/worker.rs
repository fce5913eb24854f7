//! The roles that follow flows: bronze, silver and gold differ in their stage alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use berglake_format::{ErrorKind, Result};
use berglake_pipeline::Observer;
use berglake_pipeline::config::{Config, Listen};
use berglake_pipeline::report::{FlowReport, FlowStatus};
use berglake_pipeline::watch::{FlowState, Selection, Stage, Watch, WatchObserver};

use crate::health::Check;
use crate::role::{Context, Role};

/// A role that follows the flows of one stage.
#[derive(Debug, Clone, Copy)]
pub struct Worker(Stage);

impl Worker {
    /// The role of this stage.
    pub fn new(stage: Stage) -> Self {
        Self(stage)
    }
}

#[async_trait]
impl Role for Worker {
    fn name(&self) -> &'static str {
        self.0.as_str()
    }

    fn listen(&self, config: &Config) -> Listen {
        match self.0 {
            Stage::Bronze => config.services.bronze.listen.clone(),
            Stage::Silver => config.services.silver.listen.clone(),
            Stage::Gold => config.services.gold.listen.clone(),
        }
    }

    async fn run(&self, context: Context) -> Result<()> {
        let catalog = context.catalog().await?;
        let runner = match context.lake.runner(&catalog) {
            Ok(runner) => Arc::new(runner),
            // A lake can be served and asked without pipelines of its own.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                context.ready_but(&error.to_string());
                context.stop.cancelled().await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let watch =
            Watch::new(runner, &Selection::Stage(self.0))?.with_heads(context.heads().await?);
        let checks: HashMap<String, Check> = watch
            .flows()
            .map(|(flow, _)| (flow.to_string(), context.check(&format!("flow {flow}"))))
            .collect();
        if checks.is_empty() {
            context.ready_but("the pipeline has no flow for this role");
        } else {
            context.ready();
        }
        let reporter = Reporter {
            role: self.name(),
            checks,
            last: Mutex::default(),
        };
        let probe = context.watch_catalog(catalog.as_ref());
        tokio::join!(watch.run(&context.stop, Arc::new(reporter)), probe);
        Ok(())
    }
}

/// Turns what becomes of flows into readiness and logs.
struct Reporter {
    role: &'static str,
    checks: HashMap<String, Check>,
    /// Why a flow does not go on, by its name: logged once.
    last: Mutex<HashMap<String, String>>,
}

impl Reporter {
    /// Whether this is another reason than the last one of the flow.
    fn is_news(&self, flow: &str, reason: Option<&str>) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => last
                .insert(flow.to_string(), reason.to_string())
                .is_none_or(|known| known != reason),
            None => last.remove(flow).is_some(),
        }
    }
}

impl Observer for Reporter {
    fn committed(&self, flow: &str, _target: &str, _snapshot_id: Option<i64>) {
        // A first run takes as long as there is to take; its first commit shows that the flow works.
        if let Some(check) = self.checks.get(flow) {
            check.ok();
        }
    }

    fn flow_finished(&self, report: &FlowReport) {
        if report.status != FlowStatus::Updated {
            return;
        }
        tracing::info!(
            role = self.role,
            flow = report.flow,
            table = report.target,
            read = report.rows_read,
            inserted = report.rows_inserted,
            updated = report.rows_updated,
            dead_letters = report.dead_letters,
            elapsed_ms = report.elapsed_ms,
            "updated"
        );
        for warning in &report.warnings {
            if self.is_news(&format!("{} warning {warning}", report.flow), Some(warning)) {
                tracing::warn!(role = self.role, flow = report.flow, warning);
            }
        }
    }
}

impl WatchObserver for Reporter {
    fn state_changed(&self, flow: &str, target: &str, state: &FlowState) {
        let Some(check) = self.checks.get(flow) else {
            return;
        };
        let role = self.role;
        match state {
            // Whether it works is not known yet.
            FlowState::Running => {}
            FlowState::UpToDate => {
                check.ok();
                if self.is_news(flow, None) {
                    tracing::info!(role, flow, table = target, "goes on");
                }
            }
            FlowState::StandingBy { reason } => {
                check.degraded(format!("stands by: {reason}"));
                if self.is_news(flow, Some(reason)) {
                    tracing::warn!(role, flow, table = target, reason, "stands by");
                }
            }
            FlowState::Waiting { reason, .. } => {
                check.waiting(reason.clone());
                if self.is_news(flow, Some(reason)) {
                    tracing::info!(role, flow, table = target, reason, "waits");
                }
            }
            FlowState::Retrying {
                reason, failures, ..
            } => {
                check.failing(reason.clone());
                if self.is_news(flow, Some(reason)) {
                    tracing::warn!(role, flow, table = target, reason, failures, "tried again");
                }
            }
            FlowState::Stopped { reason, .. } => {
                check.degraded(format!("stopped: {reason}"));
                if self.is_news(flow, Some(reason)) {
                    tracing::error!(role, flow, table = target, reason, "stopped");
                }
            }
        }
    }
}
