//! The breaker of an endpoint, for what is called but is no service of the mesh, e.g. a Redis.
//!
//! Its specification is that of `super::breaker`, without the cap: there is one endpoint, and
//! nobody else to go to.

use std::sync::Arc;

use super::breaker::{Breaker, Ejections, Permit, Signal, Transition};
use super::clock::Clock;
use crate::policy::BreakerPolicy;

/// A circuit breaker; clones share it.
#[derive(Debug, Clone)]
pub struct Circuit {
    breaker: Arc<Breaker>,
}

/// Leave to make one call.
///
/// Dropped without a verdict, it says nothing of the endpoint; a probe gives its turn back.
#[derive(Debug)]
pub struct CircuitPermit {
    permit: Permit,
}

impl Circuit {
    /// Returns a closed breaker; `policy.max_ejection_percent` does not matter.
    pub fn new(policy: BreakerPolicy) -> Self {
        let ejections = Arc::new(Ejections::default());
        ejections.set_endpoints(1);
        let policy = BreakerPolicy {
            max_ejection_percent: 100,
            ..policy
        };
        Self {
            breaker: Arc::new(Breaker::new(policy, Clock::new(), ejections)),
        }
    }

    /// Returns whether ordinary calls are let in.
    pub fn is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Returns `closed`, `open` or `half_open`.
    pub fn state(&self) -> &'static str {
        self.breaker.state().as_str()
    }

    /// Lets a call in if it is closed; never as the probe.
    pub fn try_call(&self) -> Option<CircuitPermit> {
        self.is_closed().then(|| self.try_acquire()).flatten()
    }

    /// Lets a call in, as the probe if it is time for one.
    pub fn try_acquire(&self) -> Option<CircuitPermit> {
        let (permit, transition) = self.breaker.try_acquire()?;
        told(transition);
        Some(CircuitPermit { permit })
    }
}

impl CircuitPermit {
    /// The endpoint did its work.
    pub fn succeeded(self) {
        told(self.permit.record(Signal::Success));
    }

    /// The endpoint is broken, or did not answer in time.
    pub fn failed(self) {
        told(self.permit.record(Signal::HardFailure));
    }
}

fn told(transition: Option<Transition>) {
    if let Some(Transition { to, why }) = transition {
        tracing::debug!(state = to.as_str(), why, "breaker changed");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::defaults::CLIENT;

    #[tokio::test(start_paused = true)]
    async fn it_opens_for_ordinary_calls_and_closes_by_a_probe() {
        let circuit = Circuit::new(CLIENT.breaker);
        for _ in 0..CLIENT.breaker.consecutive_failures {
            circuit.try_call().unwrap().failed();
        }
        assert_eq!(circuit.state(), "open");
        assert!(circuit.try_call().is_none() && circuit.try_acquire().is_none());
        tokio::time::advance(CLIENT.breaker.base_open).await;
        assert!(
            circuit.try_call().is_none(),
            "a probe is not an ordinary call"
        );
        circuit.try_acquire().unwrap().succeeded();
        assert!(circuit.try_call().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_low_rate_of_success_opens_it_though_it_is_the_only_one() {
        let circuit = Circuit::new(CLIENT.breaker);
        for call in 0..2 * CLIENT.breaker.minimum_calls {
            match circuit.try_call() {
                Some(permit) if call % 2 == 0 => permit.failed(),
                Some(permit) => permit.succeeded(),
                None => break,
            }
        }
        assert_eq!(circuit.state(), "open");
    }
}
