//! `berglake up` and `berglake serve`

use std::sync::Arc;

use berglake_host::signals::Signals;
use berglake_host::{Host, Role};

use crate::cli::{Global, Output, RoleName};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::output::Out;

/// Runs all roles in this process.
pub(crate) async fn up(global: &Global) -> Outcome {
    let mut roles = vec![
        RoleName::Catalog,
        RoleName::Query,
        RoleName::Bronze,
        RoleName::Silver,
        RoleName::Gold,
        RoleName::Maintenance,
    ];
    // A catalog that is served elsewhere is not served again.
    if compose::lake(global)?.project.config.is_rest_catalog() {
        roles.retain(|role| *role != RoleName::Catalog);
    }
    run(global, &roles).await
}

/// Runs one role.
pub(crate) async fn one(global: &Global, role: RoleName) -> Outcome {
    run(global, &[role]).await
}

fn role(name: RoleName) -> Arc<dyn Role> {
    match name {
        RoleName::Catalog => Arc::new(berglake_service_catalog::role()),
        RoleName::Bronze => Arc::new(berglake_service_bronze::role()),
        RoleName::Silver => Arc::new(berglake_service_silver::role()),
        RoleName::Gold => Arc::new(berglake_service_gold::role()),
        RoleName::Query => Arc::new(berglake_service_query::role()),
        RoleName::Maintenance => Arc::new(berglake_service_maintenance::role()),
    }
}

async fn run(global: &Global, names: &[RoleName]) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    // Before anybody can know that the process is there.
    let signals = Signals::listen();
    let lake = compose::lake(global)?;
    let project = lake.project.config.name.clone();
    let roles = names.iter().copied().map(role).collect();
    let host = Host::new(lake, roles).await?;
    let mut out = Out::new();
    for (role, address) in host.addresses() {
        let url = format!("http://{address}");
        match output {
            Output::Json => out.json(&serde_json::json!({"role": role, "url": url}))?,
            _ => out.line(&format!("{role:<10} {url}"))?,
        }
    }
    if output != Output::Json {
        let names: Vec<&str> = host.roles().collect();
        out.line(&format!("{project}: {} started", names.join(", ")))?;
    }
    out.flush()?;
    let stop = host.stop_token();
    match signals.govern(&stop, host.run(metrics)).await {
        Some(outcome) => outcome.map_err(Failure::opening),
        None => Err(Failure::Interrupted),
    }
}

/// The metrics of this process, as Prometheus reads them.
fn metrics() -> String {
    berglake_telemetry::metrics::prometheus_text().unwrap_or_else(|error| {
        tracing::error!(%error, "the metrics cannot be shown");
        String::new()
    })
}
