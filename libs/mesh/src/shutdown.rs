//! Draining on the first signal, leaving on the second.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// Exit code after a second signal: 128 + SIGINT, as shells report it.
pub const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

/// Tells every part of the process to stop, and waits until they have; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

impl Shutdown {
    /// Returns a shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown; later calls do nothing.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Begins the shutdown because a part of the process has failed, which is in its log.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.begin();
    }

    /// Returns whether a part of the process has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Returns whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes when the shutdown begins; owns what it needs, so it can be spawned.
    pub fn begun(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Returns the token, for code that takes one.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Spawns a task that [`Shutdown::drained`] waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until the shutdown has begun and every spawned task has ended.
    ///
    /// Returns false if `limit`, counted from the beginning of the shutdown, passed first.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.token.cancelled().await;
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Begins the shutdown on the first SIGINT or SIGTERM and ends the process on the second.
    ///
    /// Errors: the signal handlers could not be installed.
    pub fn signals(&self) -> std::io::Result<()> {
        let mut stream = signals()?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            stream.next().await;
            tracing::info!("signal received, finishing what runs; once more to leave at once");
            shutdown.begin();
            stream.next().await;
            std::process::exit(SECOND_SIGNAL_EXIT_CODE);
        });
        Ok(())
    }
}

/// Stream of SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    })
}

#[cfg(not(unix))]
fn signals() -> std::io::Result<Signals> {
    Ok(Signals {})
}

impl Signals {
    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_waits_for_tasks_but_not_for_ever() {
        let shutdown = Shutdown::new();
        let begun = shutdown.begun();
        shutdown.spawn(async move {
            begun.await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        shutdown.begin();
        assert!(!shutdown.drained(Duration::from_millis(20)).await);
        assert!(shutdown.drained(Duration::from_secs(5)).await);
    }
}
