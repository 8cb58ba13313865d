//! A finished server: listen with it, or call it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use mediamesh_telemetry::HealthRegistry;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::Service;

use super::limits::Limiters;
use super::load::ServiceLoad;
use crate::coalesced::Coalesced;
use crate::first_bytes::FirstBytes;
use crate::policy::defaults;
use crate::tls::ServerTls;
use crate::{BoxService, Request, Response};

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[error("grpc server failed")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Services behind the server stack; clones share their limits.
///
/// It is a tower service itself, e.g. to be mounted in an axum router.
#[derive(Clone)]
pub struct Routes {
    stack: BoxService,
    drain_limit: Duration,
    health: HealthRegistry,
    limiters: Limiters,
    tls: Option<ServerTls>,
}

impl Routes {
    pub(super) fn new(
        stack: BoxService,
        drain_limit: Duration,
        health: HealthRegistry,
        limiters: Limiters,
    ) -> Self {
        Self {
            stack,
            drain_limit,
            health,
            limiters,
            tls: None,
        }
    }

    /// Lets only those in over TCP who prove to belong to the mesh.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Returns the load of every service; of those that are not behind this stack it is zero.
    pub fn loads(&self) -> Vec<ServiceLoad> {
        self.limiters.loads()
    }

    /// Returns the stack itself, to be called in this process.
    pub(crate) fn local(&self) -> &BoxService {
        &self.stack
    }

    /// Serves HTTP/2 on `listener` until `shutdown` completes and running calls have ended.
    ///
    /// Running calls get the policy's drain limit; what then still runs is cut off when the
    /// runtime stops. Errors: the transport could not be set up; a bad connection is no error.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Self {
            stack,
            drain_limit,
            health,
            tls,
            ..
        } = self;
        listen(listener, stack, tls, (drain_limit, health), shutdown).await
    }
}

/// Serves a stack as [`Routes::serve`] says.
pub(super) async fn listen<S>(
    listener: TcpListener,
    stack: S,
    tls: Option<ServerTls>,
    (limit, health): (Duration, HealthRegistry),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let incoming = accepted(listener);
    let server = Server::builder()
        .http2_keepalive_interval(Some(defaults::HTTP2_KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(defaults::HTTP2_KEEP_ALIVE_TIMEOUT))
        .initial_stream_window_size(defaults::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(defaults::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(defaults::MAX_STREAMS_PER_CONNECTION)
        .max_frame_size(defaults::MAX_FRAME_BYTES)
        .http2_max_header_list_size(defaults::MAX_HEADER_LIST_BYTES);
    let (draining, drain_started) = tokio::sync::oneshot::channel();
    let signal = async move {
        shutdown.await;
        health.set_draining();
        // The receiver waits as long as the server does.
        let _ = draining.send(());
    };
    let cut = async move {
        if drain_started.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(limit).await;
    };
    let serving = match tls {
        None => {
            let incoming = incoming.map_ok(prepared);
            server
                .serve_with_incoming_shutdown(stack, incoming, signal)
                .left_future()
        }
        Some(tls) => {
            let incoming = tls.incoming(incoming).map_ok(prepared);
            server
                .serve_with_incoming_shutdown(stack, incoming, signal)
                .right_future()
        }
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = cut => {
            tracing::warn!(?limit, "calls still run at the drain limit and are cut off");
            Ok(())
        }
    }
}

/// The sockets of those who connect.
fn accepted(listener: TcpListener) -> TcpIncoming {
    // Trap: on a listener bound before, `Server::tcp_nodelay` has no effect, and without
    // TCP_NODELAY a 2 KB reply waits about 40 ms for the peer's delayed ACK.
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(defaults::TCP_KEEP_ALIVE))
}

/// What the server reads from and writes to, of a connection that is made.
fn prepared<T: AsyncWrite>(io: T) -> Coalesced<FirstBytes<T>> {
    Coalesced::new(FirstBytes::within(defaults::FIRST_BYTES_TIMEOUT, io))
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("drain_limit", &self.drain_limit)
            .finish_non_exhaustive()
    }
}

impl Service<Request> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.stack.call(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::StreamExt as _;
    use tokio::net::TcpStream;

    use super::*;

    /// What is written is coalesced, so that the time of a call hardly shows it; the socket does.
    #[tokio::test]
    async fn a_socket_that_is_accepted_sends_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let mut accepted = accepted(listener);
        let (_peer, socket) = tokio::join!(peer, accepted.next());
        assert!(socket.unwrap().unwrap().nodelay().unwrap());
    }
}
