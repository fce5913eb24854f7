//! Starts roles, keeps them running, and ends them in good order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berglake_format::{Environment, Error, ErrorKind, Result};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::health::Health;
use crate::http::{self, Metrics};
use crate::role::{Context, Role, Shared};
use crate::{Gate, Lake};

/// Runs roles in this process.
pub struct Host {
    lake: Arc<Lake>,
    roles: Vec<Member>,
    health: Health,
    stop: CancellationToken,
}

/// A role with its listener, if it has one.
struct Member {
    role: Arc<dyn Role>,
    gate: Gate,
    listener: Option<(TcpListener, SocketAddr)>,
}

impl Host {
    /// Checks the roles' configuration and takes the addresses at which they listen. One role alone
    /// always listens, so that its health can be asked for; among several only servers do.
    ///
    /// # Errors
    /// What [`Role::check`] finds, and addresses that cannot be taken.
    pub async fn new(lake: Lake, roles: Vec<Arc<dyn Role>>) -> Result<Self> {
        let config = &lake.project.config;
        for role in &roles {
            role.check(config)
                .map_err(|error| error.with("role", role.name()))?;
        }
        let alone = roles.len() == 1;
        let mut members = Vec::with_capacity(roles.len());
        for role in roles {
            let listener = if alone || role.is_server() {
                Some(http::bind(role.name(), &role.listen(config)).await?)
            } else {
                None
            };
            members.push(Member {
                role,
                gate: Gate::default(),
                listener,
            });
        }
        Ok(Self {
            health: Health::new(lake.environment.clone()),
            lake: Arc::new(lake),
            roles: members,
            stop: CancellationToken::new(),
        })
    }

    /// Where roles listen: each name with the address that was taken.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.roles.iter().filter_map(|member| {
            let (_, address) = member.listener.as_ref()?;
            Some((member.role.name(), *address))
        })
    }

    /// The names of the roles.
    pub fn roles(&self) -> impl Iterator<Item = &'static str> {
        self.roles.iter().map(|member| member.role.name())
    }

    /// Cancelling this ends the roles.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The checks of the roles.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Runs the roles until they are told to stop, or one of them can never work. A role that fails
    /// otherwise, or panics, is run again. When all are told to stop they may finish what is in flight;
    /// what takes longer than `services.shutdown-timeout` is abandoned.
    ///
    /// # Errors
    /// That of a role that can never work as things stand, and of a server that broke.
    pub async fn run(self, metrics: Metrics) -> Result<()> {
        let grace = self.lake.project.config.services.shutdown_timeout;
        let shared = Arc::new(Shared::default());
        let stop = self.stop.clone();
        let mut tasks = Vec::new();
        for member in self.roles {
            let name = member.role.name();
            let context = Context {
                lake: self.lake.clone(),
                stop: stop.child_token(),
                gate: member.gate.clone(),
                running: self.health.check(name, "role"),
                health: self.health.clone(),
                role: name,
                shared: shared.clone(),
            };
            if let Some((listener, _)) = member.listener {
                let (health, stop) = (self.health.clone(), stop.clone());
                let server = http::serve(listener, name, health, member.gate, metrics, stop);
                tasks.push(AbortOnDropHandle::new(tokio::spawn(server)));
            }
            let supervised = supervise(member.role, context);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(supervised)));
        }
        let first: Mutex<Option<Error>> = Mutex::default();
        let (failure, end) = (&first, &stop);
        let mut all = join_all(tasks.into_iter().map(|task| async move {
            let outcome = task.await.unwrap_or_else(|failure| {
                Err(Error::internal("a part of the process has died").source_error(failure))
            });
            if let Err(error) = outcome {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                // The others end in good order.
                end.cancel();
            }
        }));
        let ended = tokio::select! {
            _ = &mut all => true,
            () = stop.cancelled() => timeout(grace, &mut all).await.is_ok(),
        };
        drop(all);
        if !ended {
            tracing::warn!(
                grace_ms = grace.as_millis(),
                "what is in flight takes too long and is abandoned; it is done again after the next start"
            );
        }
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether a role that failed so can never work as things stand.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Corrupt
    )
}

/// Runs a role again and again until it is told to stop.
async fn supervise(role: Arc<dyn Role>, context: Context) -> Result<()> {
    let name = role.name();
    let environment: Environment = context.lake.environment.clone();
    let mut backoff = Backoff::new();
    let mut last = String::new();
    while !context.stop.is_cancelled() {
        backoff.start();
        let (run, given) = (role.clone(), context.clone());
        let task = tokio::spawn(async move { run.run(given).await });
        let outcome = AbortOnDropHandle::new(task).await;
        context.gate.close();
        if context.stop.is_cancelled() {
            break;
        }
        let error = match outcome {
            Ok(Ok(())) => Error::internal("the role ended, and nobody had told it to"),
            Ok(Err(error)) => error,
            Err(panic) => {
                Error::internal("the role met a defect of the program").source_error(panic)
            }
        };
        context.running.failing(error.to_string());
        if is_final(&error) {
            return Err(error.with("role", name));
        }
        let pause = backoff.pause(&environment);
        announce(name, &error, pause, backoff.failures(), &mut last);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Logs a failure when it is new, and then ever more rarely.
fn announce(role: &str, error: &Error, pause: Duration, failures: u32, last: &mut String) {
    let text = error.to_string();
    let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    if *last != text || failures.is_power_of_two() {
        tracing::warn!(role, %error, failures, wait_ms, "not working; tried again");
    } else {
        tracing::debug!(role, %error, failures, wait_ms, "not working; tried again");
    }
    *last = text;
}
