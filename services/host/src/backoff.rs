//! Pauses between tries that fail.

use std::time::Duration;

use berglake_format::Environment;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(15);
/// What has worked for so long begins anew when it fails.
const WORKED: Duration = Duration::from_secs(60);

/// Doubles the pause at each failure, up to a bound, and forgets failures that are long ago.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    started: Instant,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            started: Instant::now(),
        }
    }

    /// Something is tried now.
    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// It has failed: the pause before it is tried again.
    pub(crate) fn pause(&mut self, environment: &Environment) -> Duration {
        if self.started.elapsed() > WORKED {
            self.failures = 0;
        }
        self.failures += 1;
        let doubled = FIRST.saturating_mul(1 << (self.failures - 1).min(16));
        let pause = doubled.min(LAST);
        // Roles that fail together should not come back together.
        let chance = environment.ids().uuid().as_u64_pair().1 % 1_000;
        pause - pause.mul_f64(chance as f64 / 4_000.0)
    }

    /// How often it has failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let environment = Environment::default();
        let mut backoff = Backoff::new();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            backoff.start();
            pauses.push(backoff.pause(&environment));
        }
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[39] <= LAST && pauses[39] >= LAST / 2);
        assert_eq!(backoff.failures(), 40);
    }
}
