//! Opens an HTTP/2 connection and asks its peer for a sign of life.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, header};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, body::Body};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::Service;

use super::address::Address;
use super::untrusted::checked;
use crate::coalesced::Coalesced;
use crate::policy::defaults;
use crate::tls::ClientTls;
use crate::{Request, Response};

pub(crate) type Sender = http2::SendRequest<Body>;

/// Why there is no connection; the text is for operators and never reaches a caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("cannot connect")]
    Tcp(#[from] std::io::Error),
    #[error("the endpoint asks for tls, but mesh.tls is not configured")]
    NoTls,
    #[error("http/2 handshake failed")]
    Handshake(#[from] hyper::Error),
    #[error("no sign of life")]
    Probe(#[source] tonic::Status),
    #[error("the endpoint is starting and lets no calls in")]
    Starting,
}

/// A connection whose peer has answered.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    /// Cancelled when the connection has ended.
    pub(crate) closed: CancellationToken,
    /// The same socket: shut down, it ends the connection and the calls on it.
    pub(crate) socket: std::net::TcpStream,
}

/// Connects to `address`; nothing here has a time limit of its own.
pub(crate) async fn connect(
    address: &Address,
    tls: Option<&ClientTls>,
) -> Result<(Connection, Sign), ConnectError> {
    let tcp = dial(address).await?;
    let socket = tcp.as_fd().try_clone_to_owned()?.into();
    let (sender, closed) = match (address.is_tls(), tls) {
        (false, _) => handshake(tcp).await?,
        (true, Some(tls)) => handshake(tls.connect(address.tls_name(), tcp).await?).await?,
        (true, None) => return Err(ConnectError::NoTls),
    };
    let sign = probe(sender.clone(), address).await?;
    let connection = Connection {
        sender,
        closed,
        socket,
    };
    Ok((connection, sign))
}

async fn dial(address: &Address) -> std::io::Result<TcpStream> {
    let tcp = TcpStream::connect(address.host_port()).await?;
    // Without it a small request waits for the delayed ACK of the one before.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Runs hyper's tasks, two for each call, as pointers: as they are they would be copied from hand to
/// hand on their way into the runtime, and are large.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(Box::pin(task));
    }
}

async fn handshake<T>(io: T) -> Result<(Sender, CancellationToken), ConnectError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(Tasks)
        .timer(TokioTimer::new())
        // No PINGs: the keeper's health checks say more, more often, and cost the calls nothing.
        .initial_stream_window_size(defaults::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(defaults::CONNECTION_WINDOW_BYTES)
        .max_frame_size(defaults::MAX_FRAME_BYTES)
        .max_header_list_size(defaults::MAX_HEADER_LIST_BYTES)
        .handshake(TokioIo::new(Coalesced::new(io)))
        .await?;
    let closed = CancellationToken::new();
    let ended = closed.clone().drop_guard();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
        }
        drop(ended);
    });
    Ok((sender, closed))
}

/// What a peer that lives says of itself. One that is not serving gets calls only if no other is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Serving,
    NotServing,
}

/// Asks the peer whether it is there; a peer without health checking is, if it answers at all, and one that
/// lets no calls in yet is not.
///
/// Source: gRFC A17, client-side health checking.
pub(crate) async fn probe(sender: Sender, address: &Address) -> Result<Sign, ConnectError> {
    let transport = Transport {
        sender,
        address: Arc::new(address.clone()),
    };
    let request = HealthCheckRequest::default();
    match HealthClient::new(transport).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(Sign::Serving),
        Ok(answer) if answer.get_ref().status() == ServingStatus::Unknown => {
            Err(ConnectError::Starting)
        }
        Ok(_) => Ok(Sign::NotServing),
        Err(status) if lost(&status) => Err(ConnectError::Probe(status)),
        Err(_) => Ok(Sign::Serving),
    }
}

/// Asks the peer whether it lets calls of a service in, whatever else its process waits for.
pub(crate) async fn lets_in(sender: Sender, address: &Address, service: &str) -> bool {
    let transport = Transport {
        sender,
        address: Arc::new(address.clone()),
    };
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(transport).check(request).await;
    answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}

/// Returns whether a status is the transport's, not an answer.
fn lost(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some() || status.code() == Code::Unavailable
}

/// A bare connection as the channel of a generated client.
#[derive(Clone)]
struct Transport {
    sender: Sender,
    address: Arc<Address>,
}

impl Service<Request> for Transport {
    type Response = Response;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response, hyper::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let request = address_to(request, &self.address);
        let answer = self.sender.send_request(request);
        async move { Ok(checked(answer.await?, "mediamesh")) }.boxed()
    }
}

/// Makes a request of a generated client one to `address`.
pub(crate) fn address_to(mut request: Request, address: &Address) -> Request {
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = address.uri(path.clone());
    }
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("mediamesh/", env!("CARGO_PKG_VERSION"))),
    );
    request
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is written is coalesced, so that the time of a call hardly shows it; the socket does.
    #[tokio::test]
    async fn a_socket_to_an_endpoint_sends_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::of_socket(listener.local_addr().unwrap(), "here", false);
        let socket = dial(&address).await.unwrap();
        assert!(socket.nodelay().unwrap());
    }
}
