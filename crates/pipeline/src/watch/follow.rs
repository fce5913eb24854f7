//! The loop of one flow.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use berglake_format::{Error, Result, TableIdent};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::heads::{Head, Heads};
use super::state::{FlowState, Verdict, pause, spread, verdict};
use super::{Hearing, WatchObserver};
use crate::Runner;
use crate::language::{Flow, SourceRef};
use crate::runner::{Schemas, ident};

/// One flow that is followed.
pub(super) struct Follow {
    pub(super) runner: Arc<Runner>,
    /// The flow's place in the pipeline.
    pub(super) place: usize,
    pub(super) interval: Duration,
    pub(super) heads: Heads,
    pub(super) observer: Arc<Hearing>,
    pub(super) stop: CancellationToken,
}

/// What a flow's tables pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    inputs: Vec<Head>,
    target: Head,
}

impl Seen {
    fn lacks_an_input(&self) -> bool {
        self.inputs.iter().any(Option::is_none)
    }
}

/// The tables around a flow.
struct Tables {
    /// Those that it reads.
    inputs: Vec<TableIdent>,
    target: TableIdent,
    /// Whether it reads something that is no table: nobody can say whether there is something new.
    has_source: bool,
    /// Whether it reads a table that another pipeline or engine keeps.
    has_foreign: bool,
}

