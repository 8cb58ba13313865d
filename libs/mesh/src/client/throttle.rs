//! The budget of extra attempts to one service.
//!
//! Every failure that could be retried takes a token and every success gives back `token_ratio`;
//! while more than half of `max_tokens` are left, retries and hedges are allowed. So a service that
//! fails more often than `token_ratio` soon gets no extra load at all. Beyond gRFC A6, some tokens
//! come back with time, so that a quiet service is not without retries long after an outage.
//!
//! Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs".

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::clock::Clock;
use crate::policy::RetryThrottling;

const MILLI: f64 = 1000.0;

#[derive(Debug)]
pub(crate) struct Throttle {
    max: i64,
    refund: i64,
    /// Tokens left, in thousandths.
    left: AtomicI64,
    clock: Clock,
    /// Until when time has given tokens back, microseconds.
    refilled: AtomicU64,
    /// What time gives back, tokens a second.
    per_second: f64,
}

impl Throttle {
    pub(crate) fn new(policy: RetryThrottling, clock: Clock) -> Self {
        let max = (f64::from(policy.max_tokens) * MILLI) as i64;
        Self {
            max,
            refund: (policy.token_ratio * MILLI) as i64,
            left: AtomicI64::new(max),
            clock,
            refilled: AtomicU64::new(0),
            per_second: policy.tokens_per_second,
        }
    }

    /// Gives back what time gives.
    fn refill(&self) {
        let now = self.clock.micros();
        let before = self.refilled.swap(now, Ordering::AcqRel);
        let seconds = now.saturating_sub(before) as f64 / 1e6;
        let tokens = (seconds * self.per_second * MILLI) as i64;
        match tokens {
            // Not enough for a thousandth: the time goes on to count.
            0 => {
                self.refilled.fetch_min(before, Ordering::AcqRel);
            }
            _ => {
                let _ = self
                    .left
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                        Some((left + tokens).min(self.max))
                    });
            }
        }
    }

    pub(crate) fn failed(&self) {
        self.refill();
        let _ = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                Some((left - MILLI as i64).max(0))
            });
    }

    pub(crate) fn succeeded(&self) {
        // A full bucket, the usual case, costs one load.
        let left = self.left.load(Ordering::Acquire);
        if left < self.max {
            self.left
                .fetch_add(self.refund.min(self.max - left), Ordering::AcqRel);
        }
    }

    pub(crate) fn allows(&self) -> bool {
        if self.left.load(Ordering::Acquire) < self.max {
            self.refill();
        }
        self.left.load(Ordering::Acquire) > self.max / 2
    }

    /// Returns the tokens left and the most there can be.
    pub(crate) fn tokens(&self) -> (f64, f64) {
        let tokens = |milli: i64| milli as f64 / MILLI;
        (tokens(self.left.load(Ordering::Acquire)), tokens(self.max))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn throttle() -> Throttle {
        let policy = RetryThrottling {
            max_tokens: 10,
            token_ratio: 0.1,
            tokens_per_second: 5.0,
        };
        Throttle::new(policy, Clock::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_down_soon_gets_no_retries_and_success_brings_them_back() {
        let throttle = throttle();
        let retries = (0..1000)
            .take_while(|_| {
                throttle.failed();
                throttle.allows()
            })
            .count();
        assert_eq!(retries, 4);
        for _ in 0..1000 {
            throttle.failed();
        }
        for _ in 0..50 {
            throttle.succeeded();
            assert!(!throttle.allows());
        }
        throttle.succeeded();
        assert!(throttle.allows());
        for _ in 0..1000 {
            throttle.succeeded();
        }
        assert_eq!(throttle.tokens(), (10.0, 10.0));
    }

    #[tokio::test(start_paused = true)]
    async fn time_gives_tokens_back_to_a_quiet_service() {
        let throttle = throttle();
        for _ in 0..100 {
            throttle.failed();
        }
        assert!(!throttle.allows());
        tokio::time::advance(Duration::from_millis(900)).await;
        assert!(!throttle.allows());
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(throttle.allows());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(throttle.allows());
        assert_eq!(throttle.tokens(), (10.0, 10.0), "never more than it holds");
    }
}
