//! SIGTERM and SIGINT.

use tokio_util::sync::CancellationToken;

/// The signals that end a process, heard from the moment on at which this is made.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    handlers: Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>,
}

impl Signals {
    /// Hears of signals from now on. Must be called within a runtime.
    #[cfg(unix)]
    pub fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let handlers = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        Self {
            // Without handlers the system's own hold, which end the program at once.
            handlers: handlers.ok(),
        }
    }

    /// Hears of signals from now on. Must be called within a runtime.
    #[cfg(not(unix))]
    pub fn listen() -> Self {
        Self {}
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        match &mut self.handlers {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs something that ends in good order when `stop` is cancelled, which the first signal does. A
    /// second signal does not wait for that; then there is no outcome.
    pub async fn govern<T>(
        mut self,
        stop: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            outcome = &mut work => return Some(outcome),
            () = self.next() => stop.cancel(),
        }
        tracing::info!("told to stop: what is in flight is finished");
        tokio::select! {
            outcome = &mut work => Some(outcome),
            () = self.next() => None,
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    Signals::listen().next().await;
}
