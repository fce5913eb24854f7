//! What becomes of a flow that is followed, and what is done about an error.

use std::time::Duration;

use berglake_format::{Error, ErrorKind};
use serde::Serialize;

/// The first pause after a failure that can heal by itself.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest pause after a failure that can heal by itself.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// The first pause before a source is tried again that would fail the same way.
const STOPPED_FIRST: Duration = Duration::from_secs(5);
/// The longest such pause.
const STOPPED_LAST: Duration = Duration::from_secs(300);
/// How long a flow stands by before it looks whether the other one is still at work.
pub(super) const STAND_BY: Duration = Duration::from_secs(5);

/// How a flow that is followed stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum FlowState {
    /// It takes what is new.
    Running,
    /// It has taken everything and waits for something new.
    UpToDate,
    /// Another process was faster; it leaves the work to that one as long as it goes on.
    StandingBy {
        /// What it met.
        reason: String,
    },
    /// What it reads is not there yet: a table that nobody has made, a topic without a message. It looks
    /// again and again.
    Waiting {
        /// What is not there.
        reason: String,
        /// Milliseconds until it looks again.
        wait_ms: u64,
    },
    /// Something is away; it tries again.
    Retrying {
        /// What is away.
        reason: String,
        /// Of which kind the error is; see [`ErrorKind::as_str`].
        kind: &'static str,
        /// How often it has failed in a row.
        failures: u32,
        /// Milliseconds until it tries again.
        wait_ms: u64,
    },
    /// It would fail the same way again; it waits for somebody to change something.
    Stopped {
        /// What is wrong and what to do.
        reason: String,
        /// Of which kind the error is; see [`ErrorKind::as_str`].
        kind: &'static str,
    },
}

impl FlowState {
    /// Why the flow does not go on, where it does not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Running | Self::UpToDate => None,
            Self::StandingBy { reason }
            | Self::Waiting { reason, .. }
            | Self::Retrying { reason, .. }
            | Self::Stopped { reason, .. } => Some(reason),
        }
    }
}

/// What is done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after a pause.
    Retry,
    /// The same, and nothing is wrong: what it reads is not there yet.
    Wait,
    /// It is left to whoever was faster.
    StandBy,
    /// It is not tried again before something has changed.
    Stop,
}

/// What to do about the error of a flow that has failed so often in a row; `moved` says whether one of
/// its tables has changed meanwhile, `absent` whether one that it reads does not exist.
pub(super) fn verdict(error: &Error, failures: u32, moved: bool, absent: bool) -> Verdict {
    match error.kind() {
        ErrorKind::NotFound if absent || is_of_topic(error) => Verdict::Wait,
        // Stores, servers and rights come back, tables and topics are made.
        ErrorKind::Unavailable
        | ErrorKind::Denied
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        // The next run looks what was committed.
        | ErrorKind::UnknownOutcome => Verdict::Retry,
        ErrorKind::Conflict if moved => Verdict::StandBy,
        // The same conflict over the same tables is none with somebody who is at work: a table was
        // rolled back, or its rows were changed under a flow that only follows appends.
        ErrorKind::Conflict if failures < 2 => Verdict::Retry,
        _ => Verdict::Stop,
    }
}

/// Whether it is a topic that is not there.
fn is_of_topic(error: &Error) -> bool {
    error.context().iter().any(|(key, _)| *key == "topic")
}

/// The pause before the next try, doubled at each failure.
pub(super) fn pause(verdict: Verdict, failures: u32) -> Duration {
    let (first, last) = match verdict {
        Verdict::Retry | Verdict::Wait => (RETRY_FIRST, RETRY_LAST),
        Verdict::StandBy => (STAND_BY, STAND_BY),
        Verdict::Stop => (STOPPED_FIRST, STOPPED_LAST),
    };
    first
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(last)
}

/// The pause, shortened by up to a quarter, so that many who fail together do not come back together.
pub(super) fn spread(pause: Duration, chance: u64) -> Duration {
    pause - pause.mul_f64((chance % 1_000) as f64 / 4_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_heal_is_tried_again_and_what_cannot_is_not() {
        let of = |kind, failures, moved| verdict(&Error::new(kind, "x"), failures, moved, false);
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Denied,
            ErrorKind::NotFound,
            ErrorKind::UnknownOutcome,
        ] {
            for failures in [1, 2, 1_000] {
                assert_eq!(of(kind, failures, false), Verdict::Retry, "{kind:?}");
            }
        }
        for kind in [
            ErrorKind::InvalidInput,
            ErrorKind::Unsupported,
            ErrorKind::Corrupt,
            ErrorKind::Internal,
        ] {
            assert_eq!(of(kind, 1, true), Verdict::Stop, "{kind:?}");
        }
        let away = Error::not_found("x");
        assert_eq!(verdict(&away, 9, false, true), Verdict::Wait);
        let no_topic = Error::not_found("x").with("topic", "t");
        assert_eq!(verdict(&no_topic, 1, false, false), Verdict::Wait);
        assert_eq!(of(ErrorKind::Conflict, 1, true), Verdict::StandBy);
        assert_eq!(of(ErrorKind::Conflict, 9, true), Verdict::StandBy);
        assert_eq!(of(ErrorKind::Conflict, 1, false), Verdict::Retry);
        assert_eq!(of(ErrorKind::Conflict, 2, false), Verdict::Stop);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses: Vec<_> = (1..=8).map(|n| pause(Verdict::Retry, n)).collect();
        assert!(pauses.is_sorted());
        assert_eq!(pauses[0], RETRY_FIRST);
        assert_eq!(pauses[7], RETRY_LAST);
        assert_eq!(pause(Verdict::Retry, u32::MAX), RETRY_LAST);
        assert_eq!(pause(Verdict::Stop, u32::MAX), STOPPED_LAST);
        for chance in [0, 1, 999, u64::MAX] {
            let spread = spread(RETRY_LAST, chance);
            assert!(spread <= RETRY_LAST && spread > RETRY_LAST / 2);
        }
    }
}
