//! The endpoints of one service, shared by every client in the process, and the choice among them.
//!
//! Power of two choices on [`Endpoint::cost`], among the endpoints that are
//! ready, whose breaker is closed, and that this call was not yet sent to. A breaker whose time is up
//! gets its probe first, from a unary call that may be repeated elsewhere. Endpoints that say they are
//! not serving get calls only if no other would take them. A call that was sent to all that are ready has
//! the others connected to sooner.
//!
//! Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use mediamesh_telemetry::Metrics;
use tokio::sync::watch;

use super::address::Address;
use super::breaker::{Ejections, Permit};
use super::call::{Call, Original};
use super::clock::Clock;
use super::connector;
use super::endpoint::{Connectivity, Endpoint, Shared};
use super::metrics::MeshMetrics;
use super::throttle::Throttle;
use crate::method::MethodKind;
use crate::policy::ClientPolicy;
use crate::tls::ClientTls;

/// See the module. Dropping it removes its endpoints.
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    pub(crate) throttle: Throttle,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Whether the set is known: a name may not be resolved yet.
    known: AtomicBool,
    next_id: AtomicU64,
}

/// Where a call goes.
pub(crate) enum Pick {
    Endpoint(Arc<Endpoint>, Permit),
    /// None is ready, and it is not known yet whether one will be.
    Wait,
    Nowhere(Nowhere),
}

/// Why a call goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// No endpoint can be reached.
    Unreachable,
    /// Every breaker is open, the first for this long.
    Open(Duration),
    /// Every endpoint has as many calls in flight as it may.
    Full,
}

/// What a waiting call remembers of its first look: how often each endpoint had failed to connect.
pub(crate) type Seen = Vec<(u64, u64)>;

impl Pool {
    pub(crate) fn new(
        service: &'static str,
        policy: ClientPolicy,
        metrics: &Metrics,
        tls: Option<ClientTls>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                service,
                policy,
                clock: Clock::new(),
                ejections: Arc::new(Ejections::default()),
                tls,
                metrics: MeshMetrics::new(metrics),
                changed: watch::Sender::new(()),
            }),
            throttle: Throttle::new(policy.throttling, Clock::new()),
            endpoints: ArcSwap::default(),
            known: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
        }
    }

    pub(crate) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Makes `addresses` the set: new ones are connected to at once if the pool is in use, those
    /// that are no longer listed take no new calls.
    ///
    /// Must run inside a tokio runtime.
    pub(crate) fn set(&self, addresses: &[Address]) {
        let before = self.endpoints.load_full();
        let in_use = before
            .iter()
            .any(|endpoint| endpoint.connectivity() != Connectivity::Idle);
        let mut after: Vec<Arc<Endpoint>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if after.iter().any(|endpoint| endpoint.address == *address) {
                continue;
            }
            let kept = before.iter().find(|old| old.address == *address);
            after.push(kept.map_or_else(
                || {
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    let slot = free_slot(before.iter().chain(&after));
                    let shared = Arc::clone(&self.shared);
                    let endpoint = Endpoint::start(id, slot, address.clone(), shared);
                    if in_use {
                        endpoint.want();
                    }
                    endpoint
                },
                Arc::clone,
            ));
        }
        self.shared.ejections.set_endpoints(after.len());
        let removed: Vec<_> = before
            .iter()
            .filter(|old| !after.iter().any(|new| new.id == old.id))
            .cloned()
            .collect();
        if !removed.is_empty() || after.len() != before.len() {
            tracing::info!(
                service = self.shared.service,
                endpoints = after.len(),
                removed = removed.len(),
                "endpoints changed"
            );
        }
        self.endpoints.store(Arc::new(after));
        for endpoint in removed {
            endpoint.remove();
        }
        self.known.store(true, Ordering::Release);
        self.shared.changed.send_replace(());
    }

    /// Completes when an endpoint is connected to that says it is serving, or that it lets calls of this
    /// service in: its process may wait for this one. Asks for connections.
    pub(crate) async fn reached(&self) {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            for endpoint in self.endpoints.load().iter() {
                if endpoint.is_ready() && (endpoint.is_serving() || self.lets_in(endpoint).await) {
                    return;
                }
                if endpoint.connectivity() == Connectivity::Idle {
                    endpoint.want();
                }
            }
            // A peer that begins to serve on a connection that stands is no change of the set.
            let pause = self.shared.policy.connection.max_backoff;
            let _ = tokio::time::timeout(pause, changed.changed()).await;
        }
    }

    async fn lets_in(&self, endpoint: &Endpoint) -> bool {
        let Some(live) = endpoint.live() else {
            return false;
        };
        let (sender, service) = (live.sender.clone(), self.shared.service);
        let asked = connector::lets_in(sender, &endpoint.address, service);
        let limit = self.shared.policy.connection.probe_timeout;
        tokio::time::timeout(limit, asked).await.unwrap_or(false)
    }

    /// Chooses where `call` goes. Endpoints in `skip` have just turned it away.
    pub(crate) fn pick(&self, call: &Call, skip: &[u64], seen: &mut Option<Seen>) -> Pick {
        let endpoints = self.endpoints.load();
        let reachable =
            |endpoint: &&Arc<Endpoint>| endpoint.is_ready() && !skip.contains(&endpoint.id);
        if !endpoints.iter().any(|endpoint| reachable(&endpoint)) {
            return self.pick_none(&endpoints, seen);
        }
        let original = &call.original;
        let may_probe =
            original.is_repeatable() && original.policy.method.kind == MethodKind::Unary;
        for (serving, fresh) in [(true, true), (true, false), (false, true), (false, false)] {
            let candidates = || {
                endpoints
                    .iter()
                    .filter(reachable)
                    .filter(|endpoint| endpoint.has_room())
                    .filter(move |endpoint| !serving || endpoint.is_serving())
                    .filter(move |endpoint| !fresh || !original.tried.has(endpoint))
            };
            if may_probe && let Some(probe) = candidates().find_map(probe) {
                return probe;
            }
            if let Some(chosen) = choose(candidates, may_probe) {
                return chosen;
            }
            if serving && fresh && endpoints.iter().any(|had| original.tried.has(had)) {
                let unready = endpoints.iter().filter(|endpoint| !endpoint.is_ready());
                unready.for_each(|endpoint| endpoint.want());
            }
        }
        let closed = |endpoint: &Arc<Endpoint>| endpoint.breaker.is_closed();
        if endpoints.iter().filter(reachable).any(closed) {
            return Pick::Nowhere(Nowhere::Full);
        }
        // None is closed: now any call may be the probe.
        if let Some(probe) = endpoints.iter().filter(reachable).find_map(probe) {
            return probe;
        }
        let waits = endpoints.iter().filter(reachable);
        let wait = waits.map(|endpoint| endpoint.breaker.open_for_micros());
        Pick::Nowhere(Nowhere::Open(Duration::from_micros(
            wait.min().unwrap_or_default(),
        )))
    }

    /// No endpoint is ready: has each one connect now, and waits until one has or all have failed.
    fn pick_none(&self, endpoints: &[Arc<Endpoint>], seen: &mut Option<Seen>) -> Pick {
        if endpoints.is_empty() {
            return match self.known.load(Ordering::Acquire) {
                true => Pick::Nowhere(Nowhere::Unreachable),
                false => Pick::Wait,
            };
        }
        let seen = seen.get_or_insert_with(|| {
            endpoints
                .iter()
                .map(|endpoint| {
                    endpoint.want();
                    (endpoint.id, endpoint.failures())
                })
                .collect()
        });
        let undecided = |endpoint: &Arc<Endpoint>| {
            seen.iter()
                .find(|(id, _)| *id == endpoint.id)
                .is_none_or(|(_, failures)| endpoint.failures() == *failures)
        };
        match endpoints.iter().any(undecided) {
            true => Pick::Wait,
            false => Pick::Nowhere(Nowhere::Unreachable),
        }
    }

    /// Returns whether an endpoint other than `than` could take a call now.
    pub(crate) fn has_other(&self, than: u64) -> bool {
        self.endpoints.load().iter().any(|endpoint| {
            endpoint.id != than
                && endpoint.is_ready()
                && endpoint.is_serving()
                && endpoint.breaker.is_closed()
        })
    }

    /// Returns whether an endpoint that `call` was not sent to could take it now.
    pub(crate) fn has_untried(&self, original: &Original) -> bool {
        self.untried(original) > 0
    }

    /// Returns how many endpoints that `call` was not sent to could take it now.
    pub(crate) fn untried(&self, original: &Original) -> usize {
        let endpoints = self.endpoints.load();
        let could = |endpoint: &&Arc<Endpoint>| {
            !original.tried.has(endpoint)
                && endpoint.is_ready()
                && endpoint.is_serving()
                && endpoint.has_room()
                && endpoint.breaker.is_closed()
        };
        endpoints.iter().filter(could).count()
    }
}

