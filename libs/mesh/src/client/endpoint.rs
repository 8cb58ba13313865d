//! One server: its connection, its breaker, its load.
//!
//! A task keeps the connection ([`super::keeper`]); calls find it here.
//!
//! States are gRPC's connectivity states: idle (nobody has asked yet), connecting, ready (connected,
//! and the peer has answered), transient failure (waiting to connect again).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::breaker::{Breaker, Ejections, Transition};
use super::clock::{Clock, micros};
use super::connector::{Sender, Sign};
use super::load::Load;
use super::metrics::MeshMetrics;
use crate::policy::defaults::FAILURE_COST;
use crate::policy::{ClientPolicy, ConnectionPolicy};
use crate::tls::ClientTls;

/// gRPC's connectivity states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Connectivity {
    Idle,
    Connecting,
    Ready,
    TransientFailure,
}

impl Connectivity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::TransientFailure => "transient_failure",
        }
    }
}

/// What endpoints of a service share.
pub(crate) struct Shared {
    pub(crate) service: &'static str,
    pub(crate) policy: ClientPolicy,
    pub(crate) clock: Clock,
    pub(crate) ejections: Arc<Ejections>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) metrics: MeshMetrics,
    /// Told whenever a connection comes or goes, for the calls that wait for one.
    pub(crate) changed: watch::Sender<()>,
}

pub(crate) struct Endpoint {
    pub(crate) id: u64,
    /// A small number that no other endpoint of the set has.
    pub(crate) slot: usize,
    pub(crate) address: Address,
    pub(crate) shared: Arc<Shared>,
    pub(crate) load: Load,
    pub(crate) breaker: Arc<Breaker>,
    connectivity: AtomicU8,
    /// Whether the peer says that it is serving.
    serving: AtomicBool,
    /// Attempts to connect that have failed since the start.
    failures: AtomicU64,
    live: ArcSwapOption<Live>,
    last_error: Mutex<Option<String>>,
    /// Asks for a connection now.
    pub(super) wanted: Notify,
    /// Cancelled when the endpoint left the set.
    pub(super) removed: CancellationToken,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) sender: Sender,
    /// Cancelled when the peer stopped to answer, though the connection may still stand.
    pub(crate) silent: CancellationToken,
}

impl Endpoint {
    /// Returns an endpoint whose connection is kept by a task until it is removed.
    ///
    /// Must run inside a tokio runtime.
    pub(crate) fn start(id: u64, slot: usize, address: Address, shared: Arc<Shared>) -> Arc<Self> {
        let connection = shared.policy.connection;
        let endpoint = Arc::new(Self {
            id,
            slot,
            address,
            load: Load::new(
                shared.clock,
                connection.latency_decay,
                connection.latency_floor,
            ),
            breaker: Arc::new(Breaker::new(
                shared.policy.breaker,
                shared.clock,
                Arc::clone(&shared.ejections),
            )),
            shared,
            connectivity: AtomicU8::new(Connectivity::Idle as u8),
            serving: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            live: ArcSwapOption::empty(),
            last_error: Mutex::new(None),
            wanted: Notify::new(),
            removed: CancellationToken::new(),
        });
        tokio::spawn(super::keeper::keep(Arc::clone(&endpoint)));
        endpoint
    }

    pub(crate) fn policy(&self) -> &ConnectionPolicy {
        &self.shared.policy.connection
    }

    pub(crate) fn connectivity(&self) -> Connectivity {
        match self.connectivity.load(Ordering::Acquire) {
            0 => Connectivity::Idle,
            1 => Connectivity::Connecting,
            2 => Connectivity::Ready,
            _ => Connectivity::TransientFailure,
        }
    }

    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Returns whether a connection has taken the place of `old`.
    pub(crate) fn has_newer_than(&self, old: &Arc<Live>) -> bool {
        let live = self.live.load();
        live.as_ref().is_some_and(|live| !Arc::ptr_eq(live, old))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.connectivity() == Connectivity::Ready
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Returns the cost to a call that can be `repeated` or not: that of [`Load::cost`], and what its
    /// failures add to the latency.
    ///
    /// The square of their share: one in twenty says little, and half of them nearly all. It fades as a slow
    /// answer does, from the last of them on, so that an endpoint that is well again is soon found to be.
    pub(crate) fn cost(&self, repeated: bool) -> f32 {
        let cost = self.load.cost(repeated);
        let (share, ago) = self.breaker.failing();
        if share == 0.0 {
            return cost;
        }
        let faded = (-(ago as f32) / micros(self.policy().latency_decay) as f32).exp();
        let added = micros(FAILURE_COST) as f32 * share * share * faded;
        cost + added * (self.load.in_flight() + 1) as f32
    }

    pub(crate) fn has_room(&self) -> bool {
        self.load.in_flight() < self.policy().max_in_flight
    }

    /// Asks for a connection, now rather than when its time has come.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Returns how many attempts to connect have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub(crate) fn remove(&self) {
        self.removed.cancel();
    }

    // === what the keeper tells ===

    pub(super) fn connecting(&self) {
        self.live.store(None);
        self.set(Connectivity::Connecting);
    }

    pub(crate) fn signed(&self, sign: Sign) {
        self.serving.store(sign == Sign::Serving, Ordering::Release);
    }

    pub(super) fn connected(&self, live: Arc<Live>, sign: Sign) {
        // What was learnt is about another process, or another network.
        if let Some(transition) = self.breaker.reset() {
            self.tell(transition);
        }
        self.load.reset();
        self.signed(sign);
        self.live.store(Some(live));
        *self.last_error.lock() = None;
        self.set(Connectivity::Ready);
    }

    pub(super) fn failed(&self, why: String) {
        self.live.store(None);
        *self.last_error.lock() = Some(why);
        self.failures.fetch_add(1, Ordering::AcqRel);
        self.set(Connectivity::TransientFailure);
    }

    #[cfg(test)]
    pub(super) fn seem_ready(&self) {
        self.signed(Sign::Serving);
        self.set(Connectivity::Ready);
    }

    fn set(&self, connectivity: Connectivity) {
        self.connectivity
            .store(connectivity as u8, Ordering::Release);
        self.shared.changed.send_replace(());
    }

    /// Makes a transition of the breaker known.
    pub(crate) fn tell(&self, transition: Transition) {
        let Transition { to, why } = transition;
        self.shared.metrics.breaker_moved(self.shared.service, to);
        tracing::info!(
            service = self.shared.service,
            endpoint = %self.address,
            to = to.as_str(),
            why,
            "circuit breaker moved"
        );
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("connectivity", &self.connectivity())
            .finish_non_exhaustive()
    }
}
