//! The circuit breaker of one endpoint.
//!
//! # Specification
//!
//! | state | calls | leaves it when |
//! |---|---|---|
//! | closed | all | a signal trips it: open |
//! | open | none | its time is up and a call asks to be the probe: half-open |
//! | half-open | one, the probe | the probe succeeds: closed; it fails: open, for longer |
//!
//! **Signals.** (1) `consecutive_failures` hard failures in a row. (2) A success rate below
//! `success_rate_floor` over the last `minimum_calls`, once there were as many.
//! What counts as which is decided in [`super::verdict`]: client mistakes are successes, shed and
//! cancelled calls are nothing, RESOURCE_EXHAUSTED and deadlines count for signal 2 only.
//!
//! **Ejection cap.** Signal 2 compares an endpoint with what is normal, so it may take out at most
//! `max_ejection_percent` of a service's endpoints: a bad rollout must not eject everything.
//! Signal 1 means that nothing works there, and is not capped.
//!
//! **Open time** starts at `base_open` and doubles with each trip in a row up to `max_open`; half a
//! jitter keeps many clients from probing together. Staying closed for `max_open` forgets the trips.
//!
//! **Cold start** is closed with no calls counted. A new connection to a peer that was lost is a cold
//! start: it is another process.
//!
//! **The probe** is a call that may be repeated elsewhere if it fails, unless there is no other
//! endpoint to ask. A probe that ends without a verdict (its caller went away) gives its turn back.
//! Verdicts of calls that were let in before the trip change nothing after it.
//!
//! State is three atomics; no lock is held on the way of a call.
//!
//! Source: Nygard, Release It!, 2nd ed., 5.2; gRFC A50 (outlier detection) for the two signals and
//! the cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::clock::{Clock, micros};
use super::success_rate::SuccessRate;
use crate::policy::BreakerPolicy;

/// What a finished call says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The endpoint did its work.
    Success,
    /// The endpoint is broken.
    HardFailure,
    /// The endpoint did not do its work, but is there.
    SoftFailure,
    /// Nothing can be learnt from it.
    Neutral,
}

/// The state as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How many endpoints of a service signal 2 has taken out; shared by their breakers.
#[derive(Debug, Default)]
pub(crate) struct Ejections {
    ejected: AtomicUsize,
    endpoints: AtomicUsize,
}

impl Ejections {
    pub(crate) fn set_endpoints(&self, count: usize) {
        self.endpoints.store(count, Ordering::Relaxed);
    }

    fn try_eject(&self, max_percent: u32) -> bool {
        let endpoints = self.endpoints.load(Ordering::Relaxed);
        let cap = endpoints * max_percent as usize / 100;
        self.ejected
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now < cap).then_some(now + 1)
            })
            .is_ok()
    }

    fn give_back(&self) {
        self.ejected.fetch_sub(1, Ordering::AcqRel);
    }
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
/// Set beside the state while this endpoint counts as ejected by the success rate.
const EJECTED: u64 = 4;
/// Microseconds begin above the flags.
const SHIFT: u32 = 3;

/// A transition, for the event that tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) to: BreakerState,
    pub(crate) why: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    clock: Clock,
    ejections: Arc<Ejections>,
    /// State and flags, and above them: when open, until when; when closed, since when.
    word: AtomicU64,
    consecutive: AtomicU32,
    /// Trips in a row.
    trips: AtomicU32,
    success_rate: SuccessRate,
}

