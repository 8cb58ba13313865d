//! What the client stack of a service does: retry, hedge, eject, connect. Plain data; the numbers are
//! in [`super::defaults`].

use std::time::Duration;

/// How often a call may be tried, and how long to wait between attempts. gRFC A6, `retryPolicy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 1 is no retry.
    pub max_attempts: u32,
    /// Upper bound of the first wait; each wait is drawn evenly from zero to its bound.
    pub initial_backoff: Duration,
    /// Largest bound.
    pub max_backoff: Duration,
    /// By how much the bound grows with each attempt.
    pub backoff_multiplier: f64,
}

impl RetryPolicy {
    /// Returns the bound of the wait before attempt number `attempt`; the first retry is number 1.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = self.backoff_multiplier.powi(exponent);
        let bound = self.initial_backoff.as_secs_f64() * factor;
        Duration::try_from_secs_f64(bound)
            .unwrap_or(Duration::MAX)
            .min(self.max_backoff)
    }
}

/// When a second attempt is sent beside a slow first one. gRFC A6, `hedgingPolicy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgingPolicy {
    /// Attempts at the same time, the first included.
    pub max_attempts: u32,
    /// How long an attempt may take before the next is sent; `None` is the observed 95th percentile.
    pub hedging_delay: Option<Duration>,
    /// Least delay: hedging answers of microseconds costs more than it saves.
    pub min_delay: Duration,
    /// Share of calls that may be hedged.
    pub max_share: f64,
}

/// The budget of extra attempts to a service. gRFC A6, `retryThrottling`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryThrottling {
    /// Tokens of a full bucket; extra attempts need more than half.
    pub max_tokens: u32,
    /// Tokens that a success gives back.
    pub token_ratio: f64,
    /// Tokens that come back each second whatever happens.
    pub tokens_per_second: f64,
}

/// When an endpoint's breaker opens and for how long. Terms of gRFC A50 where it has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// Hard failures in a row that open it.
    pub consecutive_failures: u32,
    /// Share of successes below which it opens.
    pub success_rate_floor: f64,
    /// Calls that the rate is about, and before which it means nothing.
    pub minimum_calls: u32,
    /// How long it stays open at first.
    pub base_open: Duration,
    /// How long it stays open at most.
    pub max_open: Duration,
    /// Share of the open time that is drawn by lot, 0 to 0.9.
    pub jitter: f64,
    /// Share of a service's endpoints that the success rate may take out, percent.
    pub max_ejection_percent: u32,
}

/// How endpoints are connected to, watched and chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnectionPolicy {
    /// Longest wait for a connection, handshakes and first answer included.
    pub connect_timeout: Duration,
    /// Wait before connecting again after a failure, at first.
    pub initial_backoff: Duration,
    /// Longest such wait.
    pub max_backoff: Duration,
    /// How long an endpoint with calls in flight may say nothing before it is asked for a sign of
    /// life.
    pub silence: Duration,
    /// How long that sign may take before the endpoint counts as gone.
    pub probe_timeout: Duration,
    /// How long the calls that may not be repeated are left on a connection that was given up.
    pub keep_alive_timeout: Duration,
    /// Calls in flight to one endpoint; it is not chosen beyond.
    pub max_in_flight: u32,
    /// How fast a slow answer is forgotten.
    pub latency_decay: Duration,
    /// Differences of latency below this do not matter to the choice.
    pub latency_floor: Duration,
    /// How often a connected endpoint is asked whether it is serving.
    pub health_interval: Duration,
    /// How often names are resolved anew.
    pub resolve_interval: Duration,
    /// Longest a name may take to resolve.
    pub resolve_timeout: Duration,
}

/// All of it for one service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientPolicy {
    /// Budget of extra attempts.
    pub throttling: RetryThrottling,
    /// Of each endpoint.
    pub breaker: BreakerPolicy,
    /// Of each endpoint.
    pub connection: ConnectionPolicy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_the_backoff_grows_to_its_limit() {
        let policy = RetryPolicy {
            max_attempts: 5,
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(50),
            backoff_multiplier: 2.0,
        };
        let bounds = [1, 2, 3, 4, 90].map(|attempt| policy.backoff(attempt).as_millis());
        assert_eq!(bounds, [10, 20, 40, 50, 50]);
    }
}
