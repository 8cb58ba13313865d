//! The state of the mesh as this process sees it, for people: `/admin/mesh`.

use serde::Serialize;

use super::breaker::BreakerState;
use super::endpoint::{Connectivity, Endpoint};
use super::pool::Pool;
use crate::Routes;
use crate::server::load::ServiceLoad;

/// One service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// Its name.
    pub service: &'static str,
    /// Whether it runs in this process.
    pub local: bool,
    /// Its load, if it is local.
    pub load: Option<ServiceLoad>,
    /// Its servers; none if it is local.
    pub endpoints: Vec<EndpointState>,
    /// Tokens of the retry budget that are left.
    pub retry_tokens: f64,
    /// Tokens of a full budget; retries need more than half.
    pub retry_tokens_max: f64,
}

/// One server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Host and port.
    pub address: String,
    connectivity: Connectivity,
    /// Whether it says that it is serving.
    pub serving: bool,
    breaker: BreakerState,
    /// How long the breaker stays open, milliseconds.
    pub open_for_ms: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// Decayed peak of response times, milliseconds.
    pub latency_ms: f64,
    /// How long it has answered nothing with calls in flight, milliseconds.
    pub silence_ms: f64,
    /// Attempts to connect that failed.
    pub failed_connects: u64,
    /// Why the last of them did, if it is not connected.
    pub error: Option<String>,
}

impl ServiceState {
    pub(crate) fn local(service: &'static str, routes: &Routes) -> Self {
        let mut loads = routes.loads().into_iter();
        Self {
            service,
            local: true,
            load: loads.find(|load| load.service == service),
            endpoints: Vec::new(),
            retry_tokens: 0.0,
            retry_tokens_max: 0.0,
        }
    }

    pub(crate) fn remote(pool: &Pool) -> Self {
        let (retry_tokens, retry_tokens_max) = pool.throttle.tokens();
        Self {
            service: pool.shared.service,
            local: false,
            load: None,
            endpoints: pool
                .endpoints()
                .iter()
                .map(|endpoint| EndpointState::of(endpoint))
                .collect(),
            retry_tokens,
            retry_tokens_max,
        }
    }
}

impl EndpointState {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address.to_string(),
            connectivity: endpoint.connectivity(),
            serving: endpoint.is_serving(),
            breaker: endpoint.breaker.state(),
            open_for_ms: endpoint.breaker.open_for_micros() / 1000,
            in_flight: endpoint.load.in_flight(),
            latency_ms: endpoint.load.latency().as_secs_f64() * 1e3,
            silence_ms: endpoint.load.silence().as_secs_f64() * 1e3,
            failed_connects: endpoint.failures(),
            error: endpoint.last_error(),
        }
    }

    /// Returns the connectivity state in gRPC's words.
    pub fn connectivity(&self) -> &'static str {
        self.connectivity.as_str()
    }

    /// Returns the state of the breaker.
    pub fn breaker(&self) -> &'static str {
        self.breaker.as_str()
    }
}
