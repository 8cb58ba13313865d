//! Gives each call a deadline, sends it along, and holds to it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::Code;
use tower::{Layer, Service};

use crate::body::head_code;
use crate::deadline::{Deadline, DeadlineBody, GRPC_TIMEOUT, format_timeout, parse_timeout};
use crate::policy::Policy;
use crate::{Request, Response, status};

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
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(deadline) = self.deadline(&request) else {
            return self.inner.call(request).boxed();
        };
        let path = request.uri().path().to_owned();
        if deadline.has_passed() {
            let response = status::deadline_exceeded(&path).into_http();
            return futures::future::ready(Ok(response)).boxed();
        }
        request
            .headers_mut()
            .insert(GRPC_TIMEOUT, format_timeout(deadline.remaining()));
        // Attempts read it: each sends what is left then.
        request.extensions_mut().insert(deadline);
        let call = self.inner.call(request);
        async move {
            let Ok(response) = tokio::time::timeout_at(deadline.at(), call).await else {
                return Ok(status::deadline_exceeded(&path).into_http());
            };
            let response = response?;
            // The server may notice first and, being tonic's own timer, call it CANCELLED.
            if deadline.has_passed() && head_code(&response) == Some(Code::Cancelled) {
                return Ok(status::deadline_exceeded(&path).into_http());
            }
            Ok(response.map(|body| DeadlineBody::wrap(body, deadline, &path)))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
