//! The role that keeps tables healthy on schedules: those of the project's `[maintenance]` section.
//!
//! It needs a catalog and nothing else: what flows still need stands in the tables themselves. What is
//! done to a table is in [`berglake_maintenance`], and what every role has is in [`berglake_host`].
#![deny(missing_docs)]

use std::sync::Arc;

use async_trait::async_trait;
use berglake_catalog::Catalog;
use berglake_format::Result;
use berglake_host::{Context, Lake, Role};
use berglake_maintenance::schedule::{Job, Schedule, Scheduler, follow};
use berglake_maintenance::{Maintenance, Operation, Policies, Stop};
use berglake_pipeline::config::{Config, Listen};
use tokio_util::sync::CancellationToken;

/// Compacts tables and lets snapshots expire, on schedules.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaintenanceRole;

/// The role.
pub fn role() -> MaintenanceRole {
    MaintenanceRole
}

#[async_trait]
impl Role for MaintenanceRole {
    fn name(&self) -> &'static str {
        "maintenance"
    }

    fn listen(&self, config: &Config) -> Listen {
        config.services.maintenance_listen.clone()
    }

    fn check(&self, config: &Config) -> Result<()> {
        jobs(config).map(drop)
    }

    async fn run(&self, context: Context) -> Result<()> {
        let catalog = context.catalog().await?;
        context.ready();
        let working = run(&context.lake, catalog.clone(), context.stop.clone());
        let (done, ()) = tokio::join!(working, context.watch_catalog(catalog.as_ref()));
        done
    }
}

/// Maintains all tables of the catalog on the project's schedules until `shutdown`, and then finishes
/// what is in hand. One operation at a time is at work on a table.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a schedule or time zone that is none.
/// What goes wrong later is logged and tried again.
pub async fn run(
    lake: &Lake,
    catalog: Arc<dyn Catalog>,
    shutdown: CancellationToken,
) -> Result<()> {
    let config = &lake.project.config;
    let jobs = jobs(config)?;
    let policies = Policies {
        defaults: config.defaults.clone(),
        layers: config.layers.clone(),
        ..Policies::default()
    };
    let maintenance = Maintenance::new(catalog, policies);
    let stop = Stop::new();
    let clock = lake.environment.clock();
    for job in &jobs {
        tracing::info!(operation = %job.task, schedule = %job.schedule, "scheduled");
    }
    let scheduler = Scheduler::new(jobs, clock.now_millis());
    let working = follow(scheduler, clock, &stop, |operation| {
        work(&maintenance, operation, &stop)
    });
    let stopping = async {
        shutdown.cancelled().await;
        stop.ask();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = working => {}
        () = stopping => {}
    }
    Ok(())
}

/// The jobs of a project.
fn jobs(config: &Config) -> Result<Vec<Job<Operation>>> {
    let config = &config.maintenance;
    let schedules = [
        (Operation::Compact, &config.compact),
        (Operation::Expire, &config.expire),
    ];
    let mut jobs = Vec::new();
    for (task, cron) in schedules {
        if let Some(cron) = cron {
            let schedule = Schedule::parse(cron, &config.time_zone)
                .map_err(|error| error.with("key", format!("maintenance.{task}")))?;
            jobs.push(Job {
                task,
                schedule,
                retries: u32::try_from(config.retries).unwrap_or(u32::MAX),
                delay: config.retry_delay,
            });
        }
    }
    Ok(jobs)
}

/// Does one operation to all tables; whether nothing failed.
async fn work(maintenance: &Maintenance, operation: Operation, stop: &Stop) -> bool {
    let result = async {
        let tables = maintenance.tables().await?;
        maintenance.run(&tables, &[operation], stop).await
    };
    match result.await {
        Ok(report) => report.failures().is_empty(),
        Err(error) => {
            tracing::warn!(%operation, %error, "maintenance failed");
            false
        }
    }
}
