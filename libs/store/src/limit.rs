//! How many jobs run at once and how often they start: over all tenants, for one tenant, and the
//! same for each kind; and how places are dealt out among tenants.
//!
//! What runs is counted from the rows of running jobs whose leases hold, so a dead worker's places
//! come back with its leases. Rates are buckets that refill evenly and hold the starts of a second;
//! a bucket is one row, written in the transaction that claims.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use mediamesh_proto::TenantId;
use parking_lot::Mutex;

use crate::job::JobKind;

/// A minute in microseconds.
const MINUTE: i64 = 60_000_000;
/// Starts in a bucket that is full: those of this part of a minute, and one at least.
const BURST_OF_MINUTE: i64 = 60;

/// A bucket that is to be full later than this after an empty one, in microseconds, was drawn from by
/// a clock that was wrong: it counts as full.
const MAX_SKEW: i64 = 60 * MINUTE;

/// Bounds of some jobs; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Most that run at once.
    pub running: Option<i64>,
    /// Most that start in a minute.
    pub per_minute: Option<i64>,
}

/// Bounds of one set of jobs, and of each tenant's part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of all tenants together.
    pub all: Limit,
    /// Of each tenant.
    pub tenant: Limit,
}

/// What a claim leaves to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimLimits {
    /// Of all kinds together.
    pub jobs: Limits,
    /// Of single kinds.
    pub kinds: Vec<(JobKind, Limits)>,
}

/// A set of jobs that has bounds of its own: of one tenant or of all, of one kind or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// `None` is all tenants together.
    pub tenant: Option<TenantId>,
    /// `None` is all kinds together.
    pub kind: Option<JobKind>,
}

impl Scope {
    /// The scopes that a job of a kind counts in.
    fn of(tenant: TenantId, kind: JobKind) -> [Self; 4] {
        let scope = |tenant, kind| Self { tenant, kind };
        [
            scope(None, None),
            scope(Some(tenant), None),
            scope(None, Some(kind)),
            scope(Some(tenant), Some(kind)),
        ]
    }
}

impl ClaimLimits {
    /// Whether anything is bounded.
    #[must_use]
    pub fn any(&self) -> bool {
        let none = Limits::default();
        self.jobs != none || self.kinds.iter().any(|(_, limits)| *limits != none)
    }

    /// Whether starts are bounded.
    #[must_use]
    pub fn any_rate(&self) -> bool {
        let rated =
            |limits: &Limits| limits.all.per_minute.is_some() || limits.tenant.per_minute.is_some();
        rated(&self.jobs) || self.kinds.iter().any(|(_, limits)| rated(limits))
    }

    /// The bounds of a scope.
    #[must_use]
    pub fn of(&self, scope: Scope) -> Limit {
        let limits = match scope.kind {
            None => self.jobs,
            Some(kind) => self
                .kinds
                .iter()
                .find(|(known, _)| *known == kind)
                .map(|(_, limits)| *limits)
                .unwrap_or_default(),
        };
        match scope.tenant {
            None => limits.all,
            Some(_) => limits.tenant,
        }
    }
}

/// Which bound holds jobs back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// As many run as may.
    Running,
    /// As many started as may, for now.
    Starts,
}

/// A bound that holds jobs back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whose it is.
    pub scope: Scope,
    /// Which one.
    pub bound: Bound,
    /// Its value.
    pub limit: i64,
    /// Jobs that wait because of it, and may because of others as well.
    pub held_back: i64,
}

/// What runs, what has started, and what else may.
#[derive(Debug)]
pub struct Ledger<'l> {
    limits: &'l ClaimLimits,
    now: i64,
    running: HashMap<Scope, i64>,
    /// When the bucket of a scope will be full again.
    full: HashMap<Scope, i64>,
    /// Scopes whose bucket was drawn from.
    drawn: Vec<Scope>,
}

impl<'l> Ledger<'l> {
    /// A ledger of what runs, as (tenant, kind, jobs), and of the times that buckets will be full.
    #[must_use]
    pub fn new(
        limits: &'l ClaimLimits,
        now: i64,
        running: impl IntoIterator<Item = (TenantId, JobKind, i64)>,
        full: impl IntoIterator<Item = (Scope, i64)>,
    ) -> Self {
        let mut counts = HashMap::new();
        for (tenant, kind, jobs) in running {
            for scope in Scope::of(tenant, kind) {
                *counts.entry(scope).or_default() += jobs;
            }
        }
        Self {
            limits,
            now,
            running: counts,
            full: full
                .into_iter()
                .filter(|(scope, full)| {
                    let per_minute = limits.of(*scope).per_minute;
                    per_minute
                        .is_some_and(|rate| full.saturating_sub(now) <= bucket(rate) + MAX_SKEW)
                })
                .collect(),
            drawn: Vec::new(),
        }
    }

