//! Refuses calls whose time is up, ends those whose time runs out, and lends the rest of the time
//! to the calls they make.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use crate::deadline::{Deadline, DeadlineBody, parse_timeout, scope};
use crate::policy::Policy;
use crate::{Request, Response, status};

/// Layer of [`ServerDeadline`].
#[derive(Debug, Clone)]
pub(crate) struct ServerDeadlineLayer {
    policy: Policy,
}

impl ServerDeadlineLayer {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy }
    }
}

impl<S> Layer<S> for ServerDeadlineLayer {
    type Service = ServerDeadline<S>;

    fn layer(&self, inner: S) -> ServerDeadline<S> {
        ServerDeadline {
            inner,
            policy: self.policy.clone(),
        }
    }
}

/// Drops the handler when the caller's time, or else the method's default, is up. Handlers must
/// therefore be safe to drop at each `await`.
#[derive(Debug, Clone)]
pub(crate) struct ServerDeadline<S> {
    inner: S,
    policy: Policy,
}

impl<S> Service<Request> for ServerDeadline<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let path = request.uri().path();
        let timeout =
            parse_timeout(request.headers()).or_else(|| self.policy.method(path).deadline);
        let Some(timeout) = timeout else {
            return self.inner.call(request).boxed();
        };
        let path = path.to_owned();
        if timeout.is_zero() {
            let response = status::deadline_exceeded(&path).into_http();
            return futures::future::ready(Ok(response)).boxed();
        }
        let deadline = Deadline::after(timeout);
        request.extensions_mut().insert(deadline);
        let call = scope(deadline, self.inner.call(request));
        async move {
            match tokio::time::timeout_at(deadline.at(), call).await {
                Ok(response) => Ok(response?.map(|body| DeadlineBody::wrap(body, deadline, &path))),
                Err(_) => Ok(status::deadline_exceeded(&path).into_http()),
            }
        }
        .boxed()
    }
}