#[cfg(test)]
impl Pool {
    /// Makes `count` endpoints the set that seem ready and are never connected to.
    pub(crate) fn set_ready(&self, count: usize) {
        let addresses: Vec<_> = (0..count).map(Address::numbered).collect();
        self.set(&addresses);
        for endpoint in self.endpoints.load().iter() {
            endpoint.seem_ready();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for endpoint in self.endpoints.load().iter() {
            endpoint.remove();
        }
    }
}

fn free_slot<'a>(taken: impl Iterator<Item = &'a Arc<Endpoint>> + Clone) -> usize {
    let is_free = |slot: &usize| taken.clone().all(|endpoint| endpoint.slot != *slot);
    (0..).find(is_free).unwrap_or_default()
}

fn admit(endpoint: &Arc<Endpoint>) -> Option<Pick> {
    let (permit, transition) = endpoint.breaker.try_acquire()?;
    if let Some(transition) = transition {
        endpoint.tell(transition);
    }
    Some(Pick::Endpoint(Arc::clone(endpoint), permit))
}

fn probe(endpoint: &Arc<Endpoint>) -> Option<Pick> {
    endpoint.breaker.wants_probe().then(|| admit(endpoint))?
}

/// Takes the cheaper of two that are drawn among the candidates with a closed breaker.
fn choose<'a, I>(candidates: impl Fn() -> I, repeated: bool) -> Option<Pick>
where
    I: Iterator<Item = &'a Arc<Endpoint>>,
{
    let closed = || candidates().filter(|endpoint| endpoint.breaker.is_closed());
    let count = closed().count();
    let chosen = match count {
        0 => return None,
        1 => closed().next()?,
        _ => {
            let first = fastrand::usize(..count);
            // The second is another one: drawn among the rest.
            let second = (first + fastrand::usize(1..count)) % count;
            let (first, second) = (closed().nth(first)?, closed().nth(second)?);
            match first.cost(repeated) <= second.cost(repeated) {
                true => first,
                false => second,
            }
        }
    };
    admit(chosen)
}

#[cfg(test)]
mod tests;
