//! Gives each call a deadline, sends it along, and holds to it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use tower::{Layer, Service};

use crate::deadline::{Deadline, GRPC_TIMEOUT, Timed, format_timeout, parse_timeout};
use crate::method::path_of;
use crate::policy::Policy;
use crate::{Request, Response};

/// Layer of [`ClientDeadline`].
#[derive(Debug, Clone)]
pub(crate) struct ClientDeadlineLayer {
    policy: Policy,
}

impl ClientDeadlineLayer {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy }
    }
}

impl<S> Layer<S> for ClientDeadlineLayer {
    type Service = ClientDeadline<S>;

    fn layer(&self, inner: S) -> ClientDeadline<S> {
        ClientDeadline {
            inner,
            policy: self.policy.clone(),
        }
    }
}

/// Ends a call when the least of these has passed: what its caller has left, and what the request
/// asks for or else the method's default.
#[derive(Debug, Clone)]
pub(crate) struct ClientDeadline<S> {
    inner: S,
    policy: Policy,
}

impl<S> ClientDeadline<S> {
    fn deadline(&self, request: &Request) -> Option<Deadline> {
        let own = parse_timeout(request.headers())
            .or_else(|| self.policy.method(request.uri().path()).deadline)
            .map(Deadline::after);
        match (own, Deadline::current()) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        }
    }
}

impl<S> Service<Request> for ClientDeadline<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Timed<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(deadline) = self.deadline(&request) else {
            return Either::Left(self.inner.call(request));
        };
        let (path, left) = (path_of(&request), deadline.remaining());
        if left.is_zero() {
            return Either::Right(Timed::Late { path });
        }
        request
            .headers_mut()
            .insert(&GRPC_TIMEOUT, format_timeout(left));
        // Attempts read it: each sends what is left then.
        request.extensions_mut().insert(deadline);
        Either::Right(Timed::until(deadline, path, self.inner.call(request)))
    }
}

#[cfg(test)]
mod tests;
