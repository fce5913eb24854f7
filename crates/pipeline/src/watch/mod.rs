//! Follows flows: each one runs again when there is something new for it, until it is told to stop.
//!
//! Every flow has a loop of its own, so that one that fails holds up no other:
//!
//! ```text
//!            something new                      nothing left
//!   waiting ───────────────► one run of the flow ───────────► waiting
//!      ▲                        │
//!      │  after a pause         ├─ a store or a server is away ──────────► retrying, with backoff
//!      │                        ├─ what it reads is not there yet ───────► waiting for it, likewise
//!      └────────────────────────┼─ somebody else committed first ────────► standing by
//!                               └─ it would fail the same way again ─────► stopped, until one of its
//!                                                                          tables has changed
//! ```
//!
//! A flow that reads files or a log looks at its source at each interval. A flow that reads tables looks
//! at their heads, which costs one question to the catalog each, and is woken at once by commits of this
//! process. Nothing is remembered beside the tables: what a run takes is decided by the progress that is
//! recorded in its target, so whoever starts again, here or elsewhere, goes on from there, and of two
//! processes that follow one flow only one commits each batch.
//!
//! Read these first: [`Watch`], [`Selection`], [`FlowState`].

mod follow;
mod heads;
mod state;

use std::sync::Arc;
use std::time::Duration;

use berglake_format::{Error, Result};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::language::{Flow, SourceRef, Write};
use crate::report::FlowReport;
use crate::{Observer, Runner};

pub use heads::Heads;
pub use state::FlowState;

use follow::Follow;

/// The kinds of work that flows do, each done by a role of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Sources into tables.
    Bronze,
    /// Changed rows into clean rows.
    Silver,
    /// Changed groups into aggregates.
    Gold,
}

impl Stage {
    /// The stage's name, which is also that of the namespace that belongs to it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }

    /// The stage of a flow: that which the namespace of its table names, and in other namespaces that
    /// which does such work. Each flow has exactly one.
    pub fn of(flow: &Flow) -> Self {
        let namespace = flow.target.namespace().last().map(String::as_str);
        let named = [Self::Bronze, Self::Silver, Self::Gold]
            .into_iter()
            .find(|stage| namespace == Some(stage.as_str()));
        named.unwrap_or(match (&flow.write, &flow.stream) {
            (Write::Replace, _) | (_, None) => Self::Gold,
            (_, Some(stream)) => match stream.from {
                SourceRef::Function(_) => Self::Bronze,
                SourceRef::Table(_) => Self::Silver,
            },
        })
    }
}

/// Which flows are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of the pipeline.
    All,
    /// Those into tables of this layer (namespace).
    Layer(String),
    /// Those of this stage.
    Stage(Stage),
}

/// Hears of flows while they are followed. All methods do nothing by default.
pub trait WatchObserver: Observer {
    /// A flow is in another state than before.
    fn state_changed(&self, flow: &str, target: &str, state: &FlowState) {
        let _ = (flow, target, state);
    }
}

/// Follows flows of one pipeline.
pub struct Watch {
    runner: Arc<Runner>,
    /// Their places in the pipeline, and how often each looks for something new.
    flows: Vec<(usize, Duration)>,
    heads: Heads,
}

impl Watch {
    /// Follows these flows with this runner. Sources are looked at once per interval of the flow's
    /// stage (`services.*.interval`); a flow that reads tables runs at most once per interval.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a layer that the pipeline does
    /// not have.
    pub fn new(runner: Arc<Runner>, selection: &Selection) -> Result<Self> {
        let pipeline = runner.pipeline();
        if let Selection::Layer(layer) = selection {
            let layers = pipeline.layers();
            if !layers.contains(layer) {
                return Err(
                    Error::invalid(format!("the pipeline has no layer {layer:?}"))
                        .help(format!("it has {}", layers.join(", "))),
                );
            }
        }
        let selected = |flow: &Flow| match selection {
            Selection::All => true,
            Selection::Layer(layer) => flow.target.namespace().join(".") == *layer,
            Selection::Stage(stage) => Stage::of(flow) == *stage,
        };
        let services = &runner.config().services;
        let interval = |flow: &Flow| match Stage::of(flow) {
            Stage::Bronze => services.bronze.interval,
            Stage::Silver => services.silver.interval,
            Stage::Gold => services.gold.interval,
        };
        let flows = pipeline.flows().iter().enumerate();
        let flows = flows
            .filter(|(_, flow)| selected(flow))
            .map(|(place, flow)| (place, interval(flow)))
            .collect();
        let heads = Heads::new(runner.catalog().clone());
        Ok(Self {
            runner,
            flows,
            heads,
        })
    }

    /// Looks at heads through these, which others in this process share: a commit of one wakes all.
    #[must_use]
    pub fn with_heads(mut self, heads: Heads) -> Self {
        self.heads = heads;
        self
    }

    /// The flows that are followed, with the tables that they write.
    pub fn flows(&self) -> impl Iterator<Item = (&str, String)> {
        let flows = self.runner.pipeline().flows();
        self.flows
            .iter()
            .filter_map(|(place, _)| flows.get(*place))
            .map(|flow| (flow.name.as_str(), flow.target.to_string()))
    }

    /// Follows the flows until `stop` is cancelled, then ends when the batches in flight are
    /// committed. Dropping it abandons them; either way nothing is lost, since a batch and its
    /// progress are one commit.
    pub async fn run(&self, stop: &CancellationToken, observer: Arc<dyn WatchObserver>) {
        let hearing = Arc::new(Hearing {
            observer,
            heads: self.heads.clone(),
        });
        let follows = self.flows.iter().map(|(place, interval)| {
            let follow = Follow {
                runner: self.runner.clone(),
                place: *place,
                interval: *interval,
                heads: self.heads.clone(),
                observer: hearing.clone(),
                stop: stop.clone(),
            };
            follow.run()
        });
        join_all(follows).await;
        stop.cancelled().await;
    }
}

/// Passes on what is observed, and wakes those that wait for commits.
struct Hearing {
    observer: Arc<dyn WatchObserver>,
    heads: Heads,
}

impl Observer for Hearing {
    fn flow_started(&self, flow: &str, target: &str) {
        self.observer.flow_started(flow, target);
    }

    fn rows_read(&self, flow: &str, rows: u64) {
        self.observer.rows_read(flow, rows);
    }

    fn committed(&self, flow: &str, target: &str, snapshot_id: Option<i64>) {
        self.heads.committed();
        self.observer.committed(flow, target, snapshot_id);
    }

    fn flow_finished(&self, report: &FlowReport) {
        self.observer.flow_finished(report);
    }
}

impl WatchObserver for Hearing {
    fn state_changed(&self, flow: &str, target: &str, state: &FlowState) {
        self.observer.state_changed(flow, target, state);
    }
}
