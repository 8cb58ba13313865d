//! How busy an endpoint is, as the balancer sees it.
//!
//! The cost of an endpoint is (latency + floor) x (calls in flight + 1).
//!
//! Latency is the larger of
//! - the peak EWMA of response times: a slow answer counts at once and in full, then decays, so that
//!   an endpoint that was slow is tried again soon. One that was overtaken by the answer to a call sent
//!   a decay later does not count: it says how the endpoint was, not how it is;
//! - the wait: how long the endpoint has answered no call while calls wait for it. It makes an endpoint
//!   that hangs look bad after milliseconds, before any time-out has passed.
//!
//! To a call that can be repeated all this is a guess that grows old, and is best tried again:
//! - latency fades from when the endpoint was last sent a call: else one call that hangs, or the late
//!   answers to several, would keep all others away, and nobody would learn that it is well again;
//! - a call that was overtaken is not waited for;
//! - those in flight count less the longer they are out, in whole calls: what it took up while it was ill
//!   says little of what a call meets that is sent now. This fades slower, so that an endpoint that hangs
//!   in part is sent no more than hedging covers.
//!
//! Silence is another thing: whether the endpoint says anything at all, which a sign of life ends.
//!
//! Source: peak EWMA as in Twitter Finagle's `PeakEwma` and `tower::load::PeakEwma`; both decay to
//! nothing while an endpoint hangs, which the wait mends.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Clock, micros};
use super::decaying::{Decaying, Tick};

/// How much slower the calls in flight fade than the average.
const IN_FLIGHT_DECAY: u32 = 3;

#[derive(Debug)]
pub(crate) struct Load {
    clock: Clock,
    decay_micros: f32,
    floor_micros: f32,
    in_flight: AtomicU32,
    /// The same, each counted less the longer it is out.
    recent: Decaying,
    /// Average of response times in microseconds.
    average: Decaying,
    /// Those whose response has not begun.
    waiting: AtomicU32,
    /// When the endpoint last answered a call, or began to have one to answer.
    progress: AtomicU64,
    /// When the endpoint last said anything, or began to have work.
    sign: AtomicU64,
    /// When the endpoint was last sent a call.
    sent: AtomicU64,
    /// When it was sent the first of the calls that none sent later was answered before.
    asked: AtomicU64,
    /// When the latest sent of the calls that were answered was sent.
    answered: AtomicU64,
}

impl Load {
    pub(crate) fn new(clock: Clock, decay: Duration, floor: Duration) -> Self {
        Self {
            clock,
            decay_micros: micros(decay) as f32,
            floor_micros: micros(floor) as f32,
            in_flight: AtomicU32::new(0),
            recent: Decaying::new(decay * IN_FLIGHT_DECAY),
            average: Decaying::new(decay),
            waiting: AtomicU32::new(0),
            progress: AtomicU64::new(0),
            sign: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts a call in; it must be counted out by [`Load::end`], which is told what this returns.
    pub(crate) fn start(&self) -> Tick {
        let now = self.clock.micros();
        let tick = Tick::at(now);
        self.recent.update(tick, |recent, _| recent + 1.0);
        let before = self.sent.fetch_max(now, Ordering::AcqRel);
        if before <= self.answered.load(Ordering::Acquire) {
            self.asked.fetch_max(now, Ordering::AcqRel);
        }
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.progress.fetch_max(now, Ordering::AcqRel);
        }
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.sign.fetch_max(now, Ordering::AcqRel);
        }
        tick
    }

