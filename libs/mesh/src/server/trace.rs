//! Continues the caller's trace: one span per call, child of the caller's.

use std::convert::Infallible;
use std::task::{Context, Poll};

use mediamesh_telemetry::{TraceScope, propagation};
use tonic::Code;
use tower::{Layer, Service};
use tracing::field;

use crate::body::{Watch, Watching};
use crate::method::split_path;
use crate::{Request, Response};

/// Layer of [`ServerTrace`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerTraceLayer;

impl<S> Layer<S> for ServerTraceLayer {
    type Service = ServerTrace<S>;

    fn layer(&self, inner: S) -> ServerTrace<S> {
        ServerTrace { inner }
    }
}

/// Runs each call in a server span.
#[derive(Debug, Clone)]
pub(crate) struct ServerTrace<S> {
    inner: S,
}

impl<S> Service<Request> for ServerTrace<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Watching<S::Future, End>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        let scope = TraceScope::remote(propagation::extract(request.headers()), || {
            let (service, method) = split_path(path);
            tracing::info_span!(
                "rpc.server",
                otel.name = path.trim_start_matches('/'),
                otel.kind = "server",
                otel.status_code = field::Empty,
                rpc.system = "grpc",
                rpc.service = service,
                rpc.method = method,
                rpc.grpc.status_code = field::Empty,
            )
        });
        let call = scope.enter(|| self.inner.call(request));
        Watching::new(call, End { scope })
    }
}

/// Keeps the scope until the response has ended and notes how.
pub(crate) struct End {
    scope: TraceScope,
}

impl Watch for End {
    fn around<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        self.scope.enter(poll)
    }

    fn end(self, code: Code) {
        self.scope.record("rpc.grpc.status_code", code as i32);
        // The caller's own mistakes are not errors of the server.
        // Source: OpenTelemetry semantic conventions for gRPC, server status.
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.scope.record("otel.status_code", "ERROR");
        }
    }
}
