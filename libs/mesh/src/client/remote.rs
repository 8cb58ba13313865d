//! One endpoint over HTTP/2.
//!
//! Later retry, balance over several endpoints and a breaker in front of each go here, below the
//! deadline and above this transport; [`NotStarted`] is what tells a retry that it is safe.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tower::{Service, ServiceExt as _};

use crate::policy::defaults;
use crate::{Request, Response, status};

/// The endpoint as given is not one.
#[derive(Debug, thiserror::Error)]
#[error("endpoint `{endpoint}` is not valid, expected e.g. `http://127.0.0.1:50051`")]
pub struct EndpointError {
    endpoint: String,
    #[source]
    source: tonic::transport::Error,
}

/// Response extension: the call certainly did not start, so any method may be tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotStarted;

/// Transport to one endpoint; connects lazily and again after a loss.
#[derive(Clone)]
pub(crate) struct Remote {
    service: &'static str,
    channel: Channel,
}

impl Remote {
    pub(crate) fn connect_lazy(
        service: &'static str,
        endpoint: &str,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|source| EndpointError {
                endpoint: endpoint.to_owned(),
                source,
            })?
            .connect_timeout(defaults::CONNECT_TIMEOUT)
            // Without it a small request waits for the delayed ACK of the one before.
            .tcp_nodelay(true)
            .tcp_keepalive(Some(defaults::TCP_KEEP_ALIVE))
            .http2_keep_alive_interval(defaults::HTTP2_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(defaults::HTTP2_KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(defaults::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(defaults::CONNECTION_WINDOW_BYTES)
            .max_frame_size(defaults::MAX_FRAME_BYTES);
        Ok(Self {
            service,
            channel: endpoint.connect_lazy(),
        })
    }
}

impl Service<Request> for Remote {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Readiness is awaited in the call, where the deadline bounds it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path().to_owned();
        let channel = self.channel.clone();
        let service = self.service;
        async move {
            Ok(match channel.oneshot(request).await {
                Ok(response) => response,
                Err(error) => failure(service, &path, error),
            })
        }
        .boxed()
    }
}

/// Turns a transport error into an answer; its text names addresses, so it goes to the log only.
fn failure(service: &'static str, path: &str, error: tonic::transport::Error) -> Response {
    if caused_by::<TimeoutExpired>(&error) {
        return status::deadline_exceeded(path).into_http();
    }
    let not_started = caused_by::<ConnectError>(&error);
    tracing::debug!(service, not_started, error = ?error, "call failed in the transport");
    let status = Status::from_error(Box::new(error));
    let mut response: Response = match status.code() {
        Code::Unknown | Code::Unavailable => status::unreachable(service).into_http(),
        _ => status.into_http(),
    };
    if not_started {
        response.extensions_mut().insert(NotStarted);
    }
    response
}

fn caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.is::<E>() {
            return true;
        }
        cause = current.source();
    }
    false
}
