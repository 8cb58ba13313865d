//! Whether something was changed since a moment.
//!
//! A value that was read elsewhere may be out of date by the time it arrives: while it was on its
//! way, an invalidation has come and gone. So a reader takes a [`Mark`] before it asks, and what it
//! gets is kept only while the mark still holds. Changes move the counter of their key's stripe
//! first and touch the entry after; a reader stores first and compares after. In whatever order the
//! four happen, a value from before a change does not stay.
//!
//! Two keys may share a stripe; then a value is not kept although it might be, nothing worse.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::entry::Key;

/// So many that writers of other keys rarely spoil a read, in 64 KiB.
const STRIPES: usize = 4096;

/// How often a key may have been changed before a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// Counters of changes, and when the last ones were.
#[derive(Debug)]
pub(crate) struct Stripes {
    stripes: Box<[Stripe]>,
    everything: Stripe,
    hasher: RandomState,
    began: Instant,
}

#[derive(Debug, Default)]
struct Stripe {
    changes: AtomicU64,
    /// Milliseconds since `began`, and one more; 0 = never.
    last: AtomicU64,
}

impl Stripe {
    fn is_quiet(&self, now: u64, time: Duration) -> bool {
        let last = self.last.load(Ordering::SeqCst);
        last == 0 || u128::from(now.saturating_sub(last)) >= time.as_millis()
    }
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            everything: Stripe::default(),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// Where the counter of `key` is, and of others.
    pub(crate) fn place(&self, key: &Key) -> usize {
        (self.hasher.hash_one(key) % STRIPES as u64) as usize
    }

    fn stripe(&self, key: &Key) -> &Stripe {
        &self.stripes[self.place(key)]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Whether `key` was last changed so long ago, or never.
    pub(crate) fn is_quiet(&self, key: &Key, time: Duration) -> bool {
        let now = self.now();
        self.stripe(key).is_quiet(now, time) && self.everything.is_quiet(now, time)
    }

    /// The mark of now. Both counters only grow, so that their sum changes whenever one does.
    pub(crate) fn mark(&self, key: &Key) -> Mark {
        let own = self.stripe(key).changes.load(Ordering::SeqCst);
        Mark(own.wrapping_add(self.everything.changes.load(Ordering::SeqCst)))
    }

    /// Notes a change of `key`; answers the marks before and after.
    pub(crate) fn change(&self, key: &Key) -> (Mark, Mark) {
        let stripe = self.stripe(key);
        stripe.last.store(self.now(), Ordering::SeqCst);
        let own = stripe.changes.fetch_add(1, Ordering::SeqCst);
        let everything = self.everything.changes.load(Ordering::SeqCst);
        let before = own.wrapping_add(everything);
        (Mark(before), Mark(before.wrapping_add(1)))
    }

    /// Notes a change that may cover any key.
    pub(crate) fn change_everything(&self) {
        self.everything.last.store(self.now(), Ordering::SeqCst);
        self.everything.changes.fetch_add(1, Ordering::SeqCst);
    }
}
