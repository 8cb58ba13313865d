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
};

use crate::entry::Key;

/// So many that writers of other keys rarely spoil a read, in 32 KiB.
const STRIPES: usize = 4096;

/// How often a key may have been changed before a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// Counters of changes.
#[derive(Debug)]
pub(crate) struct Stripes {
    counters: Box<[AtomicU64]>,
    everything: AtomicU64,
    hasher: RandomState,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self {
            counters: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            everything: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    fn stripe(&self, key: &Key) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        &self.counters[(hash % STRIPES as u64) as usize]
    }

    /// The mark of now. Both counters only grow, so that their sum changes whenever one does.
    pub(crate) fn mark(&self, key: &Key) -> Mark {
        let own = self.stripe(key).load(Ordering::SeqCst);
        Mark(own.wrapping_add(self.everything.load(Ordering::SeqCst)))
    }

    /// Notes a change of `key`.
    pub(crate) fn change(&self, key: &Key) {
        self.stripe(key).fetch_add(1, Ordering::SeqCst);
    }

    /// Notes a change that may cover any key.
    pub(crate) fn change_everything(&self) {
        self.everything.fetch_add(1, Ordering::SeqCst);
    }
}
