//! The order of the client layers.

use std::convert::Infallible;
use std::sync::Arc;

use mediamesh_telemetry::Metrics;
use tower::{Layer, Service, ServiceBuilder};

use super::deadline::ClientDeadlineLayer;
use super::priority::ClientPriorityLayer;
use super::trace::ClientTraceLayer;
use crate::policy::Policy;
use crate::rpc_metrics::{RpcMetrics, RpcMetricsLayer};
use crate::{BoxService, Request, Response};

/// Wraps a transport in the client layers.
#[derive(Clone)]
pub(crate) struct ClientStack {
    policy: Policy,
    metrics: Arc<RpcMetrics>,
}

impl ClientStack {
    pub(crate) fn new(policy: Policy, metrics: &Metrics) -> Self {
        Self {
            metrics: Arc::new(RpcMetrics::client(metrics, &policy)),
            policy,
        }
    }
}

impl<S> Layer<S> for ClientStack
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxService;

    fn layer(&self, transport: S) -> BoxService {
        let stack = ServiceBuilder::new()
            // Outermost: everything below, waiting included, belongs to the call's span.
            .layer(ClientTraceLayer)
            // Sees the final outcome, after deadline and retries.
            .layer(RpcMetricsLayer::new(Arc::clone(&self.metrics)))
            // Above any retry: all attempts together have one deadline.
            .layer(ClientDeadlineLayer::new(self.policy.clone()))
            // Anywhere above the transport: every attempt and every server must see it.
            .layer(ClientPriorityLayer)
            // Retry, balance and breaker belong to the remote transport alone: the same process
            // cannot be elsewhere.
            .service(transport);
        BoxService::new(stack)
    }
}
