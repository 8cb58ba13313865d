//! The budget of extra attempts to one service.
//!
//! Every failure that could be retried takes a token and every success gives back `token_ratio`;
//! while more than half of `max_tokens` are left, retries and hedges are allowed. So a service that
//! fails more often than `token_ratio` soon gets no extra load at all.
//!
//! Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs".

use std::sync::atomic::{AtomicI64, Ordering};

use crate::policy::RetryThrottling;

const MILLI: f64 = 1000.0;

#[derive(Debug)]
pub(crate) struct Throttle {
    max: i64,
    refund: i64,
    /// Tokens left, in thousandths.
    left: AtomicI64,
}

impl Throttle {
    pub(crate) fn new(policy: RetryThrottling) -> Self {
        let max = (f64::from(policy.max_tokens) * MILLI) as i64;
        Self {
            max,
            refund: (policy.token_ratio * MILLI) as i64,
            left: AtomicI64::new(max),
        }
    }

    pub(crate) fn failed(&self) {
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
    use super::*;

    #[test]
    fn a_service_that_is_down_soon_gets_no_retries_and_success_brings_them_back() {
        let throttle = Throttle::new(RetryThrottling {
            max_tokens: 10,
            token_ratio: 0.1,
        });
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
}
