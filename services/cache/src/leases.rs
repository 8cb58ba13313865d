//! Who fills a missing key, and who waits for that.
//!
//! A key has no lease, or one: held until it is settled (filled or given back), revoked by an
//! invalidation, or its time is up. Every end wakes all waiters: with the entry if there is one,
//! else each asks again, and the first to ask gets the next lease. A waiter is nothing but a
//! receiver, so one that goes away leaves nothing behind. Tokens only grow.
//!
//! With a Redis, the first of a process to ask takes the lease here, then asks for the one in Redis:
//! it is told the token, which replaces its own, or that another process holds it, and then waits
//! with everybody else here. Redis decides whether a token is valid; the table here is for waiting.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use mediamesh_near::{Key, Stored};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// Leases below which ended ones are not looked for.
const MIN_SWEEP: usize = 1024;
/// Token of leases that another process holds.
const ELSEWHERE: i64 = 0;

/// What a caller that missed gets.
pub(crate) enum Claim {
    /// It fills the key.
    Granted(i64),
    /// Somebody else does.
    Wait(Wait),
}

/// Where a lease is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In this process only.
    Process,
    /// In Redis.
    Shared,
}

/// Waiting for the holder of a lease.
pub(crate) struct Wait {
    filled: watch::Receiver<Option<Stored>>,
    lease_ends: Instant,
}

struct Lease {
    token: i64,
    reach: Reach,
    ends: Instant,
    filled: watch::Sender<Option<Stored>>,
}

struct Table {
    leases: HashMap<Key, Lease>,
    sweep_at: usize,
}

/// All leases.
pub(crate) struct Leases {
    table: Mutex<Table>,
    last_token: AtomicI64,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::new(Table {
                leases: HashMap::new(),
                sweep_at: MIN_SWEEP,
            }),
            // Tokens grow over restarts too, as no process hands out one per microsecond.
            last_token: AtomicI64::new(mediamesh_proto::time::now_micros()),
        }
    }

    /// Grants a lease on `key` for `ttl`, or a wait for the one there is.
    pub(crate) fn claim(&self, key: &Key, ttl: Duration) -> Claim {
        let now = Instant::now();
        let mut table = self.table.lock();
        if let Some(lease) = table.leases.get(key)
            && lease.ends > now
        {
            return Claim::Wait(Wait {
                filled: lease.filled.subscribe(),
                lease_ends: lease.ends,
            });
        }
        if table.leases.len() >= table.sweep_at {
            table.leases.retain(|_, lease| lease.ends > now);
            table.sweep_at = (table.leases.len() * 2).max(MIN_SWEEP);
        }
        let token = self.last_token.fetch_add(1, Ordering::Relaxed) + 1;
        let lease = Lease {
            token,
            reach: Reach::Process,
            ends: now + ttl,
            filled: watch::Sender::new(None),
        };
        table.leases.insert(key.clone(), lease);
        Claim::Granted(token)
    }

    /// Replaces the token of a lease by the one that Redis gave for it.
    pub(crate) fn share(&self, key: &Key, token: i64, shared: i64) {
        let mut table = self.table.lock();
        if let Some(lease) = table.leases.get_mut(key)
            && lease.token == token
        {
            lease.token = shared;
            lease.reach = Reach::Shared;
        }
    }

    /// Turns a lease into one that another process holds, to be looked at again after `time`.
    pub(crate) fn yield_to_another(&self, key: &Key, token: i64, time: Duration) {
        let mut table = self.table.lock();
        if let Some(lease) = table.leases.get_mut(key)
            && lease.token == token
        {
            lease.token = ELSEWHERE;
            lease.ends = Instant::now() + time;
        }
    }

    /// Tells where `token` is known as the valid lease on `key`, if here it is.
    pub(crate) fn reach(&self, key: &Key, token: i64) -> Option<Reach> {
        let table = self.table.lock();
        let lease = table.leases.get(key)?;
        (lease.token == token && lease.ends > Instant::now()).then_some(lease.reach)
    }

    /// Ends the lease `token` and hands `entry` to those who wait; answers whether it was held.
    pub(crate) fn settle(&self, key: &Key, token: i64, entry: Option<Stored>) -> bool {
        let mut table = self.table.lock();
        if table
            .leases
            .get(key)
            .is_none_or(|lease| lease.token != token)
        {
            return false;
        }
        let lease = table.leases.remove(key);
        drop(table);
        if let (Some(lease), Some(entry)) = (lease, entry) {
            lease.filled.send_replace(Some(entry));
        }
        true
    }

    /// Ends whatever lease there is on `key`: `entry` came from elsewhere, or the key was
    /// invalidated, and what its holder computes may be stale.
    pub(crate) fn revoke(&self, key: &Key, entry: Option<&Stored>) {
        let lease = self.table.lock().leases.remove(key);
        if let (Some(lease), Some(entry)) = (lease, entry) {
            lease.filled.send_replace(Some(entry.clone()));
        }
    }

    /// Ends every lease that `covers` names.
    pub(crate) fn revoke_where(&self, covers: impl Fn(&Key) -> bool) {
        self.table.lock().leases.retain(|key, _| !covers(key));
    }
}

impl Wait {
    /// Waits until the lease ends, at most until `until`; answers the entry if it was filled.
    pub(crate) async fn filled(mut self, until: Option<Instant>) -> Option<Stored> {
        let end = until.map_or(self.lease_ends, |until| until.min(self.lease_ends));
        // An error is the end of the lease without an entry.
        match tokio::time::timeout_at(end, self.filled.changed()).await {
            Ok(_) => self.filled.borrow().clone(),
            Err(_) => None,
        }
    }
}
