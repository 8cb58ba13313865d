//! Refuses calls whose time is up, ends those whose time runs out, and lends the rest of the time
//! to the calls they make.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service};

use crate::deadline::{Deadline, Timed, parse_timeout, scope};
use crate::method::path_of;
use crate::policy::Policy;
use crate::{Request, Response};

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
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Timed<TaskLocalFuture<Deadline, S::Future>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let timeout = parse_timeout(request.headers())
            .or_else(|| self.policy.method(request.uri().path()).deadline);
        let Some(timeout) = timeout else {
            return Either::Left(self.inner.call(request));
        };
        let path = path_of(&request);
        if timeout.is_zero() {
            return Either::Right(Timed::Late { path });
        }
        let deadline = Deadline::after(timeout);
        request.extensions_mut().insert(deadline);
        let call = scope(deadline, self.inner.call(request));
        Either::Right(Timed::until(deadline, path, call))
    }
}
