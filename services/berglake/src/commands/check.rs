//! `berglake check`

use berglake_catalog::Catalog;
use berglake_format::Result;
use berglake_format::storage::Storage;
use berglake_host::{Lake, probe};
use serde::Serialize;

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::render::duration;

/// One step, as it is reported.
#[derive(Serialize)]
struct Step {
    step: &'static str,
    subject: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    steps: Vec<Step>,
}

/// Takes steps until one fails.
struct Checks {
    json: bool,
    out: Out,
    steps: Vec<Step>,
}

impl Checks {
    /// Takes a step, and says at once what came of it.
    async fn step<T>(
        &mut self,
        step: &'static str,
        subject: &str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Outcome<T> {
        let started = tokio::time::Instant::now();
        let outcome = work.await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut taken = Step {
            step,
            subject: subject.to_string(),
            ok: outcome.is_ok(),
            detail: None,
            error: None,
            help: None,
            elapsed_ms,
        };
        match &outcome {
            Ok((_, detail)) => taken.detail = Some(detail.clone()),
            Err(error) => {
                taken.error = Some(error.to_string());
                taken.help = error.advice().map(str::to_string);
            }
        }
        if !self.json {
            let (mark, detail) = match &taken.detail {
                Some(detail) => ("ok", detail.as_str()),
                None => ("FAILED", ""),
            };
            let time = duration(elapsed_ms);
            let line = format!("{mark:<6}  {step:<8}  {subject}: {detail} ({time})");
            self.out.line(&line)?;
            // A step may take long; the ones before it are there to be read.
            self.out.flush()?;
        }
        self.steps.push(taken);
        match outcome {
            Ok((found, _)) => Ok(found),
            Err(error) => Err(Failure::opening(error)),
        }
    }

    fn finish(mut self, ok: bool) -> Outcome {
        if self.json {
            let steps = std::mem::take(&mut self.steps);
            self.out.json(&Report { ok, steps })?;
        } else if ok {
            self.out
                .line(&format!("all {} checks passed", self.steps.len()))?;
        }
        self.out.flush()
    }
}

pub(crate) async fn run(global: &Global) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let mut checks = Checks {
        json: output == Output::Json,
        out: Out::new(),
        steps: Vec::new(),
    };
    let outcome = take(&lake, &mut checks).await;
    checks.finish(outcome.is_ok())?;
    outcome
}

/// The storage of the warehouse. A REST catalog may hand out how to reach it, and does so with tables.
async fn warehouse_storage(lake: &Lake, catalog: &dyn Catalog) -> Result<Storage> {
    if lake.project.config.is_rest_catalog()
        && let Some(ident) = super::all_tables(catalog).await?.first()
    {
        return Ok(catalog.load(ident).await?.storage().clone());
    }
    Ok(lake.storage.clone())
}

async fn take(lake: &Lake, checks: &mut Checks) -> Outcome {
    let config = &lake.project.config;
    let uri = berglake_pipeline::config::mask_url(config.catalog_uri.reveal());
    let catalog = checks
        .step("catalog", &uri, async {
            let catalog = lake.catalog().await?;
            let namespaces = catalog.list_namespaces(None).await?.len();
            Ok((catalog, format!("reached, {namespaces} namespaces")))
        })
        .await?;
    let warehouse = catalog.warehouse().to_string();
    checks
        .step("storage", &warehouse, async {
            let storage = warehouse_storage(lake, catalog.as_ref()).await?;
            probe::store(&storage, catalog.warehouse(), &lake.environment).await?;
            Ok((
                (),
                "a file was written, read, listed and deleted".to_string(),
            ))
        })
        .await?;
    if !lake.project.pipelines().exists() {
        return Ok(());
    }
    let files = lake.project.pipelines().display().to_string();
    let runner = checks
        .step("pipeline", &files, async {
            let runner = lake.runner(&catalog)?;
            let flows = runner.pipeline().flows().len();
            Ok((runner, format!("{flows} flows")))
        })
        .await?;
    for source in runner.sources() {
        let subject = format!("{} of {}", source.source, source.flow);
        checks
            .step("source", &subject, async {
                runner.reach(&source).await.map(|found| ((), found))
            })
            .await?;
    }
    for table in runner.tables()? {
        checks
            .step("table", &table, async {
                let check = runner.ensure_table(&table).await?;
                let done = if check.created { "created" } else { "verified" };
                Ok(((), format!("{done}, at {}", check.location)))
            })
            .await?;
    }
    Ok(())
}
