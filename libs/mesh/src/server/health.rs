//! `grpc.health.v1` over the process's health registry.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt as _, stream};
use mediamesh_telemetry::{HealthRegistry, HealthSnapshot, HealthStatus};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Answers for the whole process (empty name), a served gRPC service, or a named component.
pub(crate) struct HealthService {
    health: HealthRegistry,
    services: Arc<[String]>,
    open: Open,
}

/// Whether calls are let in: a component that is built may still be behind a closed door.
#[derive(Clone, Debug)]
pub(crate) struct Open(Arc<AtomicBool>);

impl Open {
    pub(crate) fn new(open: bool) -> Self {
        Self(Arc::new(AtomicBool::new(open)))
    }

    /// Lets calls in; who watches hears of it with the next change of the process's health.
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl HealthService {
    pub(crate) fn new(health: HealthRegistry, services: Vec<String>, open: Open) -> Self {
        Self {
            health,
            services: services.into(),
            open,
        }
    }
}

/// Returns the state of `name` in `snapshot`; `None` if there is nothing of that name.
///
/// While no calls are let in all states are unknown: a client of the mesh takes the process for one that is
/// not there, anybody else for one that does not serve. Then a component serves, whatever else its process
/// waits for: two processes that wait for each other hear by it that they need not.
fn look_up(
    snapshot: &HealthSnapshot,
    services: &[String],
    open: &Open,
    name: &str,
) -> Option<ServingStatus> {
    let is_whole = name.is_empty() || services.iter().any(|service| service == name);
    if !open.is_open() && (is_whole || snapshot.components.contains_key(name)) {
        return Some(ServingStatus::Unknown);
    }
    if is_whole {
        return Some(if snapshot.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        });
    }
    snapshot
        .components
        .get(name)
        .map(|component| match component.status {
            HealthStatus::Serving | HealthStatus::Degraded if !snapshot.draining => {
                ServingStatus::Serving
            }
            _ => ServingStatus::NotServing,
        })
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = look_up(&self.health.snapshot(), &self.services, &self.open, &name)
            .ok_or_else(|| Status::not_found(format!("service `{name}` is not known here")))?;
        Ok(Response::new(HealthCheckResponse {
            status: status.into(),
        }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let (services, open) = (Arc::clone(&self.services), self.open.clone());
        let mut health = self.health.subscribe();
        // The first answer is the state of now.
        health.mark_changed();
        let watched = (health, None, false);
        let changes = stream::unfold(watched, move |(mut health, mut last, mut drained)| {
            let (services, open, name) = (Arc::clone(&services), open.clone(), name.clone());
            async move {
                // The stream ends after the drain's news; open, it would hold the drain up.
                while !drained {
                    health.changed().await.ok()?;
                    let snapshot = Arc::clone(&health.borrow_and_update());
                    drained = snapshot.draining;
                    let status = look_up(&snapshot, &services, &open, &name)
                        .unwrap_or(ServingStatus::ServiceUnknown);
                    if last.replace(status) != Some(status) {
                        let answer = HealthCheckResponse {
                            status: status.into(),
                        };
                        return Some((Ok(answer), (health, last, drained)));
                    }
                }
                None
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
