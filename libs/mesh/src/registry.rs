//! Answers a service name with a channel.
//!
//! Channels are handed out before the servers they lead to exist, so services may call each other
//! in a circle: each channel holds its service's slot and looks into it at each call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use mediamesh_telemetry::Metrics;
use tower::Layer as _;

use crate::client::EndpointError;
use crate::client::credentials::Credentials;
use crate::client::gauges::Gauges;
use crate::client::remote::Remote;
use crate::client::resolve::Resolve;
use crate::client::snapshot::ServiceState;
use crate::client::stack::ClientStack;
use crate::policy::Policy;
use crate::tls::ClientTls;
use crate::{BoxService, Channel, Routes, ServiceName};

/// Where a service is; filled in after channels to it were handed out.
pub(crate) type Slot = Arc<ArcSwapOption<Target>>;

/// A registered service.
pub(crate) enum Target {
    /// In this process.
    Local(Box<Routes>),
    /// Elsewhere.
    Remote(Remote),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "Local",
            Self::Remote(_) => "Remote",
        })
    }
}

impl Target {
    pub(crate) fn service(&self) -> &BoxService {
        match self {
            Self::Local(routes) => routes.local(),
            Self::Remote(remote) => &remote.service,
        }
    }
}

/// The services this process can reach; clones share one set.
#[derive(Clone)]
pub struct Registry {
    slots: Arc<[Slot; ServiceName::ALL.len()]>,
    /// Whether services may still be registered.
    starting: Arc<AtomicBool>,
    stack: ClientStack,
    policy: Policy,
    metrics: Metrics,
    credentials: Credentials,
    tls: Option<ClientTls>,
}

impl Registry {
    /// Returns a registry in which no service is registered yet.
    pub fn new(policy: Policy, metrics: &Metrics) -> Self {
        let slots: Arc<[Slot; ServiceName::ALL.len()]> = Arc::new(Default::default());
        metrics.register_collector(Box::new(Gauges {
            slots: Arc::downgrade(&slots),
        }));
        Self {
            slots,
            starting: Arc::new(AtomicBool::new(true)),
            stack: ClientStack::new(policy.clone(), metrics),
            policy,
            metrics: metrics.clone(),
            credentials: Credentials::none(),
            tls: None,
        }
    }

    /// Returns the policy of its channels.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Makes calls carry `credentials`; for channels handed out from now on.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Speaks TLS to `https` endpoints and to those of names, registered from now on.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ClientTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Makes `name` a server in this process; replaces what was registered before.
    pub fn register_local(&self, name: ServiceName, routes: Routes) {
        let target = Target::Local(Box::new(routes));
        self.slot(name).store(Some(Arc::new(target)));
    }

    /// Makes `name` the servers at `endpoints`: `http://10.0.0.7:50051`, or `dns:///search:50051` for
    /// every address of a name. Connects at the first call.
    ///
    /// Errors: an endpoint that does not parse. Must run inside a tokio runtime.
    pub fn register_remote(
        &self,
        name: ServiceName,
        endpoints: &[String],
    ) -> Result<(), EndpointError> {
        let remote = Remote::new(
            Some(name),
            endpoints,
            &self.policy,
            &self.metrics,
            self.tls.clone(),
        )?;
        self.slot(name)
            .store(Some(Arc::new(Target::Remote(remote))));
        Ok(())
    }

    /// Completes when a server of `name` has answered; at once if it runs in this process.
    ///
    /// Never completes for a service that is not registered.
    pub async fn reached(&self, name: ServiceName) {
        let target = self.slot(name).load_full();
        match target.as_deref() {
            Some(Target::Local(_)) => {}
            Some(Target::Remote(remote)) => remote.pool.reached().await,
            None => std::future::pending().await,
        }
    }

    /// Returns the state of every registered service, as this process sees it.
    pub fn snapshot(&self) -> Vec<ServiceState> {
        let registered = ServiceName::ALL
            .into_iter()
            .filter_map(|name| self.slot(name).load_full().map(|target| (name, target)));
        registered
            .map(|(name, target)| match &*target {
                Target::Local(routes) => ServiceState::local(name.as_str(), routes),
                Target::Remote(remote) => ServiceState::remote(&remote.pool),
            })
            .collect()
    }

    /// Returns a channel to `name`, whether or not it is registered yet.
    ///
    /// Calls made before it is are refused, and the refusal names the service: as not started, until
    /// [`Registry::complete`].
    pub fn channel(&self, name: ServiceName) -> Channel {
        let starting = Arc::clone(&self.starting);
        let resolve = Resolve::new(name, Arc::clone(self.slot(name)), starting);
        self.credentials.on(Channel::new(self.stack.layer(resolve)))
    }

    /// Says that all services are registered that will be.
    pub fn complete(&self) {
        self.starting.store(false, Ordering::Release);
    }

    /// Forgets every service, once nothing calls them any more.
    ///
    /// Local servers hold channels to each other, a circle of references: without this they
    /// would never be dropped.
    pub fn close(&self) {
        self.complete();
        for slot in self.slots.iter() {
            slot.store(None);
        }
    }

    fn slot(&self, name: ServiceName) -> &Slot {
        &self.slots[name.index()]
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registered = ServiceName::ALL.map(|name| (name, self.slot(name).load().is_some()));
        f.debug_struct("Registry")
            .field("registered", &registered)
            .finish_non_exhaustive()
    }
}