impl Follow {
    /// Follows until it is told to stop.
    pub(super) async fn run(self) {
        let runner = self.runner.clone();
        let Some(flow) = runner.pipeline().flows().get(self.place) else {
            return;
        };
        let tables = match self.tables(flow) {
            Ok(tables) => tables,
            Err(error) => {
                self.say(flow, &stopped(&error));
                return;
            }
        };
        let mut schemas: Option<Arc<Schemas>> = None;
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            let mut before = None;
            let outcome = match self.seen(&tables, started).await {
                Ok(seen) => {
                    before = Some(seen);
                    if failures == 0 {
                        self.say(flow, &FlowState::Running);
                    }
                    self.attempt(schemas.take()).await
                }
                Err(error) => Err(error),
            };
            let error = match outcome {
                Ok(planned) => {
                    failures = 0;
                    // The columns of tables that others keep may change at any time.
                    schemas = (!tables.has_foreign).then_some(planned);
                    if self.stop.is_cancelled() {
                        break;
                    }
                    self.say(flow, &FlowState::UpToDate);
                    let next = started + self.interval;
                    self.until_news(&tables, before.as_ref(), next).await;
                    continue;
                }
                Err(error) => error,
            };
            if self.stop.is_cancelled() {
                break;
            }
            failures += 1;
            let after = self.seen(&tables, Instant::now()).await.ok();
            let moved = matches!((&before, &after), (Some(before), Some(after)) if before != after);
            let absent = after.as_ref().is_some_and(Seen::lacks_an_input);
            let verdict = verdict(&error, failures, moved, absent);
            let pause = spread(pause(verdict, failures), self.chance());
            self.say(flow, &state(verdict, &error, failures, pause));
            match verdict {
                Verdict::Retry | Verdict::Wait => self.rest(pause).await,
                Verdict::StandBy => {
                    failures = 0;
                    self.stand_by(&tables, after, pause).await;
                }
                Verdict::Stop => self.until_changed(&tables, after, pause).await,
            }
        }
    }

    fn tables(&self, flow: &Flow) -> Result<Tables> {
        let mut inputs = BTreeSet::new();
        let (mut has_source, mut has_foreign) = (false, false);
        for source in flow.inputs() {
            match &source.from {
                SourceRef::Function(_) => has_source = true,
                SourceRef::Table(name) => {
                    has_foreign |= self.runner.pipeline().table(name).is_none();
                    inputs.insert(name.clone());
                }
            }
        }
        Ok(Tables {
            inputs: inputs.iter().map(ident).collect::<Result<_>>()?,
            target: ident(&flow.target)?,
            has_source,
            has_foreign,
        })
    }

    /// Runs the flow once, in a task of its own: others go on while it computes, and if it panics.
    async fn attempt(&self, schemas: Option<Arc<Schemas>>) -> Result<Arc<Schemas>> {
        let (runner, observer) = (self.runner.clone(), self.observer.clone());
        let (place, stop) = (self.place, self.stop.clone());
        let task = async move {
            let Some(flow) = runner.pipeline().flows().get(place) else {
                return Err(Error::internal("a flow is not in its pipeline"));
            };
            let schemas = match schemas {
                Some(schemas) => schemas,
                None => Arc::new(Schemas::for_flow(&runner, flow).await?),
            };
            let (_, failure) = runner
                .bring_up(flow, &schemas, observer.as_ref(), &stop)
                .await;
            failure.map_or(Ok(schemas), Err)
        };
        AbortOnDropHandle::new(tokio::spawn(task))
            .await
            .unwrap_or_else(|failure| {
                Err(Error::internal("the run of a flow ended without an answer")
                    .source_error(failure))
            })
    }

    /// What the tables pointed at, at this moment or later.
    async fn seen(&self, tables: &Tables, since: Instant) -> Result<Seen> {
        let mut inputs = Vec::with_capacity(tables.inputs.len());
        for input in &tables.inputs {
            inputs.push(self.heads.head(input, since).await?);
        }
        Ok(Seen {
            inputs,
            target: self.heads.head(&tables.target, since).await?,
        })
    }

    /// Waits until there may be something new, and not before `next`.
    async fn until_news(&self, tables: &Tables, before: Option<&Seen>, next: Instant) {
        let mut commits = self.heads.listen();
        self.rest_until(next).await;
        if tables.has_source {
            return;
        }
        let mut since = next;
        while !self.stop.is_cancelled() {
            let mut inputs = Vec::with_capacity(tables.inputs.len());
            for input in &tables.inputs {
                match self.heads.head(input, since).await {
                    Ok(head) => inputs.push(head),
                    // The run meets the same error, and says so.
                    Err(_) => return,
                }
            }
            if before.is_none_or(|before| before.inputs != inputs) {
                return;
            }
            let woken = tokio::select! {
                changed = commits.changed() => changed.is_ok(),
                () = self.rest(self.interval) => false,
            };
            // What another one has asked for lately is good enough, unless something was committed.
            let age = if woken {
                Duration::ZERO
            } else {
                self.interval / 2
            };
            since = Instant::now().checked_sub(age).unwrap_or(since);
        }
    }

    /// Leaves the work to another process as long as that one goes on.
    async fn stand_by(&self, tables: &Tables, mut seen: Option<Seen>, pause: Duration) {
        while !self.stop.is_cancelled() {
            self.rest(pause).await;
            let now = self.seen(tables, Instant::now()).await.ok();
            // Its commits move the target. What moves the inputs alone is for us to take.
            let target = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.target.clone());
            if now.is_none() || target(&now) == target(&seen) {
                return;
            }
            seen = now;
        }
    }

    /// Waits until one of the tables has changed; what is read from elsewhere is tried again after a
    /// pause, since nobody can say whether that has.
    async fn until_changed(&self, tables: &Tables, seen: Option<Seen>, pause: Duration) {
        let tried_again = async {
            if tables.has_source {
                sleep(pause).await;
            } else {
                pending::<()>().await;
            }
        };
        let changed = async {
            loop {
                self.rest(self.interval.max(Duration::from_secs(1))).await;
                let since = Instant::now();
                match self.seen(tables, since).await {
                    Ok(now) if seen.as_ref() == Some(&now) => {}
                    Ok(_) => return,
                    // Whether something has changed is seen when the catalog is back.
                    Err(_) if seen.is_some() => {}
                    Err(_) => return,
                }
            }
        };
        tokio::select! {
            () = tried_again => {}
            () = changed => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn rest_until(&self, moment: Instant) {
        tokio::select! {
            () = sleep_until(moment) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn chance(&self) -> u64 {
        self.runner.environment().ids().uuid().as_u64_pair().1
    }

    fn say(&self, flow: &Flow, state: &FlowState) {
        let target = flow.target.to_string();
        self.observer.state_changed(&flow.name, &target, state);
    }
}

fn stopped(error: &Error) -> FlowState {
    FlowState::Stopped {
        reason: error.to_string(),
        kind: error.kind().as_str(),
    }
}

fn state(verdict: Verdict, error: &Error, failures: u32, pause: Duration) -> FlowState {
    let reason = error.to_string();
    let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    match verdict {
        Verdict::Wait => FlowState::Waiting { reason, wait_ms },
        Verdict::Retry => FlowState::Retrying {
            reason,
            kind: error.kind().as_str(),
            failures,
            wait_ms,
        },
        Verdict::StandBy => FlowState::StandingBy { reason },
        Verdict::Stop => stopped(error),
    }
}
