//! Time as one number, so that it fits into an atomic.

use std::time::Duration;

use tokio::time::Instant;

/// Microseconds since the clock was made; copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// Returns the microseconds until now; they never go back.
    pub(crate) fn micros(self) -> u64 {
        micros(self.epoch.elapsed())
    }
}

/// Returns a duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