/// Leave to make one call, which must be answered with its signal.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    probe: bool,
    done: bool,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy, clock: Clock, ejections: Arc<Ejections>) -> Self {
        Self {
            success_rate: SuccessRate::new(policy.minimum_calls),
            policy,
            clock,
            ejections,
            word: AtomicU64::new(CLOSED),
            consecutive: AtomicU32::new(0),
            trips: AtomicU32::new(0),
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.word.load(Ordering::Acquire) & 3 {
            CLOSED => BreakerState::Closed,
            OPEN => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Returns whether a call would be let in as an ordinary one.
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & 3 == CLOSED
    }

    /// Returns whether a call would be let in as the probe.
    pub(crate) fn wants_probe(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word & 3 == OPEN && self.clock.micros() >= word >> SHIFT
    }

    /// Returns how long it stays open, in microseconds; zero if it is not.
    pub(crate) fn open_for_micros(&self) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        match word & 3 {
            OPEN => (word >> SHIFT).saturating_sub(self.clock.micros()),
            _ => 0,
        }
    }

    /// Lets a call in, as the probe if it is time for one; `None` when it may not.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<(Permit, Option<Transition>)> {
        let word = self.word.load(Ordering::Acquire);
        let permit = |probe| Permit {
            breaker: Arc::clone(self),
            probe,
            done: false,
        };
        if word & 3 == CLOSED {
            return Some((permit(false), None));
        }
        if word & 3 != OPEN || self.clock.micros() < word >> SHIFT {
            return None;
        }
        // One of the callers that see the time is up wins, and is the probe.
        self.word
            .compare_exchange(
                word,
                HALF_OPEN | (word & EJECTED),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .ok()?;
        let transition = Transition {
            to: BreakerState::HalfOpen,
            why: "open time is up",
        };
        Some((permit(true), Some(transition)))
    }

    /// Forgets everything: the endpoint was connected to anew.
    pub(crate) fn reset(&self) -> Option<Transition> {
        let before = self
            .word
            .swap(CLOSED | (self.clock.micros() << SHIFT), Ordering::AcqRel);
        self.settle_ejection(before);
        self.consecutive.store(0, Ordering::Release);
        self.trips.store(0, Ordering::Release);
        self.success_rate.clear();
        (before & 3 != CLOSED).then_some(Transition {
            to: BreakerState::Closed,
            why: "connected anew",
        })
    }

    fn settle_ejection(&self, before: u64) {
        if before & EJECTED != 0 {
            self.ejections.give_back();
        }
    }

    fn record(&self, signal: Signal) -> Option<Transition> {
        match signal {
            Signal::Neutral => return None,
            Signal::Success => self.consecutive.store(0, Ordering::Release),
            Signal::HardFailure => {
                self.consecutive.fetch_add(1, Ordering::AcqRel);
            }
            Signal::SoftFailure => {}
        }
        self.success_rate.record(signal == Signal::Success);
        if signal == Signal::Success {
            return None;
        }
        let word = self.word.load(Ordering::Acquire);
        if word & 3 != CLOSED {
            return None;
        }
        if self.consecutive.load(Ordering::Acquire) >= self.policy.consecutive_failures {
            return self.trip(word, 0, "failures in a row");
        }
        let floor = self.policy.success_rate_floor as f32;
        let below = self.success_rate.get().is_some_and(|rate| rate < floor);
        if below && self.ejections.try_eject(self.policy.max_ejection_percent) {
            return self
                .trip(word, EJECTED, "success rate below its floor")
                .or_else(|| {
                    self.ejections.give_back();
                    None
                });
        }
        None
    }

    /// Opens it if it is still as `seen`.
    fn trip(&self, seen: u64, ejected: u64, why: &'static str) -> Option<Transition> {
        let now = self.clock.micros();
        let was_closed_for = match seen & 3 {
            CLOSED => now.saturating_sub(seen >> SHIFT),
            _ => 0,
        };
        let max = micros(self.policy.max_open);
        if was_closed_for > max {
            self.trips.store(0, Ordering::Release);
        }
        let trips = self.trips.load(Ordering::Acquire);
        let open = micros(self.policy.base_open)
            .saturating_mul(1 << trips.min(32))
            .min(max);
        let jitter = (open as f64 * self.policy.jitter * fastrand::f64()) as u64;
        let until = now + open - jitter.min(open);
        self.word
            .compare_exchange(
                seen,
                OPEN | ejected | (until << SHIFT),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .ok()?;
        self.trips.fetch_add(1, Ordering::AcqRel);
        Some(Transition {
            to: BreakerState::Open,
            why,
        })
    }

    fn probed(&self, signal: Signal) -> Option<Transition> {
        let seen = self.word.load(Ordering::Acquire);
        if seen & 3 != HALF_OPEN {
            // It was reset meanwhile.
            return None;
        }
        match signal {
            Signal::Success => {
                let closed = CLOSED | (self.clock.micros() << SHIFT);
                self.word
                    .compare_exchange(seen, closed, Ordering::AcqRel, Ordering::Acquire)
                    .ok()?;
                self.settle_ejection(seen);
                self.consecutive.store(0, Ordering::Release);
                self.success_rate.clear();
                Some(Transition {
                    to: BreakerState::Closed,
                    why: "the probe succeeded",
                })
            }
            Signal::HardFailure | Signal::SoftFailure => {
                self.trip(seen, seen & EJECTED, "the probe failed")
            }
            Signal::Neutral => {
                // Its turn goes to the next call.
                let open = OPEN | (seen & EJECTED) | (self.clock.micros() << SHIFT);
                let _ = self
                    .word
                    .compare_exchange(seen, open, Ordering::AcqRel, Ordering::Acquire);
                None
            }
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        let word = *self.word.get_mut();
        self.settle_ejection(word);
    }
}

impl Permit {
    /// Returns whether this call is the probe of a half-open breaker.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Says how the call ended.
    pub(crate) fn record(mut self, signal: Signal) -> Option<Transition> {
        self.done = true;
        match self.probe {
            true => self.breaker.probed(signal),
            false => self.breaker.record(signal),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.done {
            self.breaker.probed(Signal::Neutral);
        }
    }
}

#[cfg(test)]
mod tests;