    /// Notes that the response to a call has begun.
    pub(crate) fn respond(&self) {
        let now = self.clock.micros();
        self.progress.fetch_max(now, Ordering::AcqRel);
        self.sign.fetch_max(now, Ordering::AcqRel);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts a call out, to which the endpoint has `responded` or not.
    pub(crate) fn end(&self, started: Tick, responded: bool) {
        let now = self.now();
        let left = self.recent.left(started, now);
        self.recent
            .update(now, |recent, _| (recent - left).max(0.0));
        if !responded {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    fn now(&self) -> Tick {
        Tick::at(self.clock.micros())
    }

    /// Notes a sign of life.
    pub(crate) fn heard(&self) {
        self.sign.fetch_max(self.clock.micros(), Ordering::AcqRel);
    }

    /// Returns how long the endpoint has been silent with work to do; zero without work.
    pub(crate) fn silence(&self) -> Duration {
        since(&self.in_flight, &self.sign, self.clock.micros())
    }

    /// Takes in the time a call took until its response began, which it did just now.
    pub(crate) fn observe(&self, took: Duration) {
        let sent = self.sent_at(took);
        let latest = self.answered.fetch_max(sent, Ordering::AcqRel);
        if !self.overtakes(latest, sent) {
            self.take_in(took);
        }
    }

    /// Takes in the time a call waited in vain until it was cancelled: a lower bound.
    pub(crate) fn waited(&self, took: Duration) {
        let latest = self.answered.load(Ordering::Acquire);
        if !self.overtakes(latest, self.sent_at(took)) && took > self.latency() {
            self.take_in(took);
        }
    }

    fn overtakes(&self, latest: u64, sent: u64) -> bool {
        latest > sent + self.decay_micros as u64
    }

    fn sent_at(&self, took: Duration) -> u64 {
        self.clock.micros().saturating_sub(micros(took))
    }

    fn take_in(&self, took: Duration) {
        let (took, now) = (micros(took) as f32, self.now());
        self.average
            .update(now, |average, kept| match took > average {
                true => took,
                false => average + (took - average) * (1.0 - kept),
            });
    }

    /// Returns the decayed average.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.average.get(self.now()) as u64)
    }

    /// Returns the cost to a call that can be `repeated` or not; the smaller, the sooner the endpoint is
    /// chosen.
    pub(crate) fn cost(&self, repeated: bool) -> f32 {
        let now = self.clock.micros();
        let tick = Tick::at(now);
        let mut wait = micros(since(&self.waiting, &self.progress, now));
        let (mut in_flight, mut fade) = (self.in_flight() as f32, 1.0);
        if repeated {
            let sent = self.sent.load(Ordering::Acquire);
            // Those that were overtaken wait for themselves.
            let asked = match sent > self.answered.load(Ordering::Acquire) {
                true => self.asked.load(Ordering::Acquire),
                false => now,
            };
            wait = wait.min(now.saturating_sub(asked));
            in_flight = in_flight.min(self.recent.get(tick).round());
            fade = self.average.left(Tick::at(sent), tick);
        }
        let latency = self.average.get(tick).max(wait as f32) * fade;
        (latency + self.floor_micros) * (in_flight + 1.0)
    }

    /// Forgets the past of an endpoint that was connected to anew.
    pub(crate) fn reset(&self) {
        let now = self.clock.micros();
        self.average.clear();
        self.progress.fetch_max(now, Ordering::AcqRel);
        self.sign.fetch_max(now, Ordering::AcqRel);
    }
}

/// Returns how long ago `moment` was if there is any of `what`.
fn since(what: &AtomicU32, moment: &AtomicU64, now: u64) -> Duration {
    Duration::from_micros(match what.load(Ordering::Acquire) {
        0 => 0,
        _ => now.saturating_sub(moment.load(Ordering::Acquire)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn load() -> Load {
        Load::new(Clock::new(), 100 * MS, MS)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_counts_at_once_and_fades_within_a_second() {
        let load = load();
        load.observe(2000 * MS);
        assert_eq!(load.latency(), 2000 * MS);
        tokio::time::advance(1000 * MS).await;
        assert!(load.latency() < 3 * MS, "{:?}", load.latency());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_overtaken_says_nothing_of_now() {
        let load = load();
        tokio::time::advance(2000 * MS).await;
        load.observe(2 * MS);
        // sent long before that one
        load.observe(1999 * MS);
        load.waited(1999 * MS);
        assert!(load.latency() <= 2 * MS, "{:?}", load.latency());
        // sent after it
        tokio::time::advance(50 * MS).await;
        load.observe(40 * MS);
        assert_eq!(load.latency(), 40 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_hangs_grows_dear_without_answering() {
        let (hangs, works) = (load(), load());
        tokio::time::advance(10 * MS).await;
        for load in [&hangs, &works] {
            load.observe(2 * MS);
        }
        let hanging = hangs.start();
        tokio::time::advance(20 * MS).await;
        works.observe(2 * MS);
        let working = works.start();
        for repeated in [true, false] {
            assert!(hangs.cost(repeated) > 5.0 * works.cost(repeated));
        }
        // One that can be repeated tries it again in less than a second, no other does.
        works.end(working, false);
        tokio::time::advance(900 * MS).await;
        assert!(hangs.cost(true) < 3.0 * works.cost(true));
        assert!(hangs.cost(false) > 100.0 * works.cost(false));
        hangs.end(hanging, false);
        assert_eq!(hangs.silence(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_follows_faster_answers_down() {
        let load = load();
        load.observe(100 * MS);
        for _ in 0..100 {
            tokio::time::advance(5 * MS).await;
            load.observe(10 * MS);
        }
        let latency = load.latency();
        assert!(latency < 14 * MS && latency > 8 * MS, "{latency:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_on_fade_for_those_that_can_be_repeated() {
        let load = load();
        let idle = load.cost(true);
        tokio::time::advance(10 * MS).await;
        let hanging: Vec<_> = (0..9).map(|_| load.start()).collect();
        assert_eq!(load.cost(true), 10.0 * idle);
        tokio::time::advance(900 * MS).await;
        assert!(load.cost(true) < 2.0 * idle, "{}", load.cost(true));
        assert!(load.cost(false) > 1000.0 * idle);
        // A new one counts in full.
        let new = load.start();
        assert!(load.cost(true) > 2.0 * idle, "{}", load.cost(true));
        for call in hanging {
            load.end(call, false);
        }
        load.end(new, false);
        for repeated in [true, false] {
            let cost = load.cost(repeated);
            assert!((cost - idle).abs() < 0.01 * idle, "{cost}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_no_answer() {
        let load = load();
        let idle = load.cost(false);
        let call = load.start();
        tokio::time::advance(500 * MS).await;
        load.heard();
        assert_eq!(load.silence(), Duration::ZERO);
        assert!(load.cost(false) > 500.0 * idle);
        // A stream whose response has begun is not waited for, but is silent if it says nothing.
        load.respond();
        tokio::time::advance(500 * MS).await;
        assert_eq!(load.cost(false), 2.0 * idle);
        assert_eq!(load.silence(), 500 * MS);
        load.end(call, true);
        assert_eq!(load.cost(false), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_keep_no_call_away_that_can_be_repeated() {
        let load = load();
        let idle = load.cost(true);
        let late = load.start();
        tokio::time::advance(2000 * MS).await;
        load.respond();
        load.observe(2000 * MS);
        load.end(late, true);
        // It was sent nothing for two seconds: it is time to try.
        assert!(load.cost(true) < 2.0 * idle);
        assert!(load.cost(false) > 1000.0 * idle);
    }
}
