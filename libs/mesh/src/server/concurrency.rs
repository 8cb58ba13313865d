//! Lets so many calls of a service run at once; the others wait in order of arrival.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::limits::{Held, Limiters};
use crate::body::watch;
use crate::{Request, Response};

/// Layer of [`Concurrency`].
#[derive(Debug, Clone)]
pub(crate) struct ConcurrencyLayer {
    limiters: Limiters,
}

impl ConcurrencyLayer {
    pub(crate) fn new(limiters: Limiters) -> Self {
        Self { limiters }
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Concurrency<S> {
        Concurrency {
            inner,
            limiters: self.limiters.clone(),
        }
    }
}

/// Waits for room to run; the deadline above bounds the wait.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency<S> {
    inner: S,
    limiters: Limiters,
}

impl<S> Service<Request> for Concurrency<S>
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
        // The readied service goes into the future, its clone waits for the next call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let running = self
            .limiters
            .of(request.uri().path())
            .map(|limiter| Arc::clone(&limiter.running));
        async move {
            let Some(running) = running else {
                return inner.call(request).await;
            };
            let place = running
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let held = Held(place);
            Ok(watch(inner.call(request).await?, held))
        }
        .boxed()
    }
}
