//! The way to servers elsewhere: retry, hedge, attempt, and the pool below.

use std::convert::Infallible;
use std::sync::Arc;

use mediamesh_telemetry::Metrics;
use tower::{Service, ServiceBuilder};

use super::address::EndpointError;
use super::attempt::AttemptLayer;
use super::balance::Balance;
use super::discovery;
use super::hedge::HedgeLayer;
use super::pool::Pool;
use super::retry::RetryLayer;
use crate::policy::Policy;
use crate::tls::ClientTls;
use crate::{BoxService, Request, Response, ServiceName};

/// A pool and the layers above it.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) pool: Arc<Pool>,
    pub(crate) service: BoxService,
}

impl Remote {
    /// Connects to `endpoints` when the first call wants to.
    ///
    /// Errors: an endpoint that does not parse. Must run inside a tokio runtime.
    pub(crate) fn new(
        name: Option<ServiceName>,
        endpoints: &[String],
        policy: &Policy,
        metrics: &Metrics,
        tls: Option<ClientTls>,
    ) -> Result<Self, EndpointError> {
        let label = name.map_or("mediamesh", ServiceName::as_str);
        let names_speak_tls = tls.is_some();
        let pool = Arc::new(Pool::new(label, policy.client(name), metrics, tls));
        discovery::follow(&pool, endpoints, names_speak_tls)?;
        Ok(Self {
            service: BoxService::new(stack(&pool, policy)),
            pool,
        })
    }
}

fn stack(
    pool: &Arc<Pool>,
    policy: &Policy,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    ServiceBuilder::new()
        // Above hedge and attempt: it judges what came of both, and counts against one budget.
        .layer(RetryLayer::new(Arc::clone(pool), policy.clone()))
        // Below retry: the two attempts of a hedged call are one to it.
        .layer(HedgeLayer::new(Arc::clone(pool), policy))
        // Each attempt, a hedge too, has its span and its share of the time.
        .layer(AttemptLayer::new(Arc::clone(pool)))
        // Innermost: chooses among endpoints whose breaker lets calls in, and sends.
        .service(Balance::new(Arc::clone(pool)))
}
