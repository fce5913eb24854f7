//! Whether a process does what it should: checks that roles report to, and what `/health/ready` says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use berglake_format::Environment;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

/// How something stands that a role needs or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All is well.
    Ok,
    /// It works, and there is nothing to work on: what a flow reads is not there yet.
    Waiting,
    /// It works, but somebody should know: another process does the work, a flow waits for a person.
    Degraded,
    /// It has not been seen to work yet.
    Starting,
    /// It does not work now.
    Failing,
}

impl Status {
    /// Whether a process with such a check is ready.
    fn is_ready(self) -> bool {
        matches!(self, Self::Ok | Self::Waiting | Self::Degraded)
    }
}

/// A check as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The role that it belongs to.
    pub role: String,
    /// What is checked.
    pub check: String,
    /// How it stands.
    pub status: Status,
    /// Why, where it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it stands so: a time in UTC as ISO 8601.
    pub since: String,
}

/// What `/health/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Whether every check is well enough.
    pub ready: bool,
    /// All checks, by role and name.
    pub checks: Vec<CheckReport>,
}

#[derive(Debug)]
struct State {
    status: Status,
    reason: Option<String>,
    since_ms: i64,
}

type States = BTreeMap<(String, String), State>;

/// The checks of a process. Cheap to clone; clones are of the same process.
#[derive(Debug, Clone)]
pub struct Health {
    environment: Environment,
    states: Arc<Mutex<States>>,
}

impl Health {
    /// No checks yet.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            states: Arc::default(),
        }
    }

    /// A check of this name, which counts as starting until something is reported to it.
    pub fn check(&self, role: &str, name: &str) -> Check {
        let check = Check {
            health: self.clone(),
            key: (role.to_string(), name.to_string()),
        };
        check.set(Status::Starting, None);
        check
    }

    /// How all checks stand, or those of one role.
    pub fn report(&self, role: Option<&str>) -> HealthReport {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = states
            .iter()
            .filter(|((of, _), _)| role.is_none_or(|role| role == of));
        let checks: Vec<CheckReport> = shown
            .map(|((role, name), state)| CheckReport {
                role: role.clone(),
                check: name.clone(),
                status: state.status,
                reason: state.reason.clone(),
                since: DateTime::from_timestamp_millis(state.since_ms)
                    .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
                    .unwrap_or_default(),
            })
            .collect();
        HealthReport {
            // A process without any check has not begun.
            ready: !checks.is_empty() && checks.iter().all(|check| check.status.is_ready()),
            checks,
        }
    }
}

/// One thing that a role reports about.
#[derive(Debug, Clone)]
pub struct Check {
    health: Health,
    key: (String, String),
}

impl Check {
    /// It is well.
    pub fn ok(&self) {
        self.set(Status::Ok, None);
    }

    /// It works, and waits for something to work on.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.set(Status::Waiting, Some(reason.into()));
    }

    /// It works, and somebody should know this.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Status::Degraded, Some(reason.into()));
    }

    /// It does not work, for this reason.
    pub fn failing(&self, reason: impl Into<String>) {
        self.set(Status::Failing, Some(reason.into()));
    }

    fn set(&self, status: Status, reason: Option<String>) {
        let now = self.health.environment.clock().now_millis();
        let mut states = self
            .health
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(self.key.clone()).or_insert(State {
            status,
            reason: None,
            since_ms: now,
        });
        if state.status != status {
            state.since_ms = now;
        }
        state.status = status;
        state.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berglake_format::{Identity, ManualClock, RandomIds};

    use super::*;

    #[test]
    fn a_process_is_ready_when_every_check_is_well_enough() {
        let clock = Arc::new(ManualClock::at(0));
        let environment = Environment::new(clock.clone(), Arc::new(RandomIds), Identity::default());
        let health = Health::new(environment);
        assert!(!health.report(None).ready, "nothing has begun");
        let catalog = health.check("query", "catalog");
        let flow = health.check("gold", "flow t");
        assert!(!health.report(None).ready);

        clock.advance(1_000_000);
        catalog.ok();
        flow.degraded("stopped: a person must decide");
        let report = health.report(None);
        assert!(report.ready, "{report:?}");
        assert_eq!(report.checks[0].role, "gold");
        assert_eq!(report.checks[0].since, "1970-01-01T00:00:01.000Z");

        clock.advance(1_000_000);
        catalog.failing("the server is away");
        clock.advance(1_000_000);
        catalog.failing("the server is still away");
        let report = health.report(None);
        assert!(!report.ready);
        assert_eq!(report.checks[1].since, "1970-01-01T00:00:02.000Z");
        assert_eq!(
            report.checks[1].reason.as_deref(),
            Some("the server is still away")
        );
        assert!(health.report(Some("gold")).ready);
        assert!(!health.report(Some("query")).ready);
    }
}
