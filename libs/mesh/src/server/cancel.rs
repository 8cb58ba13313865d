//! Drops a call whose caller took it back while its request was still coming.
//!
//! Of such a request tonic's decoder makes one that has ended: a unary call without its message would
//! be answered INTERNAL, and a client's stream would look whole though it was cut. Here the request
//! waits instead for the transport, which sees the reset too and drops the call, as it does with every
//! other cancelled one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{Request, Response};

/// Layer of [`Cancel`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CancelLayer;

impl<S> Layer<S> for CancelLayer {
    type Service = Cancel<S>;

    fn layer(&self, inner: S) -> Cancel<S> {
        Cancel { inner }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Cancel<S> {
    inner: S,
}

impl<S> Service<Request> for Cancel<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // All of it is here, so nothing of it can be taken back.
        if request.body().is_end_stream() {
            return self.inner.call(request);
        }
        self.inner.call(request.map(|body| Body::new(Coming(body))))
    }
}

/// A request whose reset is not its end.
struct Coming(Body);

impl http_body::Body for Coming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.0).poll_frame(cx) {
            // What noticed the reset woke this task, whose next look is at the transport.
            Poll::Ready(Some(Err(status))) if status.code() == Code::Cancelled => Poll::Pending,
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
