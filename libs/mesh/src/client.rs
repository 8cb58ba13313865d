//! The client stack, and the way in for programs outside the mesh.
//!
//! - `stack`: the order of the layers and its reasons
//! - `trace`, `deadline`: the layers (metrics are shared with the server, in `rpc_metrics`)
//! - [`credentials`]: for whom calls are made
//! - `resolve`: finds the service's slot at each call
//! - `remote`: one endpoint over HTTP/2; the place of retry, balance and breaker

pub mod credentials;
mod deadline;
pub(crate) mod remote;
pub(crate) mod resolve;
pub(crate) mod stack;
mod trace;

use mediamesh_telemetry::Metrics;
use tower::Layer as _;

pub use remote::EndpointError;

use crate::{Channel, Policy};

/// Returns a channel to the mesh that listens at `endpoint`, e.g. `http://127.0.0.1:50051`.
///
/// It connects at the first call, which answers UNAVAILABLE if nothing listens there.
/// Errors: an endpoint that does not parse. Must run inside a tokio runtime.
pub fn connect(endpoint: &str, policy: Policy) -> Result<Channel, EndpointError> {
    connect_with_metrics(endpoint, policy, &Metrics::new())
}

/// Like [`connect`], and counts the calls in `metrics`.
pub fn connect_with_metrics(
    endpoint: &str,
    policy: Policy,
    metrics: &Metrics,
) -> Result<Channel, EndpointError> {
    let remote = remote::Remote::connect_lazy("mediamesh", endpoint)?;
    Ok(Channel::new(
        stack::ClientStack::new(policy, metrics).layer(remote),
    ))
}
