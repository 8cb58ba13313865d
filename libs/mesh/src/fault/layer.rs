//! Does to a call what the rules say.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::Frame;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::in_force::{End, Faults, Plan};
use crate::{Request, Response, status};

/// Layer of [`Fault`].
#[derive(Debug, Clone)]
pub(crate) struct FaultLayer {
    faults: Faults,
}

impl FaultLayer {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Fault<S>;

    fn layer(&self, inner: S) -> Fault<S> {
        Fault {
            inner,
            faults: self.faults.clone(),
        }
    }
}

/// Spoils calls.
#[derive(Debug, Clone)]
pub(crate) struct Fault<S> {
    inner: S,
    faults: Faults,
}

impl<S> Service<Request> for Fault<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(plan) = self.faults.plan(request.uri().path()) else {
            return self.inner.call(request).boxed();
        };
        // The readied service goes into the future, its clone waits for the next call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        spoil(inner, request, plan).boxed()
    }
}

async fn spoil<S>(mut inner: S, request: Request, plan: Plan) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    tracing::debug!(path = request.uri().path(), ?plan, "call meets a fault");
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    match plan.end {
        None => inner.call(request).await,
        Some(End::Status(code)) => Ok(status::injected(code).into_http()),
        Some(End::Drop) => std::future::pending().await,
        Some(End::Reset) => Ok(http::Response::builder()
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .body(Body::new(Broken))
            .expect("the header is a constant")),
    }
}

/// A body that fails at once: the server resets the stream.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(Some(Err(status::injected(tonic::Code::Unavailable))))
    }
}
