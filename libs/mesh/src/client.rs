//! The client stack, and the way in for programs outside the mesh.
//!
//! - `stack`: the order of the layers and its reasons
//! - `trace`, `deadline`: the layers (metrics are shared with the server, in `rpc_metrics`)
//! - [`credentials`]: for whom calls are made
//! - `resolve`: finds the service's slot at each call
//! - `remote`: the way to servers elsewhere: `retry` > `hedge` > `attempt` > `balance`
//! - `call`: a request that can be sent again; `untrusted`: what of an answer is not taken;
//!   `verdict`: what the end of an attempt means;
//!   `throttle`: the budget of extra attempts; `latency`: when to hedge
//! - `pool`: the endpoints of a service and the choice among them; `discovery`: where they come from
//! - `endpoint`: one server: `keeper` keeps its connection, `connector` makes it, `breaker`,
//!   `success_rate` and `load` say whether it should get calls
//! - [`circuit`]: that breaker, for what is called but is no service of the mesh
//! - `snapshot`, `metrics`, `gauges`: what operators see; `address`, `clock`: what the name says

mod address;
mod attempt;
mod balance;
mod breaker;
mod call;
pub mod circuit;
mod clock;
mod connector;
pub mod credentials;
mod deadline;
mod decaying;
mod discovery;
mod endpoint;
pub(crate) mod gauges;
mod hedge;
mod keeper;
mod latency;
mod load;
mod metrics;
mod pool;
mod priority;
pub(crate) mod remote;
pub(crate) mod resolve;
mod retry;
#[cfg(test)]
mod script;
pub mod snapshot;
pub(crate) mod stack;
mod success_rate;
mod throttle;
mod trace;
mod untrusted;
mod verdict;

use mediamesh_telemetry::Metrics;
use tower::Layer as _;

pub use address::EndpointError;

use crate::tls::ClientTls;
use crate::{Channel, Policy};

/// Returns a channel to the mesh that listens at `endpoint`, e.g. `http://127.0.0.1:50051`.
///
/// It connects at the first call, which answers UNAVAILABLE if nothing listens there.
/// Errors: an endpoint that does not parse. Must run inside a tokio runtime.
pub fn connect(endpoint: &str, policy: Policy) -> Result<Channel, EndpointError> {
    connect_with(endpoint, policy, &Metrics::new(), None)
}

/// Like [`connect`]; counts the calls in `metrics`, and speaks `tls` to an `https` endpoint.
pub fn connect_with(
    endpoint: &str,
    policy: Policy,
    metrics: &Metrics,
    tls: Option<ClientTls>,
) -> Result<Channel, EndpointError> {
    let remote = remote::Remote::new(None, &[endpoint.to_owned()], &policy, metrics, tls)?;
    Ok(Channel::new(
        stack::ClientStack::new(policy, metrics).layer(remote.service),
    ))
}
