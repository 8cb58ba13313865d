//! Removals that Redis has not been told of.
//!
//! What Redis holds under a key that was written or removed while it was away is out of date, so
//! nothing is read from it until every such key is removed there too.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
};

use mediamesh_near::{Key, Pattern};
use mediamesh_proto::TenantId;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Removals that are kept; beyond, everything is removed instead.
const MAX_PENDING: usize = 10_000;

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removal {
    Entry(Key),
    /// A lease that was asked for under this name: nobody heard whether it was granted.
    Claimed(Key, u64),
    /// A lease that was given back: nobody heard whether it was.
    Released(Key, i64),
    Tagged(TenantId, String),
    Matching(TenantId, Pattern),
    Everything,
}

impl Removal {
    /// Whether entries may be out of date until it is done.
    fn is_of_entries(&self) -> bool {
        !matches!(self, Self::Claimed(..) | Self::Released(..))
    }
}

#[derive(Default)]
struct State {
    pending: VecDeque<(u64, Removal)>,
    /// How many of them are of entries.
    of_entries: usize,
    last: u64,
    /// Number of the last one that is being done.
    taken: u64,
}

/// The removals, in order.
pub(crate) struct Journal {
    state: Mutex<State>,
    any: AtomicBool,
    gauge: Gauge,
    /// Told when there is something to do.
    pub(crate) changed: Notify,
}

/// Removals that are being done.
pub(crate) struct Batch {
    pub(crate) removals: Vec<Removal>,
    last: u64,
}

impl Journal {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self {
            state: Mutex::default(),
            any: AtomicBool::new(false),
            gauge,
            changed: Notify::new(),
        }
    }

    /// Whether what Redis holds may be read.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().pending.len()
    }

    pub(crate) fn add(&self, removal: Removal) {
        let mut state = self.state.lock();
        // An outage writes the same key over and over. What is being done may be too early for it.
        let again = |(number, last): &(u64, Removal)| *number > state.taken && *last == removal;
        if state.pending.back().is_some_and(again) {
            return;
        }
        let everything = state.pending.len() >= MAX_PENDING;
        if everything {
            state.pending.clear();
            state.of_entries = 0;
        }
        state.last += 1;
        let number = state.last;
        let removal = match everything {
            true => Removal::Everything,
            false => removal,
        };
        state.of_entries += usize::from(removal.is_of_entries());
        state.pending.push_back((number, removal));
        self.settle(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// The oldest removals, to be done now; they stay pending until [`Self::done`].
    pub(crate) fn next(&self, count: usize) -> Option<Batch> {
        let mut state = self.state.lock();
        let batch: Vec<_> = state.pending.iter().take(count).cloned().collect();
        let last = batch.last()?.0;
        state.taken = last;
        let removals = batch.into_iter().map(|(_, removal)| removal).collect();
        Some(Batch { removals, last })
    }

    /// Forgets removals that were done.
    pub(crate) fn done(&self, batch: &Batch) {
        let mut state = self.state.lock();
        while (state.pending.front()).is_some_and(|(number, _)| *number <= batch.last) {
            let done = state.pending.pop_front();
            let of_entries = done.is_some_and(|(_, removal)| removal.is_of_entries());
            state.of_entries -= usize::from(of_entries);
        }
        self.settle(&state);
    }

    fn settle(&self, state: &State) {
        self.any.store(state.of_entries > 0, Ordering::SeqCst);
        self.gauge
            .set(i64::try_from(state.pending.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Removal {
        Removal::Entry(Key {
            tenant: TenantId(mediamesh_mesh::LOCAL_TENANT_ID),
            name: name.into(),
        })
    }

    #[test]
    fn removals_are_done_in_order_and_too_many_become_one() {
        let journal = Journal::new(Gauge::default());
        for name in ["a", "a", "b", "c"] {
            journal.add(entry(name));
        }
        let batch = journal.next(2).unwrap();
        assert_eq!(batch.removals, [entry("a"), entry("b")]);
        journal.done(&batch);
        assert_eq!((journal.len(), journal.is_empty()), (1, false));
        let batch = journal.next(2).unwrap();
        // written again while it is being removed: it must be removed again
        journal.add(entry("c"));
        journal.done(&batch);
        assert_eq!(journal.len(), 1);
        let early = journal.next(1).unwrap();
        for number in 0..=MAX_PENDING {
            journal.add(entry(&number.to_string()));
        }
        journal.done(&early);
        // what was taken early is part of it, and what came after is not
        assert_eq!(journal.len(), 2);
        let batch = journal.next(1).unwrap();
        assert_eq!(batch.removals, [Removal::Everything]);
        journal.done(&batch);
        assert_eq!((journal.len(), journal.is_empty()), (1, false));
    }
}
