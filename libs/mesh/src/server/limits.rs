//! The counters that shed and concurrency share, by service.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;

use crate::ServiceName;
use crate::body::Watch;
use crate::method::split_path;
use crate::policy::{Limits, Policy};

/// Counters of one service.
#[derive(Debug, Clone)]
pub(crate) struct Limiter {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    /// Room to run or wait.
    pub(crate) in_flight: Arc<Semaphore>,
    /// Room to run.
    pub(crate) running: Arc<Semaphore>,
}

/// Counters of every service; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Limiters {
    policy: Policy,
    /// By `ServiceName::index`, and one more for services the mesh has no name for.
    all: Arc<[Limiter]>,
}

impl Limiters {
    pub(crate) fn new(policy: &Policy) -> Self {
        let names = ServiceName::ALL.into_iter().map(Some).chain([None]);
        let all = names
            .map(|name| {
                let limits = policy.limits(name);
                Limiter {
                    name: name.map_or("this service", ServiceName::as_str),
                    limits,
                    in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
                    running: Arc::new(Semaphore::new(limits.max_running)),
                }
            })
            .collect();
        Self {
            policy: policy.clone(),
            all,
        }
    }

    /// Returns the counters that apply to `path`; `None` if it is not limited.
    pub(crate) fn of(&self, path: &str) -> Option<&Limiter> {
        if !self.policy.method(path).limited {
            return None;
        }
        let (service, _) = split_path(path);
        let index = ServiceName::from_grpc_service(service)
            .map_or(ServiceName::ALL.len(), ServiceName::index);
        self.all.get(index)
    }
}

/// Keeps a place until the response has ended: a streaming handler works while it is read.
pub(crate) struct Held(
    #[expect(dead_code, reason = "held for its drop")] pub(crate) OwnedSemaphorePermit,
);

impl Watch for Held {
    fn end(self, _code: Code) {}
}
