//! One span per call of a recorded trace; its context goes into the request's headers.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use mediamesh_telemetry::{TraceScope, propagation};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Span, field};

use crate::body::{Watch, Watching};
use crate::method::split_path;
use crate::status::code_name;
use crate::{Request, Response};

/// Layer of [`ClientTrace`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientTraceLayer;

impl<S> Layer<S> for ClientTraceLayer {
    type Service = ClientTrace<S>;

    fn layer(&self, inner: S) -> ClientTrace<S> {
        ClientTrace { inner }
    }
}

/// Runs each call in a client span.
#[derive(Debug, Clone)]
pub(crate) struct ClientTrace<S> {
    inner: S,
}

impl<S> Service<Request> for ClientTrace<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Watching<S::Future, EndSpan>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let path = request.uri().path();
        let span = TraceScope::local(|| {
            let (service, method) = split_path(path);
            tracing::info_span!(
                "rpc.client",
                otel.name = path.trim_start_matches('/'),
                otel.kind = "client",
                otel.status_code = field::Empty,
                rpc.system = "grpc",
                rpc.service = service,
                rpc.method = method,
                rpc.grpc.status_code = field::Empty,
            )
        });
        let Some(span) = span else {
            propagation::inject(request.headers_mut());
            return Either::Left(self.inner.call(request));
        };
        propagation::inject_span(&span, request.headers_mut());
        let call = span.in_scope(|| self.inner.call(request));
        Either::Right(Watching::new(call, EndSpan { span }))
    }
}

/// Keeps the span until the response has ended and notes how.
pub(crate) struct EndSpan {
    span: Span,
}

impl Watch for EndSpan {
    fn around<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        self.span.in_scope(poll)
    }

    fn end(self, code: Code) {
        self.span.record("rpc.grpc.status_code", code as i32);
        if code != Code::Ok {
            self.span.record("otel.status_code", "ERROR");
            tracing::debug!(parent: &self.span, code = code_name(code), "call failed");
        }
    }
}
