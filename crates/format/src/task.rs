//! Tasks that belong to whoever waits for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

use crate::{Error, Result};

/// A spawned task that is aborted when its owner goes away.
pub(crate) struct Owned<T>(JoinHandle<T>);

impl<T: Send + 'static> Owned<T> {
    pub(crate) fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl<T> Future for Owned<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the reading of one file in a task of its own, in parallel with its owner. A decoder that
/// panics on a corrupt file becomes an error that names the file.
pub(crate) async fn decode<T: Send + 'static>(
    path: &str,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    Owned::spawn(future)
        .await
        .unwrap_or_else(|failure| Err(failed(path, failure)))
}

/// The error of a task that did not end by itself while it read a file.
pub(crate) fn failed(path: &str, failure: JoinError) -> Error {
    if failure.is_cancelled() {
        Error::internal("reading was cut short: the runtime shuts down").with("path", path)
    } else {
        Error::corrupt("the file cannot be decoded: its decoder panicked")
            .with("path", path)
            .source_error(failure)
    }
}
