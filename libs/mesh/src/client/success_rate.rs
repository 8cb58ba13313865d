//! The share of successes among the last calls.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moving average by calls, not by time: a busy endpoint's long good past must not hide that it
/// fails now, and a quiet one's calls must not fall out of a window before there are enough.
///
/// Up to `memory` calls it is their plain mean, then each call moves it by a `memory`th. Packs the
/// mean (f32) and the count into one atomic.
#[derive(Debug)]
pub(crate) struct SuccessRate {
    word: AtomicU64,
    memory: u32,
}

impl SuccessRate {
    pub(crate) fn new(memory: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            memory: memory.max(1),
        }
    }

    /// Takes a call in.
    pub(crate) fn record(&self, success: bool) {
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let (mean, count) = unpack(word);
                let count = (count + 1).min(self.memory);
                let target = f32::from(u8::from(success));
                let mean = mean + (target - mean) / count as f32;
                Some(u64::from(mean.to_bits()) << 32 | u64::from(count))
            });
    }

    /// Returns the rate; `None` before `memory` calls.
    pub(crate) fn get(&self) -> Option<f32> {
        let (mean, count) = unpack(self.word.load(Ordering::Acquire));
        (count >= self.memory).then_some(mean)
    }

    /// Returns the share of failures among `memory` calls; those that were not made yet count as good.
    pub(crate) fn failing(&self) -> f32 {
        let (mean, count) = unpack(self.word.load(Ordering::Acquire));
        (1.0 - mean) * count as f32 / self.memory as f32
    }

    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Release);
    }
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_one_of_all_that_are_remembered_however_few_were_made() {
        let rate = SuccessRate::new(20);
        assert_eq!(rate.failing(), 0.0);
        rate.record(false);
        assert!((rate.failing() - 0.05).abs() < 1e-6);
        for _ in 0..200 {
            rate.record(false);
        }
        assert_eq!(rate.failing(), 1.0);
        rate.clear();
        assert_eq!(rate.failing(), 0.0);
    }

    #[test]
    fn a_long_good_past_does_not_hide_that_half_the_calls_fail_now() {
        let rate = SuccessRate::new(20);
        for _ in 0..19 {
            rate.record(true);
        }
        assert_eq!(rate.get(), None);
        for _ in 0..10_000 {
            rate.record(true);
        }
        let calls = (0..)
            .take_while(|turn| {
                rate.record(turn % 2 == 0);
                rate.get().unwrap() > 0.7
            })
            .count();
        assert!((10..30).contains(&calls), "{calls}");
    }
}
