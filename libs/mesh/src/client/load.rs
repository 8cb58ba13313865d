//! How busy an endpoint is, as the balancer sees it.
//!
//! The cost of an endpoint is (latency + floor) x (calls in flight + 1). Latency is the larger of
//! - the peak EWMA of response times: a slow answer counts at once and in full, then decays, so that
//!   an endpoint that was slow is tried again soon. One that was overtaken by the answer to a call sent
//!   a decay later does not count: it says how the endpoint was, not how it is;
//! - the silence: how long the endpoint has answered nothing while calls wait for it. It makes an
//!   endpoint that hangs look bad after milliseconds, before any time-out has passed. To a call that can
//!   be repeated it fades like an answer, from when the endpoint was last sent something: else one call
//!   that hangs would keep all others away for as long as it does, and nobody would learn that the
//!   endpoint is well again.
//!
//! Source: peak EWMA as in Twitter Finagle's `PeakEwma` and `tower::load::PeakEwma`; both decay to
//! nothing while an endpoint hangs, which the silence mends.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Clock, micros};

/// Ticks of the stamp beside the average: 100 us; the counter wraps after five days, harmlessly.
const STAMP_MICROS: u64 = 100;

#[derive(Debug)]
pub(crate) struct Load {
    clock: Clock,
    decay_micros: f32,
    floor_micros: f32,
    in_flight: AtomicU32,
    /// Average in microseconds as f32 bits above, its stamp below.
    average: AtomicU64,
    /// When the endpoint last answered, or began to have work.
    progress: AtomicU64,
    /// When the endpoint was last sent a call.
    sent: AtomicU64,
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
            average: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts a call in; it must be counted out by [`Load::end`].
    pub(crate) fn start(&self) {
        let now = self.clock.micros();
        self.sent.fetch_max(now, Ordering::AcqRel);
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.progress.fetch_max(now, Ordering::AcqRel);
        }
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes that the endpoint said something.
    pub(crate) fn heard(&self) {
        self.progress
            .fetch_max(self.clock.micros(), Ordering::AcqRel);
    }

    /// Returns how long the endpoint has been silent with work to do; zero without work.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_micros(self.silent_micros(self.clock.micros()))
    }

    fn silent_micros(&self, now: u64) -> u64 {
        match self.in_flight() {
            0 => 0,
            _ => now.saturating_sub(self.progress.load(Ordering::Acquire)),
        }
    }

    /// Takes in the time a call took until its response began, which it did just now.
    pub(crate) fn observe(&self, took: Duration) {
        self.heard();
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
        let took = micros(took) as f32;
        let _ = self
            .average
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let stamp = stamp(self.clock.micros());
                let (average, weight) = self.decayed(word, stamp);
                let next = match took > average {
                    true => took,
                    false => average + (took - average) * (1.0 - weight),
                };
                Some(pack(next, stamp))
            });
    }

    /// Returns the decayed average.
    pub(crate) fn latency(&self) -> Duration {
        let (average, _) = self.decayed(
            self.average.load(Ordering::Acquire),
            stamp(self.clock.micros()),
        );
        Duration::from_micros(average as u64)
    }

    /// Returns the cost to a call that can be `repeated` or not; the smaller, the sooner the endpoint is
    /// chosen.
    pub(crate) fn cost(&self, repeated: bool) -> f32 {
        let now = self.clock.micros();
        let (average, _) = self.decayed(self.average.load(Ordering::Acquire), stamp(now));
        let mut silent = self.silent_micros(now) as f32;
        if repeated && silent > 0.0 {
            silent *= self.weight(now.saturating_sub(self.sent.load(Ordering::Acquire)));
        }
        let latency = average.max(silent);
        (latency + self.floor_micros) * (self.in_flight() + 1) as f32
    }

    /// Forgets the past of an endpoint that was connected to anew.
    pub(crate) fn reset(&self) {
        self.average.store(0, Ordering::Release);
        self.heard();
    }

    fn decayed(&self, word: u64, stamp: u32) -> (f32, f32) {
        let average = f32::from_bits((word >> 32) as u32);
        let age = stamp.wrapping_sub(word as u32);
        // Another thread's stamp may be newer than this one's.
        let age = if age > u32::MAX / 2 { 0 } else { age };
        let elapsed = u64::from(age) * STAMP_MICROS;
        let weight = self.weight(elapsed);
        (average * weight, weight)
    }

    /// What is left of what was known so long ago.
    fn weight(&self, elapsed_micros: u64) -> f32 {
        (-(elapsed_micros as f32) / self.decay_micros).exp()
    }
}

fn stamp(micros: u64) -> u32 {
    (micros / STAMP_MICROS) as u32
}

fn pack(average: f32, stamp: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(stamp)
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
        for load in [&hangs, &works] {
            load.observe(2 * MS);
        }
        hangs.start();
        tokio::time::advance(20 * MS).await;
        works.observe(2 * MS);
        works.start();
        for repeated in [true, false] {
            assert!(hangs.cost(repeated) > 5.0 * works.cost(repeated));
        }
        // One that can be repeated tries it again in less than a second, no other does.
        works.end();
        tokio::time::advance(900 * MS).await;
        assert!(hangs.cost(true) < 3.0 * works.cost(true));
        assert!(hangs.cost(false) > 100.0 * works.cost(false));
        hangs.end();
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
}
