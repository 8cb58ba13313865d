//! Successes and calls of the last few seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::micros;

/// Slots of a window: it slides by a tenth of its length.
const SLOTS: u64 = 10;
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A sliding window in ten atomics. Each slot packs its tick (24 bits), calls and successes (20 bits
/// each); a slot of an older tick is empty. At over a million calls in a slot the counts stand still.
#[derive(Debug)]
pub(crate) struct Window {
    slots: [AtomicU64; SLOTS as usize],
    slot_micros: u64,
}

impl Window {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            slots: Default::default(),
            slot_micros: (micros(length) / SLOTS).max(1),
        }
    }

    fn tick(&self, now: u64) -> u64 {
        // Tick 0 is an empty slot.
        (now / self.slot_micros + 1) & 0xff_ffff
    }

    pub(crate) fn record(&self, now: u64, success: bool) {
        let tick = self.tick(now);
        let slot = &self.slots[(tick % SLOTS) as usize];
        let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (calls, successes) = match word >> (2 * COUNT_BITS) == tick {
                true => ((word >> COUNT_BITS) & COUNT_MASK, word & COUNT_MASK),
                false => (0, 0),
            };
            if calls == COUNT_MASK {
                return None;
            }
            let successes = successes + u64::from(success);
            Some(tick << (2 * COUNT_BITS) | (calls + 1) << COUNT_BITS | successes)
        });
    }

    /// Returns calls and successes within the window.
    pub(crate) fn totals(&self, now: u64) -> (u32, u32) {
        let tick = self.tick(now);
        let mut totals = (0, 0);
        for slot in &self.slots {
            let word = slot.load(Ordering::Acquire);
            let age = tick.wrapping_sub(word >> (2 * COUNT_BITS)) & 0xff_ffff;
            if word != 0 && age < SLOTS {
                totals.0 += ((word >> COUNT_BITS) & COUNT_MASK) as u32;
                totals.1 += (word & COUNT_MASK) as u32;
            }
        }
        totals
    }

    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_leave_the_window_a_tenth_at_a_time() {
        let window = Window::new(Duration::from_secs(10));
        for second in 0..20 {
            window.record(second * 1_000_000, second % 2 == 0);
        }
        assert_eq!(window.totals(19_500_000), (10, 5));
        assert_eq!(window.totals(24_500_000), (5, 2));
        assert_eq!(window.totals(60_000_000), (0, 0));
    }
}
