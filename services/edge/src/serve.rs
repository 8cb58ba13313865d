//! Connections, from accept to drain.

use std::{io, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use mediamesh_mesh::{
    FirstBytes,
    policy::defaults::{
        CONNECTION_WINDOW_BYTES, FIRST_BYTES_TIMEOUT, HTTP2_KEEP_ALIVE_INTERVAL,
        HTTP2_KEEP_ALIVE_TIMEOUT, MAX_STREAMS_PER_CONNECTION, STREAM_WINDOW_BYTES,
    },
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{Edge, router};

/// Time for a request's head: a slow client must not hold a connection for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after an accept that failed for want of descriptors: they come back only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Edge {
    /// Returns how long it goes on accepting after shutdown has begun.
    pub fn drain_delay(&self) -> Duration {
        self.shared.options.drain_delay()
    }

    /// Serves HTTP/1.1 and HTTP/2 without TLS until `shutdown`, then turns readiness off, goes on
    /// for the delay that is configured, accepts no more and lets running requests end.
    ///
    /// Hosts are checked on loopback, and elsewhere if any are configured.
    /// Errors: the listener has no address. Cancel: connections go on; let it return.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let loopback = listener.local_addr()?.ip().is_loopback();
        let check_hosts = loopback || !self.shared.options.allowed_hosts.is_empty();
        let ended = CancellationToken::new();
        let logging = tokio::spawn({
            let (shared, ended) = (Arc::clone(&self.shared), ended.clone());
            async move {
                if let Some(log) = &shared.log {
                    let media = shared.deps.media.clone();
                    log.run(media, ended.cancelled_owned()).await;
                }
            }
        });
        let service = TowerToHyperService::new(router::build(&self.shared, check_hosts));
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            // a gRPC client puts all its calls on one connection
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(HTTP2_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(HTTP2_KEEP_ALIVE_TIMEOUT);
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(async {
            shutdown.await;
            // probes must have seen it before the first connection is refused
            self.shared.deps.health.set_draining();
            tokio::time::sleep(self.drain_delay()).await;
        });
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            let Some(stream) = ready(accepted).await else {
                continue;
            };
            let stream = FirstBytes::within(FIRST_BYTES_TIMEOUT, stream);
            let connection = builder
                .serve_connection(TokioIo::new(stream), service.clone())
                .into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended early");
                }
            });
        }
        drop(listener);
        let drain_limit = self.shared.deps.registry.policy().drain_limit();
        if tokio::time::timeout(drain_limit, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests still run at the end of the drain time");
        }
        ended.cancel();
        // an error: it panicked, which was logged
        let _ = logging.await;
        Ok(())
    }
}

async fn ready(accepted: io::Result<(TcpStream, std::net::SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => {
            // without it a small answer waits for the client's delayed ACK, 40 ms
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "nodelay cannot be set");
            }
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(%error, "connection cannot be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
