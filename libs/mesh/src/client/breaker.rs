//! The circuit breaker of one endpoint.
//!
//! # Specification
//!
//! | state | calls | leaves it when |
//! |---|---|---|
//! | closed | all | a signal trips it: open |
//! | open | none | its time is up and a call asks to be the probe: half-open |
//! | half-open | one, the probe | the probe succeeds: closed; it fails: open, for longer; it says nothing for `max_open`: another call is the probe |
//!
//! **Signals.** (1) `consecutive_failures` hard failures in a row. (2) A success rate below
//! `success_rate_floor` over the last `minimum_calls`, once there were as many.
//! What counts as which is decided in [`super::verdict`]: client mistakes are successes, shed and
//! cancelled calls are nothing. Only a peer that does not answer, or says that it cannot, fails hard;
//! an answer that is an error counts for signal 2 only, as one bad request must not take a peer away
//! from everybody.
//!
//! **Ejection cap.** Signal 2 compares an endpoint with what is normal, so it may take out at most
//! `max_ejection_percent` of a service's endpoints: a bad rollout must not eject everything.
//! Signal 1 means that nothing works there, and is not capped.
//!
//! **Open time** starts at `base_open` and doubles with each trip in a row up to `max_open`; half a
//! jitter keeps many clients from probing together. Staying closed for `max_open` forgets the trips.
//!
//! **Whose verdicts count.** Those of the state that let the call in: verdicts of calls that began
//! before a trip or before a reset change nothing after it.
//!
//! **Cold start** is closed with no calls counted. A new connection to a peer that was lost is a cold
//! start: it is another process.
//!
//! **The probe** is a unary call that may be repeated elsewhere if it fails, unless there is no other
//! endpoint to ask. A probe that ends without a verdict (its caller went away) gives its turn back;
//! a stream has succeeded as a probe once it has begun.
//!
//! **Failures have a price** too ([`Breaker::failing`]): the cap may leave a sick endpoint closed, and one
//! that fails at once would seem the quickest of all.
//!
//! State is a few atomics; no lock is held on the way of a call.
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
    /// State and flags, and above them: when open, until when; else since when.
    word: AtomicU64,
    consecutive: AtomicU32,
    /// Trips in a row.
    trips: AtomicU32,
    success_rate: SuccessRate,
    /// When a call failed last, microseconds.
    failed: AtomicU64,
}

/// Leave to make one call, which must be answered with its signal.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    /// The state that let the call in.
    word: u64,
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
            failed: AtomicU64::new(0),
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
        word & 3 != CLOSED && self.clock.micros() >= self.probe_at(word)
    }

    /// Returns when the next call may be the probe.
    fn probe_at(&self, word: u64) -> u64 {
        let time = word >> SHIFT;
        match word & 3 {
            HALF_OPEN => time + micros(self.policy.max_open),
            _ => time,
        }
    }

    /// Returns how long it is until a call may be the probe, in microseconds; zero if it is closed.
    pub(crate) fn open_for_micros(&self) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        match word & 3 {
            CLOSED => 0,
            _ => self.probe_at(word).saturating_sub(self.clock.micros()),
        }
    }

    /// Lets a call in, as the probe if it is time for one; `None` when it may not.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<(Permit, Option<Transition>)> {
        let word = self.word.load(Ordering::Acquire);
        let permit = |word| Permit {
            breaker: Arc::clone(self),
            word,
            done: false,
        };
        if word & 3 == CLOSED {
            return Some((permit(word), None));
        }
        let now = self.clock.micros();
        if now < self.probe_at(word) {
            return None;
        }
        // One of the callers that see the time is up wins, and is the probe.
        let half_open = HALF_OPEN | (word & EJECTED) | (now << SHIFT);
        self.word
            .compare_exchange(word, half_open, Ordering::AcqRel, Ordering::Acquire)
            .ok()?;
        let transition = (word & 3 == OPEN).then_some(Transition {
            to: BreakerState::HalfOpen,
            why: "open time is up",
        });
        Some((permit(half_open), transition))
    }

    /// Returns the share of failures among the last `minimum_calls`, and how long ago the last was, in
    /// microseconds.
    pub(crate) fn failing(&self) -> (f32, u64) {
        let last = self.failed.load(Ordering::Acquire);
        let ago = self.clock.micros().saturating_sub(last);
        (self.success_rate.failing(), ago)
    }

    /// Forgets everything: the endpoint was connected to anew.
    pub(crate) fn reset(&self) -> Option<Transition> {
        // Before it closes: what is counted after belongs to the new state.
        self.clear();
        self.trips.store(0, Ordering::Release);
        let before = self
            .word
            .swap(CLOSED | (self.clock.micros() << SHIFT), Ordering::AcqRel);
        self.settle_ejection(before);
        (before & 3 != CLOSED).then_some(Transition {
            to: BreakerState::Closed,
            why: "connected anew",
        })
    }

    fn clear(&self) {
        self.consecutive.store(0, Ordering::Release);
        self.success_rate.clear();
    }

    fn settle_ejection(&self, before: u64) {
        if before & EJECTED != 0 {
            self.ejections.give_back();
        }
    }

    fn record(&self, word: u64, signal: Signal) -> Option<Transition> {
        if self.word.load(Ordering::Acquire) != word {
            return None;
        }
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
        self.failed.fetch_max(self.clock.micros(), Ordering::AcqRel);
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

    fn probed(&self, seen: u64, signal: Signal) -> Option<Transition> {
        if self.word.load(Ordering::Acquire) != seen {
            // It was reset meanwhile, or another call is the probe.
            return None;
        }
        match signal {
            Signal::Success => {
                self.clear();
                let closed = CLOSED | (self.clock.micros() << SHIFT);
                self.word
                    .compare_exchange(seen, closed, Ordering::AcqRel, Ordering::Acquire)
                    .ok()?;
                self.settle_ejection(seen);
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
        self.word & 3 == HALF_OPEN
    }

    /// Says how the call ended.
    pub(crate) fn record(mut self, signal: Signal) -> Option<Transition> {
        self.done = true;
        match self.is_probe() {
            true => self.breaker.probed(self.word, signal),
            false => self.breaker.record(self.word, signal),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe() && !self.done {
            self.breaker.probed(self.word, Signal::Neutral);
        }
    }
}

#[cfg(test)]
mod tests;
