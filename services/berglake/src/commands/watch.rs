//! `berglake run --watch`

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use berglake_host::signals::Signals;
use berglake_pipeline::Observer;
use berglake_pipeline::report::{FlowReport, FlowStatus};
use berglake_pipeline::watch::{FlowState, Selection, Watch, WatchObserver};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::render::progress::summary;

pub(crate) async fn run(global: &Global, layer: Option<&str>) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let signals = Signals::listen();
    let lake = compose::lake(global)?;
    // Pipelines that do not parse make no catalog: it is opened only after they are read.
    let fresh = compose::catalog_to_read(&lake).await?;
    lake.runner(&fresh)?;
    let catalog = compose::catalog(&lake).await?;
    let runner = Arc::new(lake.runner(&catalog)?);
    let selection = layer.map_or(Selection::All, |layer| Selection::Layer(layer.to_string()));
    let watch = Watch::new(runner, &selection)?;
    let teller = Arc::new(Teller {
        json: output == Output::Json,
        last: Mutex::default(),
    });
    let stop = CancellationToken::new();
    let work = async {
        let grace = lake.project.config.services.shutdown_timeout;
        let mut watching = std::pin::pin!(watch.run(&stop, teller));
        tokio::select! {
            () = &mut watching => true,
            () = stop.cancelled() => tokio::time::timeout(grace, watching).await.is_ok(),
        }
    };
    match signals.govern(&stop, work).await {
        Some(true) => Ok(()),
        // What was in flight is abandoned, and done again by the next run.
        Some(false) | None => Err(Failure::Interrupted),
    }
}

/// Tells what happens, a line each, as it happens.
struct Teller {
    json: bool,
    /// The reason that was told last for each flow that does not go on.
    last: Mutex<HashMap<String, String>>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Updated(&'a FlowReport),
    State {
        flow: &'a str,
        target: &'a str,
        #[serde(flatten)]
        state: &'a FlowState,
    },
}

impl Teller {
    /// Prints a line. Whoever read it may have gone; the work goes on.
    fn tell(&self, event: &Event<'_>, text: impl FnOnce() -> String) {
        let mut out = std::io::stdout().lock();
        let line = if self.json {
            serde_json::to_string(event).unwrap_or_default()
        } else {
            text()
        };
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl Observer for Teller {
    fn flow_finished(&self, report: &FlowReport) {
        if report.status == FlowStatus::Updated {
            self.tell(&Event::Updated(report), || {
                format!("{}: {}", report.target, summary(report))
            });
        }
    }
}

impl WatchObserver for Teller {
    fn state_changed(&self, flow: &str, target: &str, state: &FlowState) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_news, text) = match state {
            FlowState::Running => return,
            FlowState::UpToDate => (last.remove(flow).is_some(), "goes on".to_string()),
            FlowState::StandingBy { reason } => (true, format!("stands by: {reason}")),
            FlowState::Waiting { reason, .. } => (true, format!("waits: {reason}")),
            FlowState::Retrying { reason, .. } => (true, format!("tries again: {reason}")),
            FlowState::Stopped { reason, .. } => (true, format!("stopped: {reason}")),
        };
        let is_news = is_news
            && state.reason().is_none_or(|_| {
                let known = last.insert(flow.to_string(), text.clone());
                known.as_ref() != Some(&text)
            });
        if is_news {
            let event = Event::State {
                flow,
                target,
                state,
            };
            self.tell(&event, || format!("{target}: {text}"));
        }
    }
}