    /// Jobs of a tenant that run.
    #[must_use]
    pub fn running(&self, tenant: TenantId) -> i64 {
        let scope = Scope {
            tenant: Some(tenant),
            kind: None,
        };
        self.running.get(&scope).copied().unwrap_or_default()
    }

    /// How many more jobs of a kind a tenant may start now.
    #[must_use]
    pub fn room(&self, tenant: TenantId, kind: JobKind) -> i64 {
        let scopes = Scope::of(tenant, kind).into_iter();
        let rooms = scopes.map(|scope| self.places(scope).min(self.starts(scope)));
        rooms.min().unwrap_or(i64::MAX).max(0)
    }

    /// Notes that a job starts.
    pub fn take(&mut self, tenant: TenantId, kind: JobKind) {
        for scope in Scope::of(tenant, kind) {
            *self.running.entry(scope).or_default() += 1;
            if let Some(per_minute) = self.limits.of(scope).per_minute {
                let full = self.full.entry(scope).or_insert(self.now);
                *full = (*full).max(self.now).saturating_add(interval(per_minute));
                if !self.drawn.contains(&scope) {
                    self.drawn.push(scope);
                }
            }
        }
    }

    /// Buckets that were drawn from, and when each will be full again.
    pub fn drawn(&self) -> impl Iterator<Item = (Scope, i64)> {
        let full = |scope: &Scope| self.full.get(scope).map(|full| (*scope, *full));
        self.drawn.iter().filter_map(full)
    }

    /// The bounds that hold back jobs which wait, given as (tenant, kind, jobs).
    #[must_use]
    pub fn reached(&self, waiting: &[(TenantId, JobKind, i64)]) -> Vec<Reached> {
        let mut held: HashMap<Scope, i64> = HashMap::new();
        for (tenant, kind, jobs) in waiting {
            for scope in Scope::of(*tenant, *kind) {
                *held.entry(scope).or_default() += jobs;
            }
        }
        let mut reached = Vec::new();
        for (scope, held_back) in held {
            let limit = self.limits.of(scope);
            let bounds = [
                (Bound::Running, limit.running, self.places(scope)),
                (Bound::Starts, limit.per_minute, self.starts(scope)),
            ];
            for (bound, limit, room) in bounds {
                if let Some(limit) = limit.filter(|_| room <= 0) {
                    reached.push(Reached {
                        scope,
                        bound,
                        limit,
                        held_back,
                    });
                }
            }
        }
        reached.sort_by_key(|reached| (reached.scope, reached.bound == Bound::Starts));
        reached
    }

    fn places(&self, scope: Scope) -> i64 {
        let running = || self.running.get(&scope).copied().unwrap_or_default();
        let limit = self.limits.of(scope).running;
        limit.map_or(i64::MAX, |limit| limit - running())
    }

    fn starts(&self, scope: Scope) -> i64 {
        let Some(per_minute) = self.limits.of(scope).per_minute else {
            return i64::MAX;
        };
        let full = self.full.get(&scope).copied().unwrap_or(self.now);
        let behind = (full - self.now).clamp(0, bucket(per_minute));
        (bucket(per_minute) - behind) / interval(per_minute)
    }
}

/// How long an empty bucket takes to fill, microseconds.
fn bucket(per_minute: i64) -> i64 {
    (per_minute / BURST_OF_MINUTE).max(1) * interval(per_minute)
}

/// Between two starts, microseconds.
fn interval(per_minute: i64) -> i64 {
    (MINUTE / per_minute.max(1)).max(1)
}

/// Whose turn it is among tenants; one for each store, clones share it.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<Option<TenantId>>>);

impl Turn {
    /// Puts tenants in the order of their turns: from the one after the last that was served.
    pub fn order(&self, tenants: &mut [TenantId]) {
        tenants.sort_unstable();
        let last = *self.0.lock();
        let served = last.map_or(0, |last| tenants.partition_point(|tenant| *tenant <= last));
        tenants.rotate_left(served.min(tenants.len()));
    }

    /// Notes who was served last.
    pub fn served(&self, tenant: TenantId) {
        *self.0.lock() = Some(tenant);
    }
}

/// Most places that one claim deals out.
pub const MAX_DEALT: i64 = 10_000;

/// Deals out places: each to the tenant that has least, in the order of turns where that is the same.
/// `has` is what each has already; answers how many each gets.
#[must_use]
pub fn deal(has: &[i64], places: i64) -> Vec<i64> {
    let mut given = vec![0; has.len()];
    let mut next: BinaryHeap<Reverse<(i64, usize)>> = has
        .iter()
        .enumerate()
        .map(|(place, has)| Reverse((*has, place)))
        .collect();
    for _ in 0..places.min(MAX_DEALT) {
        let Some(Reverse((has, place))) = next.pop() else {
            break;
        };
        given[place] += 1;
        next.push(Reverse((has + 1, place)));
    }
    given
}

#[cfg(test)]
mod tests;
