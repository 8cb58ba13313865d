//! The observed latency of one method, for the moment at which to hedge.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::micros;

/// Buckets: four to each doubling from 16 us to 2^21 us, an error of at most 19 %.
const BUCKETS: usize = 17 * 4;
const FIRST_LOG2: u32 = 4;
/// Answers after which the counts are halved and the quantile is worked out anew.
const EPOCH: u32 = 256;

/// A histogram that forgets: counts are halved every 256 answers.
#[derive(Debug)]
pub(crate) struct Latency {
    counts: [AtomicU32; BUCKETS],
    answers: AtomicU32,
    p95_micros: AtomicU64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            answers: AtomicU32::new(0),
            p95_micros: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, took: Duration) {
        self.counts[bucket(micros(took))].fetch_add(1, Ordering::Relaxed);
        let answers = self.answers.fetch_add(1, Ordering::AcqRel) + 1;
        // Early on each power of two, so that the first minute is not without hedging.
        if answers.is_multiple_of(EPOCH) || (answers >= 32 && answers.is_power_of_two()) {
            self.work_out(answers >= EPOCH);
        }
    }

    /// Returns the time within which 95 of 100 answers came; `None` before 32 answers.
    pub(crate) fn p95(&self) -> Option<Duration> {
        match self.p95_micros.load(Ordering::Acquire) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    fn work_out(&self, halve: bool) {
        let counts: [u32; BUCKETS] =
            std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let mut seen = 0;
        for (at, count) in counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen * 100 >= total * 95 {
                self.p95_micros.store(upper_micros(at), Ordering::Release);
                break;
            }
        }
        if halve {
            for (count, before) in self.counts.iter().zip(counts) {
                count.fetch_sub(before / 2, Ordering::Relaxed);
            }
        }
    }
}

fn bucket(micros: u64) -> usize {
    let micros = micros.max(1 << FIRST_LOG2);
    let log2 = micros.ilog2();
    let quarter = (micros >> (log2 - 2)) & 3;
    (((log2 - FIRST_LOG2) * 4) as usize + quarter as usize).min(BUCKETS - 1)
}

fn upper_micros(bucket: usize) -> u64 {
    let (log2, quarter) = (bucket as u32 / 4 + FIRST_LOG2, bucket as u64 % 4);
    (1 << log2) / 4 * (5 + quarter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_within_a_bucket_and_follows_a_change() {
        let latency = Latency::new();
        assert_eq!(latency.p95(), None);
        for call in 0..512_u64 {
            latency.observe(Duration::from_micros(1000 + call % 100 * 10));
        }
        let p95 = latency.p95().unwrap().as_micros();
        assert!((1900..=2400).contains(&p95), "{p95}");
        for _ in 0..5_000 {
            latency.observe(Duration::from_millis(50));
        }
        let p95 = latency.p95().unwrap().as_millis();
        assert!((50..=60).contains(&p95), "{p95}");
    }

    #[test]
    fn every_latency_has_a_bucket_that_holds_it() {
        for micros in [0, 1, 16, 17, 999, 1_000_000, 3_000_000, u64::MAX] {
            let at = bucket(micros);
            let held = micros <= upper_micros(at) || at == BUCKETS - 1;
            assert!(held, "{micros} in {at}");
        }
    }
}
