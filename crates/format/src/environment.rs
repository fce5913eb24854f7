//! Clock, identifiers and identity, injected so that every behaviour can be tested and replayed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now_micros(&self) -> i64;

    /// Milliseconds since 1970-01-01T00:00:00Z, as Iceberg metadata has them.
    fn now_millis(&self) -> i64 {
        self.now_micros().div_euclid(1_000)
    }
}

/// Makes identifiers that do not repeat.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A new UUID for file names and tables.
    fn uuid(&self) -> Uuid;

    /// A new snapshot id: positive, and random enough that two writers never meet.
    fn snapshot_id(&self) -> i64 {
        let (high, low) = self.uuid().as_u64_pair();
        ((high ^ low) & (i64::MAX as u64)).max(1) as i64
    }
}

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks the system"
        )]
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        }
    }
}

/// Random identifiers.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that draws at random"
    )]
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A clock for tests: it stands still, or advances by a fixed step at each look.
#[derive(Debug, Default)]
pub struct ManualClock {
    micros: AtomicI64,
    step: i64,
}

impl ManualClock {
    /// A clock that shows `micros` and stands still.
    pub fn at(micros: i64) -> Self {
        Self {
            micros: AtomicI64::new(micros),
            step: 0,
        }
    }

    /// A clock that shows `micros` first and `step` more at each look.
    pub fn stepping(micros: i64, step: i64) -> Self {
        Self {
            micros: AtomicI64::new(micros),
            step,
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, micros: i64) {
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.micros.fetch_add(self.step, Ordering::SeqCst)
    }
}

/// Identifiers from a seed, the same in each run.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    next: AtomicU64,
}

impl SeededIds {
    /// Identifiers of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            next: AtomicU64::new(1),
        }
    }
}

impl Ids for SeededIds {
    fn uuid(&self) -> Uuid {
        // SplitMix64 spreads consecutive counters over the whole range.
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        let high = mix(self
            .seed
            .wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let low = mix(high ^ n);
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
            .into_uuid()
    }
}

/// Who writes, as it stands in snapshot summaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The program that uses berglake, e.g. `berglake-cli` or a pipeline's name.
    pub application: String,
    /// The person or service in whose name it writes.
    pub principal: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            application: "berglake".into(),
            principal: "unknown".into(),
        }
    }
}

/// Clock, identifiers and identity of one writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Environment {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    identity: Arc<Identity>,
}

impl Environment {
    /// The system's clock and random identifiers.
    pub fn system(identity: Identity) -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(RandomIds), identity)
    }

    /// An environment of these parts.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, identity: Identity) -> Self {
        Self {
            clock,
            ids,
            identity: Arc::new(identity),
        }
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The maker of identifiers.
    pub fn ids(&self) -> &dyn Ids {
        self.ids.as_ref()
    }

    /// Who writes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::system(Identity::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_ids_repeat_per_seed_and_differ_between_seeds() {
        let draw = |seed| {
            let ids = SeededIds::new(seed);
            (0..100).map(|_| ids.snapshot_id()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|id| *id > 0));
    }
}
