//! What the tests stand on: real servers in containers, and the binary as processes beside them.
//!
//! Read first: [`run`], which every test is in; [`Lake`](lake::Lake), a project with its processes;
//! [`servers`], what it stands on. Each handle ends what it stands for when it is dropped, and prints
//! its log if that happens because the test failed.

pub mod engine;
pub mod lake;
pub mod server;
pub mod servers;
pub mod trino;

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// One runtime for all tests: shared servers outlive the test that started them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Runs a test. If it fails, the logs of the shared servers are printed after those of its own.
pub fn run<F: Future<Output = ()>>(test: F) {
    // Asked for first, so that a missing Docker is the one thing that is said.
    engine::engine();
    RUNTIME.block_on(async {
        if let Err(failure) = AssertUnwindSafe(test).catch_unwind().await {
            servers::print_shared_logs();
            trino::print_shared_log();
            std::panic::resume_unwind(failure);
        }
    });
}

/// A client that talks to servers on this machine, whatever proxy its environment names.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
}

/// Takes away what the person who runs the tests has set: it is no part of them.
pub fn strip(command: &mut tokio::process::Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let prefixes = ["BERGLAKE_", "OTEL_"];
        if text.ends_with("_PROXY") || prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}

/// Waits until a condition holds, asking ten times a second.
///
/// # Panics
/// If it does not hold within the time.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < within,
            "in {within:?} it never was true that {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
