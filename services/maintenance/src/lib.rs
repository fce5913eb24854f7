//! The role that keeps tables healthy on schedules.
//!
//! [`run`] follows the schedules of a project's `[maintenance]` section until it is told to stop. It
//! needs a catalog and nothing else: what flows still need stands in the tables themselves.
#![deny(missing_docs)]

use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::Result;
use berglake_host::Lake;
use berglake_maintenance::schedule::{Job, Schedule, Scheduler, follow};
use berglake_maintenance::{Maintenance, Operation, Policies, Stop};
use tokio_util::sync::CancellationToken;

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
    let jobs = jobs(lake)?;
    let policies = Policies {
        defaults: lake.project.config.defaults.clone(),
        layers: lake.project.config.layers.clone(),
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
fn jobs(lake: &Lake) -> Result<Vec<Job<Operation>>> {
    let config = &lake.project.config.maintenance;
    let schedules = [
        (Operation::Compact, &config.compact),
        (Operation::Expire, &config.expire),
    ];
    let mut jobs = Vec::new();
    for (task, cron) in schedules {
        if let Some(cron) = cron {
            jobs.push(Job {
                task,
                schedule: Schedule::parse(cron, &config.time_zone)?,
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
