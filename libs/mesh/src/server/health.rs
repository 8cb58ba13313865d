//! `grpc.health.v1` over the process's health registry.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use mediamesh_telemetry::{HealthRegistry, HealthSnapshot, HealthStatus};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Answers for the whole process (empty name), a served gRPC service, or a named component.
pub(crate) struct HealthService {
    health: HealthRegistry,
    services: Arc<[String]>,
}

impl HealthService {
    pub(crate) fn new(health: HealthRegistry, services: Vec<String>) -> Self {
        Self {
            health,
            services: services.into(),
        }
    }
}

/// Returns the state of `name` in `snapshot`; `None` if there is nothing of that name.
fn look_up(snapshot: &HealthSnapshot, services: &[String], name: &str) -> Option<ServingStatus> {
    if name.is_empty() || services.iter().any(|service| service == name) {
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
            HealthStatus::Serving | HealthStatus::Degraded => ServingStatus::Serving,
            HealthStatus::NotServing => ServingStatus::NotServing,
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
        let status = look_up(&self.health.snapshot(), &self.services, &name)
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
        let services = Arc::clone(&self.services);
        let mut last = None;
        let mut drained = false;
        let changes = WatchStream::new(self.health.subscribe())
            // The stream ends with the answer that says so; else it would hold up the drain.
            .take_while(move |snapshot| {
                let go_on = !drained;
                drained = snapshot.draining;
                futures::future::ready(go_on)
            })
            .filter_map(move |snapshot| {
                let status =
                    look_up(&snapshot, &services, &name).unwrap_or(ServingStatus::ServiceUnknown);
                let news = last.replace(status) != Some(status);
                let answer = HealthCheckResponse {
                    status: status.into(),
                };
                futures::future::ready(news.then_some(Ok(answer)))
            });
        Ok(Response::new(changes.boxed()))
    }
}
