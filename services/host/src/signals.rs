//! SIGTERM and SIGINT.

use tokio_util::sync::CancellationToken;

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without handlers the system's own hold, which end the program at once.
            _ => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs something that ends in good order when `stop` is cancelled, which the first signal does. A
/// second signal does not wait for that; then there is no outcome.
pub async fn until_signalled<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        outcome = &mut work => return Some(outcome),
        () = interrupted() => stop.cancel(),
    }
    tracing::info!("told to stop: what is in flight is finished");
    tokio::select! {
        outcome = &mut work => Some(outcome),
        () = interrupted() => None,
    }
}
