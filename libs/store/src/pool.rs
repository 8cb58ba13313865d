//! What is known of a pool of connections: how many are in use, and who waits how long for one.

use std::{fmt, sync::Arc, time::Duration};

/// Connections of a pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Which pool of the process: `primary` or `replica` of PostgreSQL, `writer` or `readers` of the
    /// embedded database.
    pub pool: &'static str,
    /// Open now.
    pub open: usize,
    /// Open and not in use.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Most that may be open.
    pub max: usize,
}

impl PoolStatus {
    /// Open and in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.open - self.idle
    }
}

/// One caller's wait for a connection.
#[derive(Debug, Clone, Copy)]
pub struct PoolWait {
    /// Which pool; see [`PoolStatus::pool`].
    pub pool: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// Whether there was one in the end.
    pub served: bool,
}

/// Told of every wait.
pub type WaitObserver = Arc<dyn Fn(PoolWait) + Send + Sync>;

/// Asks pools of connections how they are; clones ask the same.
#[derive(Clone)]
pub struct Pools(Arc<dyn Fn() -> Vec<PoolStatus> + Send + Sync>);

impl Pools {
    /// Pools that `ask` knows.
    pub fn new(ask: impl Fn() -> Vec<PoolStatus> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Every pool, as it is now.
    #[must_use]
    pub fn status(&self) -> Vec<PoolStatus> {
        (self.0)()
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}
