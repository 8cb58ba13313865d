//! Refuses calls beyond the in-flight limit of their service, at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::limits::{Held, Limiters};
use crate::body::watch;
use crate::{Request, Response, status};

/// Layer of [`Shed`].
#[derive(Debug, Clone)]
pub(crate) struct ShedLayer {
    limiters: Limiters,
}

impl ShedLayer {
    pub(crate) fn new(limiters: Limiters) -> Self {
        Self { limiters }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            inner,
            limiters: self.limiters.clone(),
        }
    }
}

/// Answers UNAVAILABLE, reason LOAD_SHED, when there is no room even to wait.
#[derive(Debug, Clone)]
pub(crate) struct Shed<S> {
    inner: S,
    limiters: Limiters,
}

impl<S> Service<Request> for Shed<S>
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

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(limiter) = self.limiters.of(request.uri().path()) else {
            return self.inner.call(request).boxed();
        };
        let Ok(place) = Arc::clone(&limiter.in_flight).try_acquire_owned() else {
            let refusal = status::load_shed(limiter.name, limiter.limits.max_in_flight);
            return futures::future::ready(Ok(refusal.into_http())).boxed();
        };
        let call = self.inner.call(request);
        async move {
            let held = Held(place);
            Ok(watch(call.await?, held))
        }
        .boxed()
    }
}
