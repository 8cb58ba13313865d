//! A number that decays to nothing as time passes, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::micros;

/// The number as f32 bits above; below, when it was that.
#[derive(Debug)]
pub(crate) struct Decaying {
    time_constant: f32,
    word: AtomicU64,
}

impl Decaying {
    /// Returns zero; what is added falls to 37 % in `time_constant`.
    pub(crate) fn new(time_constant: Duration) -> Self {
        Self {
            time_constant: micros(time_constant) as f32,
            word: AtomicU64::new(0),
        }
    }

    /// Returns the number at `now`.
    pub(crate) fn get(&self, now: Tick) -> f32 {
        self.at(self.word.load(Ordering::Acquire), now).0
    }

    /// Replaces the number, at `now`, by what `next` makes of it and of the share that is left since
    /// the last change.
    pub(crate) fn update(&self, now: Tick, next: impl Fn(f32, f32) -> f32) {
        let change = |word| {
            let (number, left) = self.at(word, now);
            Some(pack(next(number, left), now))
        };
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }

    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Returns what is left of 1 that was added at `then`.
    pub(crate) fn left(&self, then: Tick, now: Tick) -> f32 {
        (-now.since(then) / self.time_constant).exp()
    }

    fn at(&self, word: u64, now: Tick) -> (f32, f32) {
        let left = self.left(Tick(word as u32), now);
        (f32::from_bits((word >> 32) as u32) * left, left)
    }
}

/// A moment in steps of 100 us; the count wraps after five days, harmlessly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(u32);

impl Tick {
    const MICROS: u64 = 100;

    /// Returns the moment that is `micros` on the [`Clock`](super::clock::Clock).
    pub(crate) fn at(micros: u64) -> Self {
        Self((micros / Self::MICROS) as u32)
    }

    /// Microseconds since `then`; none if another thread was here with a later one.
    fn since(self, then: Self) -> f32 {
        let age = self.0.wrapping_sub(then.0);
        let age = if age > u32::MAX / 2 { 0 } else { age };
        (u64::from(age) * Self::MICROS) as f32
    }
}

fn pack(number: f32, at: Tick) -> u64 {
    u64::from(number.to_bits()) << 32 | u64::from(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_what_was_left() {
        let number = Decaying::new(Duration::from_millis(300));
        let moments = [0, 50_000, 50_030, 400_000].map(Tick::at);
        for now in moments {
            number.update(now, |sum, _| sum + 1.0);
        }
        let now = Tick::at(700_000);
        assert!(number.get(now) > 0.4, "{}", number.get(now));
        for then in moments {
            number.update(now, |sum, _| sum - number.left(then, now));
        }
        assert!(number.get(now).abs() < 1e-5, "{}", number.get(now));
    }

    #[test]
    fn a_moment_before_the_last_decays_nothing() {
        let number = Decaying::new(Duration::from_millis(1));
        number.update(Tick::at(1_000_000), |_, _| 4.0);
        assert_eq!(number.get(Tick::at(500_000)), 4.0);
    }
}
