//! How old the newest committed row is, known at any time and not only when something is committed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::metrics::Meter;

use super::{FRESHNESS, of_flow};

/// The newest committed source time in milliseconds, by flow and table.
static NEWEST: Mutex<BTreeMap<(String, String), i64>> = Mutex::new(BTreeMap::new());

/// Notes that a flow has committed a row, file or snapshot of this time, in milliseconds since 1970.
/// Older times than those noted before change nothing.
pub fn source_time(flow: &str, table: &str, millis: i64) {
    let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
    newest
        .entry((flow.to_string(), table.to_string()))
        .and_modify(|known| *known = millis.max(*known))
        .or_insert(millis);
}

pub(super) fn register(meter: &Meter) {
    let of = FRESHNESS.definition();
    meter
        .f64_observable_gauge(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_callback(|observer| {
            let now = now_millis();
            let newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
            for ((flow, table), millis) in newest.iter() {
                // A source whose clock is ahead is as fresh as can be.
                let age = now.saturating_sub(*millis).max(0) as f64 / 1e3;
                observer.observe(age, &of_flow(flow, table));
            }
        })
        .build();
}

fn now_millis() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "an age is asked for by whoever collects, at a time of the real clock; nothing depends on it"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
