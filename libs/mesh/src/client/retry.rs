//! Sends a failed call again.
//!
//! Only if it certainly did not start, or the method is idempotent by its proto option and the
//! failure is the endpoint's; [`super::verdict`] decides which is which. While the budget of the
//! service ([`super::throttle`]) has more than half its tokens. Never past the deadline, never a
//! stream that has begun to answer, never an upload that has begun to leave.
//!
//! Waits are drawn evenly from zero to a bound that grows ("full jitter"); RetryInfo is honoured as
//! the least wait, unless there is an endpoint that did not give that advice. Only a peer gives advice:
//! that no endpoint can be reached is known here, at once, and so is said at once.
//!
//! Source: gRFC A6; Brooker, Exponential Backoff and Jitter, 2015.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::breaker::Signal;
use super::call::{Call, Original};
use super::pool::Pool;
use super::verdict::{Broken, Repeat, Verdict};
use crate::policy::Policy;
use crate::{Request, Response};

/// Layer of [`Retry`].
#[derive(Clone)]
pub(crate) struct RetryLayer {
    pool: Arc<Pool>,
    policy: Policy,
}

impl RetryLayer {
    pub(crate) fn new(pool: Arc<Pool>, policy: Policy) -> Self {
        Self { pool, policy }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry {
            inner,
            layer: self.clone(),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Retry<S> {
    inner: S,
    layer: RetryLayer,
}

impl<S> Service<Request> for Retry<S>
where
    S: Service<Box<Call>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (inner, layer) = (self.inner.clone(), self.layer.clone());
        async move {
            match Call::take(request, &layer.policy).await {
                Ok(call) => layer.run(inner, call).await,
                Err(response) => Ok(*response),
            }
        }
        .boxed()
    }
}

impl RetryLayer {
    async fn run<S>(&self, mut inner: S, mut call: Box<Call>) -> Result<Response, Infallible>
    where
        S: Service<Box<Call>, Response = Response, Error = Infallible>,
    {
        let shared = &self.pool.shared;
        let original = Arc::clone(&call.original);
        let mut attempts = 0;
        loop {
            let response = inner.call(call).await?;
            attempts += 1;
            let verdict = Verdict::of(&response);
            if verdict.repeat == Repeat::No {
                if verdict.signal == Signal::Success {
                    self.pool.throttle.succeeded();
                }
                return Ok(response);
            }
            let may_repeat = verdict.may_repeat(original.is_repeatable(), || {
                self.pool.has_untried(&original)
            });
            // A bug that nobody else can be asked about is no reason to hold back other repeats.
            if verdict.repeat == Repeat::Elsewhere && !may_repeat {
                return Ok(response);
            }
            // What was never sent is no load, and says nothing of how much the service can take.
            if response.extensions().get::<Broken>() != Some(&Broken::Unreachable) {
                self.pool.throttle.failed();
            }
            if attempts >= original.policy.retry.max_attempts || !may_repeat {
                return Ok(response);
            }
            let Some(next) = original.again(attempts) else {
                return Ok(response);
            };
            if !self.pool.throttle.allows() {
                shared.metrics.withheld(shared.service);
                return Ok(response);
            }
            let wait = self.wait(&original, attempts, &verdict);
            if original
                .deadline
                .is_some_and(|left| left.remaining() <= wait)
            {
                return Ok(response);
            }
            shared.metrics.retry(shared.service, verdict.code);
            tokio::time::sleep(wait).await;
            call = next;
        }
    }

    fn wait(&self, original: &Original, attempts: u32, verdict: &Verdict) -> Duration {
        let bound = original.policy.retry.backoff(attempts);
        let drawn = bound.mul_f64(fastrand::f64());
        match verdict.pushback {
            // The advice is about the endpoint that gave it.
            Some(_) if self.pool.has_untried(original) => drawn,
            Some(advised) => advised + drawn,
            None => drawn,
        }
    }
}

#[cfg(test)]
mod tests;
