//! The order of the server layers.

use std::convert::Infallible;
use std::sync::Arc;

use mediamesh_telemetry::Metrics;
use tower::{Layer, Service, ServiceBuilder};

use super::auth::AuthLayer;
use super::builder::ServerDeps;
use super::cancel::CancelLayer;
use super::deadline::ServerDeadlineLayer;
use super::idle::IdleLayer;
use super::limits::Limiters;
use super::rescue::RescueLayer;
use super::shed::ShedLayer;
use super::trace::ServerTraceLayer;
use crate::rpc_metrics::{RpcMetrics, RpcMetricsLayer};
use crate::{BoxService, Policy, Request, Response};

/// Wraps handlers in the server layers.
pub(crate) struct ServerStack {
    deps: ServerDeps,
    limiters: Limiters,
}

impl ServerStack {
    pub(crate) fn new(deps: ServerDeps, limiters: Limiters) -> Self {
        Self { deps, limiters }
    }
}

impl<S> Layer<S> for ServerStack
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxService;

    fn layer(&self, handlers: S) -> BoxService {
        let ServerDeps {
            policy,
            metrics,
            authenticator,
            ..
        } = &self.deps;
        let stack = ServiceBuilder::new()
            // Outermost: every answer, refusals included, belongs to the caller's trace.
            .layer(ServerTraceLayer)
            // Counts what the caller sees, refusals and rescued panics included.
            .layer(RpcMetricsLayer::new(Arc::new(RpcMetrics::server(
                metrics, policy,
            ))))
            // Above everything that may panic, below what must note the outcome.
            .layer(RescueLayer)
            // Above everything that reads the request.
            .layer(CancelLayer)
            // Above the queue: time spent waiting counts, and a late call leaves the queue.
            .layer(ServerDeadlineLayer::new(policy.clone()))
            // Above shedding, whose place a stream holds as long as it is open.
            .layer(IdleLayer::new(policy.clone()))
            // Below the deadline, which ends a call that is never answered; above shedding, so that
            // a slow network is no slow handler.
            .layer(fault_layer(policy))
            // Refuses before anything is spent on the call; the queue and the limit are one layer,
            // because they are one decision.
            .layer(ShedLayer::new(self.limiters.clone()))
            // Innermost: verifying credentials costs CPU, so it too has its turn.
            .layer(AuthLayer::new(authenticator.clone(), policy.clone()))
            .service(handlers);
        BoxService::new(stack)
    }
}

/// Wraps what answers while there are no handlers yet, so that it is seen as they are.
pub(super) fn before_handlers<S>(policy: &Policy, metrics: &Metrics, answers: S) -> BoxService
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let stack = ServiceBuilder::new()
        // Outermost: refusals belong to the caller's trace.
        .layer(ServerTraceLayer)
        // Counts them in the series of the methods.
        .layer(RpcMetricsLayer::new(Arc::new(RpcMetrics::server(
            metrics, policy,
        ))))
        // Reflection and watched health are streams.
        .layer(IdleLayer::new(policy.clone()))
        .service(answers);
    BoxService::new(stack)
}

#[cfg(feature = "fault")]
fn fault_layer(policy: &Policy) -> crate::fault::layer::FaultLayer {
    crate::fault::layer::FaultLayer::new(policy.faults())
}

#[cfg(not(feature = "fault"))]
fn fault_layer(_policy: &Policy) -> tower::layer::util::Identity {
    tower::layer::util::Identity::new()
}
